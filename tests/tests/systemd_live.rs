//! The units under a real systemd, and events that land while they are restarted and killed.
//!
//! Where it cannot run the tests say so on stderr and pass.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use e2e::machine::{Boot, Machine};
use e2e::scenario::{Parts, Scenario};

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
