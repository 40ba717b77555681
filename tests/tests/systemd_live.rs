//! The units under a real systemd: it runs as the first process of namespaces of its own, with a scratch `/etc` and `/var/lib`.
//!
//! Needs root, `unshare` and systemd; where one is missing the test says so on stderr and passes.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use e2e::node::NodeConfig;
use e2e::scenario::{Parts, Scenario};
use e2e::tools::{binary, repository};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Becomes systemd. `$1` is the scratch directory, with `programs`, `units` (the content of the repository's `systemd/`) and
/// `wavs.toml`. The root is shared as on a real machine, or credentials would never reach the processes.
const BOOT: &str = r#"
set -e
scratch=$1
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/scratch /run/programs /run/systemd/system
mount -t tmpfs tmpfs /run/scratch
for place in etc var/lib; do
    mkdir -p /run/scratch/upper/$place /run/scratch/work/$place
    mount -t overlay -o lowerdir=/$place,upperdir=/run/scratch/upper/$place,workdir=/run/scratch/work/$place overlay /$place
done
mount -t tmpfs tmpfs /var/log
mount --bind "$scratch/programs" /run/programs
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
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount --make-rshared /
exec /lib/systemd/systemd --system --unit=wavs.target --log-target=console --show-status=no
"#;

/// A running systemd; everything beneath it ends when this is dropped.
struct Machine {
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
    /// `None` when this machine cannot run it.
    fn boot(chains: &[&Anvil]) -> Result<Option<Self>> {
        if let Some(missing) = missing() {
            eprintln!("skipped: {missing}");
            return Ok(None);
        }
        let scratch = tempfile::tempdir()?;
        let programs = scratch.path().join("programs");
        std::fs::create_dir(&programs)?;
        for name in ["wavs", "wavs-trigger", "wavs-engine", "wavs-aggregator", "wavs-p2p"] {
            std::fs::copy(binary(name)?, programs.join(name))?;
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
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run unshare")?;
        Ok(Some(Self {
            unshare,
            base: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::new(),
            scratch,
        }))
    }

    /// Runs a shell command inside.
    fn inside(&self, command: &str) -> Result<Output> {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        let first = std::fs::read_to_string(children)?;
        let first = first.split_whitespace().next().context("systemd does not run")?;
        let output = Command::new("nsenter")
            .args(["-t", first, "-a", "sh", "-c", command])
            .output()?;
        Ok(output)
    }

    fn text(&self, command: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.inside(command)?.stdout).trim().to_owned())
    }

    /// The process id of a unit, as systemd sees it.
    fn pid(&self, unit: &str) -> Result<String> {
        self.text(&format!("systemctl show -p MainPID --value {unit}"))
    }

    /// Waits until every process is in the state that `expected` gives for its name.
    async fn wait_for(&self, what: &str, expected: impl Fn(&str) -> &'static str) -> Result<()> {
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
    fn stand_in(&self) -> Result<NodeConfig> {
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

    async fn all_run(&self, what: &str) -> Result<()> {
        self.wait_for(what, |_| "running").await
    }
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

#[tokio::test]
async fn processes_are_units_that_restart_alone() -> Result<()> {
    let Some(machine) = Machine::boot(&[])? else {
        return Ok(());
    };
    machine.all_run("the target does not come up").await?;
    let units = ["wavs-trigger", "wavs-engine", "wavs-aggregator", "wavs-p2p"];
    let pids = || units.iter().map(|unit| machine.pid(unit)).collect::<Result<Vec<_>>>();

    // The phrase is with the one process that may hold it.
    let holders = machine.text("cd /run/credentials && echo */wavs.signing_mnemonic")?;
    ensure!(holders == "wavs-aggregator.service/wavs.signing_mnemonic", "{holders}");

    let before = pids()?;
    machine.inside("systemctl restart wavs-supervisor && systemctl kill -s KILL wavs-supervisor")?;
    machine.all_run("the API does not come back").await?;
    ensure!(pids()? == before, "the pipeline was touched by the supervisor");

    machine.inside("systemctl restart wavs-engine")?;
    machine.all_run("the engine does not come back").await?;
    let after = pids()?;
    let changed: Vec<_> = (0..units.len())
        .filter(|index| before[*index] != after[*index])
        .collect();
    ensure!(changed == [1], "{before:?} {after:?}");

    machine.inside("systemctl kill -s KILL wavs-trigger wavs-aggregator")?;
    machine.all_run("killed processes do not come back").await?;
    Ok(())
}

#[tokio::test]
async fn a_process_that_cannot_run_as_configured_stays_down_until_it_is_started() -> Result<()> {
    let Some(machine) = Machine::boot(&[])? else {
        return Ok(());
    };
    machine.all_run("the target does not come up").await?;
    machine.inside("cp -a /etc/wavs/wavs.toml /run/good; echo 'max_wasm_fuel = \"much\"' >> /etc/wavs/wavs.toml; systemctl restart wavs-trigger")?;
    let state = |name: &str| if name == "trigger-svc" { "backoff" } else { "running" };
    machine.wait_for("the others go on", state).await?;
    // By now the API and aggregator-svc have called it, which must not have started it.
    let seen = machine
        .text("systemctl show -p ActiveState,ExecMainStatus,NRestarts --value wavs-trigger | sort | tr '\\n' ' '")?;
    ensure!(seen == "0 78 failed", "{seen}");
    machine.inside("cp -a /run/good /etc/wavs/wavs.toml; systemctl restart wavs-trigger")?;
    machine.all_run("it does not start with a good configuration").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_once_while_processes_are_restarted_and_killed() -> Result<()> {
    /// How often everything is disturbed; each time two events are fired.
    const ROUNDS: u64 = 3;
    let chain = Anvil::start().await?;
    let Some(machine) = Machine::boot(&[&chain])? else {
        return Ok(());
    };
    machine.all_run("the target does not come up").await?;
    let contracts = Contracts::deploy(&chain).await?;
    let landing = |parts: &Parts<'_>| vec![("default", parts.landing(&parts.operator()))];
    let scenario = Scenario::start_with(chain, contracts, &machine.stand_in()?, "square", landing).await?;
    let disturbances = [
        "systemctl restart wavs-engine",
        "systemctl kill -s KILL wavs-trigger",
        "systemctl restart wavs-supervisor",
        "systemctl kill -s KILL wavs-aggregator",
    ];
    let mut fired = 0;
    for _ in 0..ROUNDS {
        for disturbance in disturbances {
            for _ in 0..2 {
                fired += 1;
                let data = format!("{{\"x\":{fired}}}");
                scenario.contracts.fire(data.as_bytes()).await?;
            }
            machine.inside(disturbance)?;
        }
    }
    let mut polls = tokio::time::interval(Duration::from_millis(100));
    let end = Instant::now() + PATIENCE;
    let mut landed = 0;
    while landed < fired && Instant::now() < end {
        polls.tick().await;
        landed = scenario.contracts.result_count().await?;
    }
    let log = || machine.text("journalctl -u 'wavs-*' -o cat --no-pager | grep -v INFO | tail -30");
    ensure!(landed == fired, "{landed} of {fired} landed\n{}", log()?);
    Ok(())
}
