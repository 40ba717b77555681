//! The units under a real systemd, and events that land while they are restarted and killed.
//!
//! Where it cannot run the tests say so on stderr and pass.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::anvil::{Anvil, MNEMONIC as PHRASE};
use e2e::contracts::Contracts;
use e2e::machine::{Boot, Machine};
use e2e::scenario::{Parts, Scenario};
use e2e::tools::repository;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// `None` when this machine cannot run it.
fn boot(chains: &[&Anvil]) -> Result<Option<Box<Machine>>> {
    Ok(match Machine::boot(chains, None)? {
        Boot::Booted(machine) => Some(machine),
        Boot::Missing(missing) => {
            eprintln!("skipped: {missing}");
            None
        }
    })
}

#[tokio::test]
async fn processes_are_units_that_restart_alone() -> Result<()> {
    let Some(machine) = boot(&[])? else {
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
    let Some(machine) = boot(&[])? else {
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

#[tokio::test]
async fn no_process_can_read_or_call_what_is_not_its_own() -> Result<()> {
    let Some(machine) = boot(&[])? else {
        return Ok(());
    };
    machine.all_run("the target does not come up").await?;
    let users = ["wavs", "wavs-trigger", "wavs-engine", "wavs-aggregator", "wavs-p2p"];
    for unit in &users[1..] {
        let pid = machine.pid(unit)?;
        let owner = machine.text(&format!("stat -c %U /proc/{pid}"))?;
        // The process with the keys is not dumpable, so its files in /proc belong to root; the kernel still says whose it is.
        let real = machine.text(&format!("id -nu $(awk '/^Uid:/ {{print $2}}' /proc/{pid}/status)"))?;
        ensure!(real == *unit, "{unit} runs as {real} ({owner})");
    }
    // Outside of any sandbox, by the rights of the users alone.
    let can = |user: &str, test: &str| -> Result<bool> {
        let command = format!("runuser -u {user} -- test {test}");
        Ok(machine.inside(&command)?.status.success())
    };
    let data = "/var/lib/wavs";
    for user in users {
        for place in ["trigger", "engine", "aggregator", "p2p"] {
            let own = user == format!("wavs-{place}");
            for right in ["-r", "-w", "-x"] {
                ensure!(
                    can(user, &format!("{right} {data}/{place}"))? == own,
                    "{user} {right} {place}"
                );
            }
            let socket = |name: &str| format!("-w {data}/run/{place}/{name}.sock");
            ensure!(can(user, &socket("ctl"))? == (user == "wavs"), "{user} {place} ctl");
            if place != "aggregator" {
                ensure!(
                    can(user, &socket("rpc"))? == (user == "wavs-aggregator"),
                    "{user} {place} rpc"
                );
            }
        }
        let uploads = can(user, &format!("-w {data}/run/uploads"))?;
        ensure!(uploads == ["wavs", "wavs-engine"].contains(&user), "{user} uploads");
        ensure!(
            !can(user, "-r /etc/credstore/wavs.signing_mnemonic")?,
            "{user} reads the phrase"
        );
        ensure!(
            can(user, "-r /etc/wavs/wavs.toml")?,
            "{user} cannot read the configuration"
        );
    }
    Ok(())
}

/// The commands in the shell blocks of `systemd/README.md`, in their order.
fn commands() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(repository().join("systemd/README.md"))?;
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && !line.trim().is_empty() => commands.push(line.to_owned()),
            _ => {}
        }
    }
    Ok(commands)
}

#[tokio::test]
async fn every_command_of_the_readme_does_what_it_says() -> Result<()> {
    let machine = match Machine::boot_bare()? {
        Boot::Booted(machine) => machine,
        Boot::Missing(missing) => {
            eprintln!("skipped: {missing}");
            return Ok(());
        }
    };
    machine.booted().await?;
    let units = ["wavs-trigger", "wavs-engine", "wavs-p2p", "wavs-aggregator"];
    let pids = || units.iter().map(|unit| machine.pid(unit)).collect::<Result<Vec<_>>>();
    let commands = commands()?;
    ensure!(commands.len() > 15, "{commands:?}");
    for command in commands {
        let before = pids()?;
        if command.starts_with("wavs config check") {
            // What the section before says in words: the file, and who may read it.
            machine.inside("install -m 640 -o root -g wavs /run/wavs.toml /etc/wavs/wavs.toml")?;
        }
        // A log that is followed does not end by itself.
        let command = if command.contains(" -f ") {
            format!("timeout --foreground 2 {command}")
        } else {
            command
        };
        let output = machine.inside_with(&format!("cd /run/checkout && {command}"), PHRASE)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        // Before the start `wavs check` finds no node, and says so.
        let may_fail = command.starts_with("wavs check") || command.starts_with("timeout");
        ensure!(output.status.success() || may_fail, "{command}: {said}{errors}");
        if command.starts_with("wavs ") || command.contains("journalctl") && !command.contains("jq") {
            ensure!(!said.is_empty(), "{command} says nothing: {errors}");
        }
        if command.contains("enable --now") {
            machine.all_run("the target does not come up").await?;
        }
        if command.contains("restart") {
            machine.all_run(&command).await?;
            let after = pids()?;
            let changed: Vec<_> = units.into_iter().zip(before.iter().zip(&after)).collect();
            for (unit, (old, new)) in changed {
                let is_named = command.split_whitespace().any(|word| word == unit);
                ensure!((old != new) == is_named, "{unit} after {command}: {old} {new}");
            }
        }
        if command.contains("set-property") {
            let limits = machine.text("systemctl show -p MemoryMax -p CPUQuotaPerSecUSec --value wavs-engine")?;
            ensure!(limits.contains("30064771072") && limits.contains("6s"), "{limits}");
        }
    }
    // The phrase was read by the one process that may hold it.
    let keys = machine.text("journalctl -u wavs-aggregator -o cat --no-pager")?;
    ensure!(!keys.contains("no signing_mnemonic"), "{keys}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_once_while_processes_are_restarted_and_killed() -> Result<()> {
    /// How often everything is disturbed; each time two events are fired.
    const ROUNDS: u64 = 3;
    let chain = Anvil::start().await?;
    let Some(machine) = boot(&[&chain])? else {
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
