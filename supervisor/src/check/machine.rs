//! The machine: the data directory and its disk, limits of this process, what the kernel can enforce, and who runs the processes.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Uid, geteuid};
use wavs_service::ProcessName;
use wavs_service::check::Finding;
use wavs_service::config::{NodeConfig, ProcessLimits};
use wavs_service::sandbox::{LEAST_LANDLOCK, Strictness, landlock_abi};

use crate::supervise::cgroup;

/// Free space below which the stores will soon have to stop taking work in.
const LITTLE_SPACE: u64 = 2 << 30;
/// Free space below which they do.
const NO_SPACE: u64 = 256 << 20;
/// Share of the disk below which it is nearly full, in percent.
const LITTLE_SHARE: u64 = 10;
/// Descriptors that a process of the node may open, as far as the limit allows.
const WANTED_FILES: u64 = 16_384;
/// Descriptors below which connections are refused under a usual load.
const FEW_FILES: u64 = 1_024;
/// Threads and processes of this user below which an engine with many workers may not start.
const FEW_TASKS: u64 = 1_024;

/// Everything here; quick, and without a word to any other machine.
#[must_use]
pub fn all(node: &NodeConfig) -> Vec<Finding> {
    let mut findings = vec![data_dir(&node.data_dir)];
    findings.extend(disk(&node.data_dir));
    findings.push(files());
    findings.push(tasks());
    findings.push(landlock(landlock_abi(), &strict(node)));
    findings.push(seccomp());
    findings.push(namespaces());
    findings.push(control_groups(Path::new(cgroup::MOUNT)));
    findings.push(systemd());
    findings
}

fn data_dir(path: &Path) -> Finding {
    const SUBJECT: &str = "data directory";
    let shown = path.display();
    let Ok(metadata) = path.metadata() else {
        return match existing(path).map(|parent| (parent.to_owned(), writable(parent))) {
            Some((_, true)) => Finding::good(SUBJECT, format!("{shown} will be made")),
            Some((parent, false)) => Finding::failed(
                SUBJECT,
                format!(
                    "{shown} cannot be made in {}; make it for this user, or choose another one with --data",
                    parent.display()
                ),
            ),
            None => Finding::failed(SUBJECT, format!("{shown} has no parent that exists")),
        };
    };
    if !metadata.is_dir() {
        return Finding::failed(
            SUBJECT,
            format!("{shown} is no directory; choose another one with --data"),
        );
    }
    // Root looks at the directory of the node's own user.
    if metadata.uid() != geteuid().as_raw() && !geteuid().is_root() {
        let owner = Uid::from_raw(metadata.uid());
        return Finding::failed(
            SUBJECT,
            format!("{shown} belongs to user {owner}; run as that user, or choose another one with --data"),
        );
    }
    if !writable(path) {
        return Finding::failed(
            SUBJECT,
            format!("{shown} cannot be written to; is its disk mounted read-only?"),
        );
    }
    let mode = metadata.permissions().mode() & 0o777;
    // Under systemd the processes run as users of their own, which pass through it.
    if mode & 0o066 != 0 {
        return Finding::warning(
            SUBJECT,
            format!("{shown} has mode {mode:03o}; a start closes it to others (0700)"),
        );
    }
    Finding::good(SUBJECT, shown.to_string())
}

/// The nearest directory above that exists.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir())
}

fn writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK).is_ok()
}

fn disk(data: &Path) -> Option<Finding> {
    let place = if data.is_dir() { data } else { existing(data)? };
    let (free, all) = free_space(place)?;
    Some(space(free, all))
}

/// Judges free bytes of a disk.
fn space(free: u64, all: u64) -> Finding {
    const SUBJECT: &str = "disk";
    let detail = format!("{} MiB of {} MiB are free", free >> 20, all >> 20);
    if free < NO_SPACE {
        return Finding::failed(SUBJECT, format!("{detail}; nothing can be stored: make room"));
    }
    if free < LITTLE_SPACE || is_nearly_full(free, all) {
        return Finding::warning(SUBJECT, format!("{detail}; make room before intake has to stop"));
    }
    Finding::good(SUBJECT, detail)
}

