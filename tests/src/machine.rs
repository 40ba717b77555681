//! A machine whose first process is a real systemd: it runs in namespaces of its own, with a scratch `/etc` and `/var/lib`,
//! and the node's units in it.
//!
//! Needs root, `unshare` and systemd; [`Machine::boot`] says what is missing where it cannot run.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::anvil::Anvil;
use crate::node::NodeConfig;
use crate::tools::{binary, repository};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// The programs of the node.
const PROGRAMS: [&str; 5] = ["wavs", "wavs-trigger", "wavs-engine", "wavs-aggregator", "wavs-p2p"];

/// Becomes systemd. `$1` is the scratch directory, with `programs`, `units` (the content of the repository's `systemd/`),
/// `state` (what the node stores) and `wavs.toml`; `$2` is `installed` or `bare`: then nothing of the node is there but a checkout in
/// `/run/checkout` with programs that were built. The root is shared as on a real machine, or credentials would never reach the processes.
const BOOT: &str = r#"
set -e
scratch=$1
case $2 in
    bare) places='etc var/lib usr' target=basic.target ;;
    *) places='etc var/lib' target=wavs.target ;;
esac
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/scratch /run/programs /run/systemd/system
mount -t tmpfs tmpfs /run/scratch
for place in $places; do
    mkdir -p /run/scratch/upper/$place /run/scratch/work/$place
    mount -t overlay -o lowerdir=/$place,upperdir=/run/scratch/upper/$place,workdir=/run/scratch/work/$place overlay /$place
done
mount -t tmpfs tmpfs /var/log
mount --bind "$scratch/programs" /run/programs
mkdir -p /var/lib/wavs
mount --bind "$scratch/state" /var/lib/wavs
if [ "$2" = bare ]; then
    mkdir -p /run/checkout/systemd /run/checkout/target/release
    cp "$scratch"/units/* /run/checkout/systemd/
    mount --bind "$scratch/programs" /run/checkout/target/release
    cp "$scratch/wavs.toml" /run/wavs.toml
else
for unit in "$scratch"/units/*.service "$scratch"/units/*.socket "$scratch"/units/*.target "$scratch"/units/*.slice; do
    sed 's#/usr/bin/wavs#/run/programs/wavs#' "$unit" > "/run/systemd/system/${unit##*/}"
done
mkdir -p /etc/sysusers.d /etc/tmpfiles.d /etc/wavs /etc/credstore
cp "$scratch/units/wavs.sysusers" /etc/sysusers.d/wavs.conf
cp "$scratch/units/wavs.tmpfiles" /etc/tmpfiles.d/wavs.conf
systemd-sysusers wavs.conf
systemd-tmpfiles --create wavs.conf
install -m 640 -o root -g wavs "$scratch/wavs.toml" /etc/wavs/wavs.toml
umask 077
for name in signing_mnemonic aggregator_evm_credential; do
    echo test test test test test test test test test test test junk > "/etc/credstore/wavs.$name"
done
umask 022
fi
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount --make-rshared /
exec /lib/systemd/systemd --system --unit=$target --log-target=console --show-status=no
"#;

/// What [`Machine::boot`] came to.
#[derive(Debug)]
pub enum Boot {
    /// systemd starts; [`Machine::all_run`] waits for the node.
    Booted(Box<Machine>),
    /// This machine cannot run it; the text says why.
    Missing(&'static str),
}

/// A running systemd; everything beneath it ends when this is dropped.
#[derive(Debug)]
pub struct Machine {
    unshare: Child,
    base: String,
    client: reqwest::Client,
    scratch: TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Ends the first process of the namespace too, and with it all others.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

impl Machine {
    /// Boots it with the programs in `binaries`, or those of this build.
    ///
    /// # Errors
    /// When a program is missing or cannot be copied.
    pub fn boot(chains: &[&Anvil], binaries: Option<&Path>) -> Result<Boot> {
        Self::boot_as("installed", chains, binaries)
    }

    /// Boots it without the node: there is a checkout in `/run/checkout` with the programs of this build where a release would be, and
    /// a configuration that works in `/run/wavs.toml`.
    ///
    /// # Errors
    /// When a program is missing or cannot be copied.
    pub fn boot_bare() -> Result<Boot> {
        Self::boot_as("bare", &[], None)
    }

