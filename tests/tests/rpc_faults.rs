//! What endpoints do to a node: connections that break, hang or speak nonsense, limits, the wrong chain, and endpoints that
//! die. Each event lands exactly once, and no process is restarted for it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::anvil::Anvil;
use e2e::audit::Audit;
use e2e::contracts::Contracts;
use e2e::node::{Node, NodeConfig};
use e2e::proxy::{Fault, Proxy};
use e2e::scenario::{self, Parts, Scenario};
use e2e::service;

/// Long enough for a slow machine; a passing test never waits for it.
const LIMIT: Duration = Duration::from_secs(120);
/// Gives up on a silent endpoint sooner than an operator would.
const IMPATIENT: &str = "connect_timeout_secs = 2\nrequest_timeout_secs = 2\nping_interval_secs = 1\npong_timeout_secs = 1\n\
                         head_timeout_secs = 3\npoll_interval_ms = 200";
/// Events that are emitted while a fault is on; as many come before it.
const EVENTS: u64 = 10;
/// A fault is switched off once it had more effects than this.
const STRIKES: u64 = 2;

/// Emits events, each in a transaction of its own.
async fn emit(contracts: &Contracts, count: u64) -> Result<()> {
    for _ in 0..count {
        contracts.emit(1, b"event").await?;
    }
    Ok(())
}

/// The process ids of the node: the same afterwards if nothing was restarted.
async fn pids(node: &Node) -> Result<BTreeMap<String, String>> {
    let rows = node.processes().await?;
    Ok(rows
        .iter()
        .map(|row| (row["name"].to_string(), row["pid"].to_string()))
        .collect())
}

/// Waits until all events are on the chain for good, and counts.
async fn all_landed(scenario: &Scenario, events: u64, what: &str) -> Result<()> {
    let audit = Audit::new(&scenario.contracts, scenario.node.dir().join("data"), events);
    let settled = audit.settle(&scenario.chain, LIMIT, |_| ()).await;
    settled.with_context(|| format!("{what}\nthe node's log:\n{}", scenario.node.log()))?;
    let findings = audit.all().await?;
    ensure!(findings.clean() && findings.landed == events, "{what}: {findings:#?}");
    Ok(())
}

/// A node whose only way to the chain is the proxy.
async fn behind_proxy() -> Result<(Scenario, Proxy)> {
    let chain = Anvil::start().await?;
    let proxy = Proxy::start(chain.port()).await?;
    let config = NodeConfig::for_chains(&[]).chain(chain.chain_id(), &[proxy.ws()], &proxy.http(), IMPATIENT);
    let scenario = Scenario::start_on(chain, &config, "echo", |component| component).await?;
    Ok((scenario, proxy))
}

/// Switches each fault on while events flow, and off again once it had an effect.
async fn every_event_lands_through(faults: impl IntoIterator<Item = Fault>) -> Result<()> {
    let (scenario, proxy) = behind_proxy().await?;
    let before = pids(&scenario.node).await?;
    let mut events = 0;
    for fault in faults {
        emit(&scenario.contracts, EVENTS).await?;
        // The id of the chain is asked for at the start of a connection only, and a wrong one is not soon asked for again.
        let asked_once = matches!(fault, Fault::WrongChain(_));
        if asked_once {
            let strikes = proxy.strikes();
            proxy.set(Fault::Drop);
            proxy.struck(strikes, LIMIT).await?;
        }
        let strikes = proxy.strikes();
        proxy.set(fault.clone());
        emit(&scenario.contracts, EVENTS).await?;
        proxy
            .struck(if asked_once { strikes } else { strikes + STRIKES }, LIMIT)
            .await
            .with_context(|| format!("{fault:?}"))?;
        if !matches!(fault, Fault::Delay(_)) {
            proxy.set(Fault::Pass);
        }
        events += 2 * EVENTS;
        all_landed(&scenario, events, &format!("{fault:?}")).await?;
        proxy.set(Fault::Pass);
    }
    ensure!(pids(&scenario.node).await? == before, "a process was restarted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_while_connections_are_reset_cut_and_slow() -> Result<()> {
    every_event_lands_through([Fault::Drop, Fault::Truncate, Fault::Delay(Duration::from_millis(20))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_while_connections_hang_and_speak_nonsense() -> Result<()> {
    every_event_lands_through([Fault::HalfOpen, Fault::Garbage]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_while_requests_are_limited() -> Result<()> {
    every_event_lands_through([Fault::TooManyRequests, Fault::limit_exceeded()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_dies_is_replaced_by_the_other_one() -> Result<()> {
    let chain = Anvil::start().await?;
    let (first, second) = (Proxy::start(chain.port()).await?, Proxy::start(chain.port()).await?);
    let endpoints = [first.ws(), second.ws()];
    let config = NodeConfig::for_chains(&[]).chain(chain.chain_id(), &endpoints, &first.http(), IMPATIENT);
    let scenario = Scenario::start_on(chain, &config, "echo", |component| component).await?;
    let before = pids(&scenario.node).await?;
    emit(&scenario.contracts, EVENTS).await?;
    // Its port is closed, so there is nothing to come back to.
    drop(first);
    emit(&scenario.contracts, EVENTS).await?;
    all_landed(&scenario, 2 * EVENTS, "one endpoint is left").await?;
    ensure!(second.accepted() > 0, "nobody asked the other endpoint");
    ensure!(pids(&scenario.node).await? == before, "a process was restarted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_hangs_holds_up_no_other_one() -> Result<()> {
    let (chain, other) = (Anvil::start().await?, Anvil::options().chain_id(5).start().await?);
    let config = NodeConfig::for_chains(&[])
        .chain(chain.chain_id(), &[chain.ws()], &chain.http(), "")
        .chain(other.chain_id(), &[other.ws()], &other.http(), IMPATIENT);
    let scenario = Scenario::start_on(chain, &config, "echo", |component| component).await?;
    let on_other = Contracts::deploy(&other).await?;
    let key = other.chain_key();
    let parts = Parts {
        contracts: &on_other,
        ..scenario.parts(&key)
    };
    let document = service::service(&key, on_other.manager, &[("default", parts.landing(&parts.operator()))]);
    scenario::enrol(&scenario.node, &other, &on_other, &document).await?;

    emit(&on_other, EVENTS).await?;
    other.freeze()?;
    // The frozen chain does not thaw before all of these have landed, so nothing here can have waited for it.
    for number in 0..EVENTS {
        let landed = scenario.fire_and_land(format!("{number}").as_bytes()).await?;
        ensure!(landed.data.as_ref() == number.to_string().as_bytes());
    }
    other.thaw()?;
    let end = tokio::time::Instant::now() + LIMIT;
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    while on_other.result_count().await? < EVENTS {
        ensure!(
            tokio::time::Instant::now() < end,
            "lost on the chain that hung:\n{}",
            scenario.node.log()
        );
        looks.tick().await;
    }
    ensure!(on_other.result_count().await? == EVENTS);
    Ok(())
}