/// Whether less than a tenth is free.
#[must_use]
pub fn is_nearly_full(free: u64, all: u64) -> bool {
    free / LITTLE_SHARE < all / 100
}

/// Free and all bytes of the disk under `path`.
#[must_use]
pub fn free_space(path: &Path) -> Option<(u64, u64)> {
    let stats = statvfs(path).ok()?;
    #[allow(clippy::useless_conversion)]
    let (free, all) = (u64::from(stats.blocks_available()), u64::from(stats.blocks()));
    Some((
        free.saturating_mul(stats.fragment_size()),
        all.saturating_mul(stats.fragment_size()),
    ))
}

fn files() -> Finding {
    const SUBJECT: &str = "open files";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard < FEW_FILES => Finding::failed(
            SUBJECT,
            format!("at most {hard}; raise the limit (ulimit -n) to {WANTED_FILES}"),
        ),
        Ok((_, hard)) if hard < WANTED_FILES => Finding::warning(
            SUBJECT,
            format!("at most {hard}; {WANTED_FILES} let a busy node keep all its connections"),
        ),
        Ok((_, hard)) => Finding::good(SUBJECT, format!("at most {hard}")),
        Err(error) => Finding::warning(SUBJECT, format!("the limit cannot be read: {error}")),
    }
}

fn tasks() -> Finding {
    const SUBJECT: &str = "tasks";
    match getrlimit(Resource::RLIMIT_NPROC) {
        Ok((soft, _)) if soft < FEW_TASKS => Finding::warning(
            SUBJECT,
            format!("at most {soft} for this user; raise the limit (ulimit -u)"),
        ),
        Ok((soft, _)) => Finding::good(
            SUBJECT,
            if soft == u64::MAX {
                "no limit".to_owned()
            } else {
                format!("at most {soft}")
            },
        ),
        Err(error) => Finding::warning(SUBJECT, format!("the limit cannot be read: {error}")),
    }
}

/// Judges the version of the interface, for a node of which these processes do not start with less than all protections.
fn landlock(version: Option<u32>, strict: &[&str]) -> Finding {
    const SUBJECT: &str = "landlock";
    let found = match version {
        Some(version) if version >= LEAST_LANDLOCK => {
            let open = match version {
                2 => {
                    "files that a process may only read can be emptied by it, and its connections are not bound to ports; Linux 6.7 has both"
                }
                3 => "connections of a process are not bound to ports; Linux 6.7 has that",
                _ => return Finding::good(SUBJECT, format!("interface version {version}")),
            };
            return Finding::warning(SUBJECT, format!("interface version {version}: {open}"));
        }
        Some(version) => {
            format!(
                "interface version {version} of the kernel keeps a process from moving its own files and is not used"
            )
        }
        None => "the kernel has none, or it is switched off".to_owned(),
    };
    if strict.is_empty() {
        return Finding::warning(
            SUBJECT,
            format!("{found}: processes are not confined to their directories by themselves"),
        );
    }
    let keys: Vec<_> = strict
        .iter()
        .map(|process| format!("process.{process}.sandbox"))
        .collect();
    Finding::failed(
        SUBJECT,
        format!(
            "{found}: {} do not start; use Linux 5.19 or newer with Landlock (inside a container, let its profile allow it), or set {} = \"available\" to accept less",
            strict.join(", "),
            keys.join(", ")
        ),
    )
}

/// The processes that run, and start with all protections only.
fn strict(node: &NodeConfig) -> Vec<&'static str> {
    let strict = |(_, limits): &(&ProcessName, &ProcessLimits)| limits.enabled && limits.sandbox == Strictness::Strict;
    node.processes
        .iter()
        .filter(strict)
        .map(|(name, _)| name.short())
        .collect()
}

fn seccomp() -> Finding {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_ascii_whitespace().any(|action| action == "errno") {
        Finding::good("seccomp", "filters can be set")
    } else {
        Finding::warning("seccomp", "the kernel has none: system calls are not filtered")
    }
}