    fn boot_as(what: &str, chains: &[&Anvil], binaries: Option<&Path>) -> Result<Boot> {
        if let Some(missing) = missing() {
            return Ok(Boot::Missing(missing));
        }
        let scratch = tempfile::tempdir()?;
        let programs = scratch.path().join("programs");
        std::fs::create_dir(&programs)?;
        std::fs::create_dir(scratch.path().join("state"))?;
        for name in PROGRAMS {
            let program = binaries.map_or_else(|| binary(name), |binaries| Ok(binaries.join(name)))?;
            link_or_copy(&program, &programs.join(name))?;
        }
        std::os::unix::fs::symlink(
            repository().join("systemd").canonicalize()?,
            scratch.path().join("units"),
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let keys = "data = \"/var/lib/wavs\"\ndev_endpoints_enabled = true";
        let chains = NodeConfig::for_chains(chains).toml;
        let toml = format!("[wavs]\n{keys}\nport = {port}\n{chains}");
        std::fs::write(scratch.path().join("wavs.toml"), toml)?;
        let namespaces = [
            "--pid",
            "--mount",
            "--fork",
            "--cgroup",
            "--ipc",
            "--uts",
            "--kill-child",
        ];
        let unshare = Command::new("unshare")
            .args(namespaces)
            .args(["env", "container=test", "sh", "-c", BOOT, "boot"])
            .arg(scratch.path())
            .arg(what)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run unshare")?;
        Ok(Boot::Booted(Box::new(Self {
            unshare,
            base: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::new(),
            scratch,
        })))
    }

    /// The process id of systemd outside.
    ///
    /// # Errors
    /// When it does not run.
    pub fn first_process(&self) -> Result<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        let first = std::fs::read_to_string(children)?;
        let first = first.split_whitespace().next().context("systemd does not run")?;
        first.parse().context("the process id of systemd is not a number")
    }

    /// The node's data directory, seen from outside.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Runs a shell command inside.
    ///
    /// # Errors
    /// When systemd does not run. That the command fails is in the answer.
    pub fn inside(&self, command: &str) -> Result<Output> {
        self.inside_with(command, "")
    }

    /// Runs a shell command inside, which reads `input`.
    ///
    /// # Errors
    /// When systemd does not run. That the command fails is in the answer.
    pub fn inside_with(&self, command: &str, input: &str) -> Result<Output> {
        let first = self.first_process()?.to_string();
        let mut child = Command::new("nsenter")
            .args(["-t", &first, "-a", "sh", "-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // It may end without reading it.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        Ok(child.wait_with_output()?)
    }

    /// Waits until systemd takes commands.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn booted(&self) -> Result<()> {
        let mut polls = tokio::time::interval(Duration::from_millis(50));
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            polls.tick().await;
            let state = self.text("systemctl is-active basic.target").unwrap_or_default();
            if state == "active" {
                return Ok(());
            }
        }
        anyhow::bail!("systemd does not boot")
    }

    /// What a shell command inside writes.
    ///
    /// # Errors
    /// When systemd does not run.
    pub fn text(&self, command: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.inside(command)?.stdout).trim().to_owned())
    }

    /// The process id of a unit, as systemd sees it.
    ///
    /// # Errors
    /// When systemd does not run.
    pub fn pid(&self, unit: &str) -> Result<String> {
        self.text(&format!("systemctl show -p MainPID --value {unit}"))
    }

    /// Waits until every process is in the state that `expected` gives for its name.
    ///
    /// # Errors
    /// When they are not in time; the text has their rows and the end of the log.
    pub async fn wait_for(&self, what: &str, expected: impl Fn(&str) -> &'static str) -> Result<()> {
        let mut polls = tokio::time::interval(Duration::from_millis(50));
        let end = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < end {
            polls.tick().await;
            let Ok(answer) = self.client.get(format!("{}/v1/processes", self.base)).send().await else {
                continue;
            };
            last = answer.json().await?;
            let rows = last["items"].as_array().context("no rows")?;
            let as_expected = |row: &Value| row["state"] == expected(row["name"].as_str().unwrap_or_default());
            if rows.len() == 5 && rows.iter().all(as_expected) {
                return Ok(());
            }
        }
        let log = self.text("journalctl -u 'wavs-*' -o cat --no-pager | tail -30")?;
        anyhow::bail!("{what}: {last:#}\n{log}")
    }

    /// A program that plays `wavs` for the scenario: the node runs already, it only says where.
    ///
    /// # Errors
    /// When the program cannot be written.
    pub fn stand_in(&self) -> Result<NodeConfig> {
        let directory = self.scratch.path().join("stand-in");
        std::fs::create_dir(&directory)?;
        let program = directory.join("wavs");
        let script = format!(
            "#!/bin/sh\necho HTTP API listening on {}\nexec sleep infinity\n",
            self.base
        );
        std::fs::write(&program, script)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        let mut config = NodeConfig::for_chains(&[]);
        config.binaries = Some(directory);
        Ok(config)
    }

    /// Waits until the whole node runs.
    ///
    /// # Errors
    /// When it does not in time; the text has the rows of the processes and the end of the log.
    pub async fn all_run(&self, what: &str) -> Result<()> {
        self.wait_for(what, |_| "running").await
    }
}

/// Puts a program where the machine sees it. The programs are hundreds of megabytes, so a second copy is made only on another disk.
fn link_or_copy(program: &Path, place: &Path) -> Result<()> {
    if std::fs::hard_link(program, place).is_err() {
        std::fs::copy(program, place).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    Ok(())
}

fn missing() -> Option<&'static str> {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !nix::unistd::geteuid().is_root() {
        return Some("a real systemd needs root");
    }
    if !Path::new("/lib/systemd/systemd").exists() || !runs("systemctl") {
        return Some("systemd is not installed");
    }
    let namespaces = ["--pid", "--mount", "--fork", "--cgroup", "--ipc", "--uts", "true"];
    let unshared = Command::new("unshare").args(namespaces).output();
    if !runs("nsenter") || !unshared.is_ok_and(|output| output.status.success()) {
        return Some("this machine allows no namespaces");
    }
    None
}
