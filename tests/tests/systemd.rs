//! The units under `systemd/`: they are valid, and they leave the processes little to do harm with.
//!
//! Both checks are systemd's own and need no running systemd. Where `systemd-analyze` is missing a test says so on stderr and
//! passes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::tools::repository;
use tempfile::TempDir;

/// Most exposure of a unit, of 10; lower is better.
const EXPOSURE_MAX: f64 = 1.5;

/// Where the units expect the programs.
const PROGRAMS: &str = "/usr/bin/wavs";

/// The units in a scratch directory, with programs that exist.
struct Units {
    directory: TempDir,
}

impl Units {
    /// `None` when the machine cannot check them.
    fn copied() -> Option<Self> {
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            eprintln!("skipped: systemd-analyze is not installed");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let programs = directory.path().join("programs");
        std::fs::create_dir(&programs).unwrap();
        for name in ["", "-trigger", "-engine", "-aggregator", "-p2p"] {
            std::fs::copy("/bin/true", programs.join(format!("wavs{name}"))).unwrap();
        }
        let units = directory.path().join("units");
        std::fs::create_dir(&units).unwrap();
        for unit in sources() {
            let text = std::fs::read_to_string(&unit).unwrap();
            let here = programs.join("wavs").display().to_string();
            std::fs::write(units.join(unit.file_name().unwrap()), text.replace(PROGRAMS, &here)).unwrap();
        }
        Some(Self { directory })
    }

    fn analyze(&self, arguments: &[&str]) -> Output {
        Command::new("systemd-analyze")
            .args(arguments)
            .current_dir(self.directory.path().join("units"))
            .env("SYSTEMD_COLORS", "0")
            .output()
            .unwrap()
    }
}

/// The unit files of the repository.
fn sources() -> Vec<PathBuf> {
    let is_unit = |path: &PathBuf| {
        let kind = path.extension().and_then(|kind| kind.to_str());
        matches!(kind, Some("service" | "socket" | "target" | "slice"))
    };
    let entries = std::fs::read_dir(repository().join("systemd")).unwrap();
    let mut units: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(is_unit).collect();
    units.sort();
    units
}

fn names(kinds: &[&str]) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let all = sources().iter().map(name).collect::<Vec<_>>();
    all.into_iter()
        .filter(|name| kinds.iter().any(|kind| name.ends_with(kind)))
        .collect()
}

