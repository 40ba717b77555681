//! `cargo xtask bench network`: what it costs several operators to agree on an event and to land it once.

use std::path::Path;
use std::time::{Duration, Instant};

use alloy::consensus::Transaction as _;
use alloy::network::ReceiptResponse as _;
use alloy::providers::Provider as _;
use anyhow::{Context as _, Result};
use e2e::cluster::{Cluster, ClusterConfig, LIMIT};

use super::figure::{Figure, Report, percentiles};
use super::progress::Step;
use super::starts::milliseconds;
use super::stats::Sample;

/// The most transactions that an event should take.
const TRANSACTIONS_TARGET: f64 = 1.1;
/// Events that come first and are not counted.
const WARM_EVENTS: u32 = 3;
/// How often the chain is asked for a result.
const POLL: Duration = Duration::from_millis(5);

/// Sums of what all nodes have counted.
#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    messages: f64,
    bytes: f64,
    cpu_seconds: f64,
}

/// Measures networks of these sizes.
pub(super) async fn figures(binaries: &Path, sizes: &[u32], events: u32, report: &mut Report) -> Result<()> {
    for (index, size) in sizes.iter().enumerate() {
        let mut config = ClusterConfig::of(*size, 200 + u8::try_from(index)?);
        config.binaries = Some(binaries.to_owned());
        let cluster = Cluster::start(&config).await?;
        report.add(measure(&cluster, *size, events).await?);
    }
    Ok(())
}

async fn measure(cluster: &Cluster, size: u32, events: u32) -> Result<Vec<Figure>> {
    let step = Step::new(&format!("events of {size} operators"), u64::from(WARM_EVENTS + events))?;
    for number in 0..WARM_EVENTS {
        land(cluster, number).await?;
        step.advance(1);
    }
    settle(cluster).await?;
    let (before, sent_before) = (traffic(cluster).await?, cluster.transactions().await?.len());
    let mut times = Vec::new();
    for number in 0..events {
        times.push(land(cluster, WARM_EVENTS + number).await?);
        step.advance(1);
    }
    drop(step);
    settle(cluster).await?;
    let after = traffic(cluster).await?;
    let transactions = cluster.transactions().await?;
    let wasted = wasted_gas(cluster, &transactions[sent_before..]).await?;
    let waits = signed_to_landed(cluster, times.len()).await?;
    let per_event = |before: f64, after: f64| Some((after - before) / f64::from(events));
    let (messages, cpu_seconds) = (after.messages - before.messages, after.cpu_seconds - before.cpu_seconds);
    let sent = u32::try_from(transactions.len() - sent_before)?;
    let name = |what: &str| format!("{size} operators: {what}");
    let [p50, p99] = percentiles(
        &name("event mined to result mined"),
        &Sample::new(times.into_iter().map(milliseconds)),
    );
    let [quorum_p50, quorum_p99] = percentiles(&name("enough signatures to result mined"), &Sample::new(waits));
    Ok(vec![
        Figure::new(
            name("transactions per event"),
            Some(f64::from(sent) / f64::from(events)),
            "",
        )
        .target(TRANSACTIONS_TARGET)
        .note(format!("{events} events")),
        Figure::new(name("wasted gas per event"), per_event(0.0, wasted), "gas")
            .note("of transactions that failed, or that came after the first"),
        p50,
        p99,
        quorum_p50,
        quorum_p99,
        Figure::new(
            name("records received per event"),
            per_event(before.messages, after.messages),
            "",
        )
        .note("all nodes"),
        Figure::new(
            name("bytes of records per event"),
            per_event(before.bytes, after.bytes),
            "bytes",
        )
        .note("all nodes, in and out"),
        Figure::new(
            name("CPU of p2p-svc per event"),
            per_event(before.cpu_seconds * 1_000.0, after.cpu_seconds * 1_000.0),
            "ms",
        )
        .note("all nodes, with their heartbeats"),
        Figure::new(
            name("CPU of p2p-svc per record received"),
            (messages > 0.0).then(|| cpu_seconds * 1_000_000.0 / messages),
            "us",
        )
        .note("all nodes, with their heartbeats"),
    ])
}