fn namespaces() -> Finding {
    let number = |path: &str| {
        std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
    };
    let most = number("/proc/sys/user/max_user_namespaces");
    let clone = number("/proc/sys/kernel/unprivileged_userns_clone");
    match (most, clone) {
        (None | Some(0), _) | (_, Some(0)) => Finding::warning(
            "user namespaces",
            "are switched off; the units of systemd/ need them (PrivateUsers=)",
        ),
        _ => Finding::good("user namespaces", "are there"),
    }
}

/// What the hierarchy at `mount` can bound.
fn control_groups(mount: &Path) -> Finding {
    const SUBJECT: &str = "control groups";
    let controllers = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    let there = |wanted: &&&str| controllers.split_ascii_whitespace().any(|one| one == **wanted);
    let missing: Vec<_> = cgroup::CONTROLLERS
        .iter()
        .filter(|wanted| !there(wanted))
        .copied()
        .collect();
    if missing.is_empty() {
        return Finding::good(SUBJECT, "version 2 bounds memory, processor time and tasks");
    }
    let what = if controllers.is_empty() {
        "version 2 is not mounted".to_owned()
    } else {
        format!("version 2 has no controller for {}", missing.join(", "))
    };
    Finding::warning(
        SUBJECT,
        format!("{what}: process.*.memory_max_mb and cpu_quota are not enforced by the kernel"),
    )
}

fn systemd() -> Finding {
    const SUBJECT: &str = "processes";
    let units = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
        "/run/systemd/system",
    ];
    let installed = units.iter().any(|place| Path::new(place).join("wavs.target").exists());
    match (Path::new("/run/systemd/system").exists(), installed) {
        (true, true) => Finding::good(SUBJECT, "are units of systemd (wavs.target)"),
        (true, false) => Finding::good(
            SUBJECT,
            "are run by `wavs`; systemd is here and could run each as a unit of its own",
        ),
        (false, _) => Finding::good(SUBJECT, "are run by `wavs`; there is no systemd"),
    }
}

#[cfg(test)]
mod tests {
    use wavs_service::check::Verdict;

    use super::*;

    #[test]
    fn free_space_is_judged_by_size_and_by_share() {
        const GIB: u64 = 1 << 30;
        for (free, all, verdict) in [
            (100 * GIB, 200 * GIB, Verdict::Good),
            (GIB, 4 * GIB, Verdict::Warning),
            (100 * GIB, 2000 * GIB, Verdict::Warning),
            (GIB / 8, 4 * GIB, Verdict::Failed),
            (0, 0, Verdict::Failed),
        ] {
            assert_eq!(space(free, all).verdict, verdict, "{free} {all}");
        }
    }

    #[test]
    fn a_data_directory_must_be_ours_or_be_made() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(data_dir(&dir.path().join("not/there/yet")).verdict, Verdict::Good);
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(data_dir(dir.path()).verdict, Verdict::Warning);
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).unwrap();
        assert_eq!(data_dir(dir.path()).verdict, Verdict::Good);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(data_dir(&file).verdict, Verdict::Failed);
    }

    #[test]
    fn landlock_must_be_there_where_a_process_insists_on_it() {
        for (version, strict, verdict, says) in [
            (None, ["engine"].as_slice(), Verdict::Failed, "process.engine.sandbox"),
            (Some(1), &["trigger", "engine"], Verdict::Failed, "Linux 5.19"),
            (None, &[], Verdict::Warning, "has none"),
            (Some(1), &[], Verdict::Warning, "version 1"),
            (Some(2), &["engine"], Verdict::Warning, "emptied"),
            (Some(3), &["engine"], Verdict::Warning, "ports"),
            (Some(4), &["engine"], Verdict::Good, "version 4"),
            (Some(7), &[], Verdict::Good, "version 7"),
        ] {
            let finding = landlock(version, strict);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.detail.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn missing_controllers_are_named() {
        let mount = tempfile::tempdir().unwrap();
        assert!(control_groups(mount.path()).detail.contains("not mounted"));
        std::fs::write(mount.path().join("cgroup.controllers"), "hugetlb cpu\n").unwrap();
        let finding = control_groups(mount.path());
        assert!(
            finding.verdict == Verdict::Warning && finding.detail.contains("memory, pids"),
            "{finding:?}"
        );
        std::fs::write(mount.path().join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
        assert_eq!(control_groups(mount.path()).verdict, Verdict::Good);
    }
}