/// The value of `key` in a unit, joined if it is given several times.
fn value(unit: &str, key: &str) -> String {
    let text = std::fs::read_to_string(repository().join("systemd").join(unit)).unwrap();
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_units_are_valid() {
    let Some(units) = Units::copied() else { return };
    // The template is loaded through the sockets that name its instances; by itself it has none.
    let files: Vec<_> = names(&[".service", ".socket", ".target", ".slice"])
        .into_iter()
        .filter(|name| !name.contains('@'))
        .map(|name| format!("./{name}"))
        .collect();
    let arguments: Vec<&str> = std::iter::once("verify")
        .chain(files.iter().map(String::as_str))
        .collect();
    let output = units.analyze(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn no_unit_is_exposed_more_than_it_must_be() {
    let Some(units) = Units::copied() else { return };
    for name in names(&[".service"]) {
        let output = units.analyze(&["security", "--offline=true", "--no-pager", &format!("./{name}")]);
        let table = String::from_utf8_lossy(&output.stdout);
        let line = table
            .lines()
            .find(|line| line.contains("exposure level"))
            .unwrap_or_default();
        let exposure = line.rsplit(": ").next().and_then(|rest| rest.split(' ').next());
        let exposure: f64 = exposure.and_then(|number| number.parse().ok()).unwrap_or_else(|| {
            panic!(
                "{name}: no exposure in {line:?} {}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        assert!(
            exposure <= EXPOSURE_MAX,
            "{name}: {exposure} is more than {EXPOSURE_MAX}\n{table}"
        );
    }
}

#[test]
fn each_credential_reaches_the_one_process_that_may_hold_it() {
    for (unit, expected) in [
        (
            "wavs-aggregator.service",
            "wavs.signing_mnemonic wavs.aggregator_evm_credential wavs.aggregator_cosmos_credential",
        ),
        ("wavs-p2p.service", "wavs.identity"),
        ("wavs-supervisor.service", "wavs.bearer_token"),
        ("wavs-trigger.service", ""),
        ("wavs-engine.service", ""),
    ] {
        assert_eq!(value(unit, "LoadCredential"), expected, "{unit}");
    }
}

#[test]
fn a_process_inherits_its_own_sockets_and_no_connection_starts_it() {
    for process in ["trigger", "engine", "aggregator", "p2p"] {
        let sockets = value(&format!("wavs-{process}.service"), "Sockets");
        for socket in sockets.split(' ') {
            let name = value(socket, "FileDescriptorName");
            assert_eq!(
                value(socket, "ListenStream"),
                format!("/var/lib/wavs/run/{process}/{name}.sock"),
                "{socket}"
            );
            // It belongs to its one caller.
            let caller = if name == "rpc" { "wavs-aggregator" } else { "wavs" };
            assert_eq!(value(socket, "SocketMode"), "0600", "{socket}");
            assert_eq!(value(socket, "SocketUser"), caller, "{socket}");
            let holder = socket.replace("wavs-", "wavs-held@").replace(".socket", ".service");
            assert_eq!(value(socket, "Service"), holder, "{socket}");
        }
        let expected = if process == "aggregator" { 1 } else { 2 };
        assert_eq!(sockets.split(' ').count(), expected, "{process}");
    }
}

#[test]
fn each_process_has_a_user_of_its_own() {
    let made = std::fs::read_to_string(repository().join("systemd/wavs.sysusers")).unwrap();
    let places = std::fs::read_to_string(repository().join("systemd/wavs.tmpfiles")).unwrap();
    for process in ["trigger", "engine", "aggregator", "p2p"] {
        let user = format!("wavs-{process}");
        let unit = format!("{user}.service");
        assert_eq!(
            (value(&unit, "User"), value(&unit, "Group")),
            (user.clone(), user.clone())
        );
        assert!(made.contains(&format!("\nu {user} -")), "{user} is not made");
        let place = format!("\nd /var/lib/wavs/{process} 0700 {user} {user} -");
        assert!(places.contains(&place), "{user} does not own its state");
        // Its callers are other users, who have no number in its user namespace.
        assert!(value(&unit, "Environment").contains("WAVS_CALLERS=unmapped"), "{unit}");
        assert_eq!(value(&unit, "PrivateUsers"), "yes", "{unit}");
    }
}

#[test]
fn the_engine_cannot_make_unix_sockets_and_only_it_may_make_files_executable() {
    for unit in names(&[".service"]) {
        let engine = unit == "wavs-engine.service";
        let families = value(&unit, "RestrictAddressFamilies");
        let unix = families.contains("AF_UNIX");
        assert!(!families.is_empty(), "{unit}");
        assert!(!(engine && unix), "{unit}: {families}");
        assert_eq!(value(&unit, "MemoryDenyWriteExecute") == "yes", !engine, "{unit}");
        assert_eq!(value(&unit, "NoNewPrivileges"), "yes", "{unit}");
    }
}

#[test]
fn the_directories_of_the_units_are_made_at_boot() {
    let tmpfiles = std::fs::read_to_string(repository().join("systemd/wavs.tmpfiles")).unwrap();
    let made: Vec<&Path> = tmpfiles
        .lines()
        .filter_map(|line| line.strip_prefix("d ")?.split(' ').next())
        .map(Path::new)
        .collect();
    for unit in names(&[".service"]) {
        for key in ["BindPaths", "BindReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths"] {
            for path in value(&unit, key).split_whitespace() {
                assert!(made.contains(&Path::new(path)), "{unit}: {key} names {path}");
            }
        }
    }
    for socket in names(&[".socket"]) {
        let path = PathBuf::from(value(&socket, "ListenStream"));
        assert!(made.contains(&path.parent().unwrap()), "{socket}");
    }
}