/// Fires one event and answers how long its result took.
async fn land(cluster: &Cluster, number: u32) -> Result<Duration> {
    let before = cluster.contracts.result_count().await?;
    cluster.contracts.fire(format!("{{\"x\":{number}}}").as_bytes()).await?;
    let fired = Instant::now();
    let landed = async {
        let mut polls = tokio::time::interval(POLL);
        loop {
            polls.tick().await;
            if cluster.contracts.result_count().await? > before {
                return Ok(fired.elapsed());
            }
        }
    };
    tokio::time::timeout(LIMIT, landed)
        .await
        .context("an event did not land")?
}

/// From enough signatures to the result mined, in milliseconds, for the newest events: as the operator saw it that posted.
async fn signed_to_landed(cluster: &Cluster, events: usize) -> Result<Vec<f64>> {
    let mut waits = Vec::new();
    for operator in cluster.running() {
        let path = format!("/v1/jobs?service_id={}&limit={}", cluster.service_id, events.min(500));
        let jobs = operator.node()?.get(&path).await?;
        for job in jobs["items"].as_array().into_iter().flatten() {
            let at = |wanted: &str| {
                let mut steps = job["timeline"].as_array().into_iter().flatten();
                steps.find(|step| step["step"] == wanted)?["at_us"].as_f64()
            };
            // Whoever did not send the transaction has no such step.
            if let (Some(_), Some(quorum), Some(mined)) = (at("submitting"), at("quorum"), at("mined")) {
                waits.push((mined - quorum) / 1_000.0);
            }
        }
    }
    Ok(waits)
}

/// Waits until no operator has anything open any more, so that late duplicates are counted too.
async fn settle(cluster: &Cluster) -> Result<()> {
    for operator in cluster.running() {
        let path = format!("/v1/jobs?service_id={}&limit=500", cluster.service_id);
        let over = |jobs: &serde_json::Value| {
            let jobs = jobs["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            jobs.iter().all(|job| e2e::scenario::transaction(job).is_some())
        };
        operator.node()?.wait_for(&path, LIMIT, over).await?;
    }
    Ok(())
}

async fn traffic(cluster: &Cluster) -> Result<Traffic> {
    let mut sum = Traffic::default();
    for operator in cluster.running() {
        let node = operator.node()?;
        let response = node.request(reqwest::Method::GET, "/metrics", None).await?;
        for line in response.text().await?.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let value: f64 = value.parse().unwrap_or_default();
            if series.starts_with("wavs_p2p_messages_total{") && series.contains("direction=\"in\"") {
                sum.messages += value;
            } else if series.starts_with("wavs_p2p_bytes_total{") {
                sum.bytes += value;
            } else if series.starts_with("wavs_process_cpu_seconds{") && series.contains("p2p-svc") {
                sum.cpu_seconds += value;
            }
        }
    }
    Ok(sum)
}

/// Gas of transactions that failed, or that came after the first for their event.
async fn wasted_gas(cluster: &Cluster, transactions: &[alloy::primitives::B256]) -> Result<f64> {
    let provider = cluster.chain.provider()?;
    let (mut seen, mut wasted) = (std::collections::HashSet::new(), 0.0);
    for hash in transactions {
        let receipt = provider
            .get_transaction_receipt(*hash)
            .await?
            .context("a transaction has no receipt")?;
        let transaction = provider
            .get_transaction_by_hash(*hash)
            .await?
            .context("a transaction is gone")?;
        // The event id is the first word of the envelope, which stands behind selector, two offsets and its own head.
        let event: Vec<u8> = transaction.input().iter().skip(4 + 64).take(20).copied().collect();
        if !receipt.status() || !seen.insert(event) {
            wasted += receipt.gas_used() as f64;
        }
    }
    Ok(wasted)
}
