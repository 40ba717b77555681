//! Many events at once: how soon all their results are on the chain, when it mines at once and when it has a block a second.
//!
//! The events come in one transaction, so the node sees them together. A client of its own counts the results.

use std::time::{Duration, Instant};

use alloy::primitives::{Bytes, FixedBytes, U256};
use alloy::providers::Provider as _;
use alloy::pubsub::Subscription;
use alloy::rpc::types::{Filter, Log};
use anyhow::{Context as _, Result};
use e2e::contracts::SimpleTrigger;
use serde_json::json;

use super::bed::Bed;
use super::figure::Figure;
use super::latency::listener;
use super::progress::Step;

/// Events in one transaction.
const EVENTS: u64 = 200;
/// Logs that a subscription holds: more than one burst.
const CHANNEL: usize = 512;
/// Gas of that transaction.
const EVENTS_GAS: u64 = 40_000_000;
/// Gas limit of a block, so high that it is not what keeps the results apart.
const BLOCK_GAS: &str = "0x3b9aca00";
/// The most that the results should take on a chain that mines at once: 100 a second.
const AT_ONCE_TARGET_MS: f64 = 2_000.0;
/// The most blocks from the events to the last result.
const BLOCKS_TARGET: f64 = 3.0;
/// How long all results may take until some count as lost.
const LIMIT: Duration = Duration::from_secs(120);

/// A burst and its results.
struct Landed {
    /// From hearing of the events until hearing of the last result.
    took: Duration,
    /// Blocks from that of the events to that of the last result.
    blocks: u64,
}

/// Measures both.
pub(super) async fn figures(bed: &Bed) -> Result<Vec<Figure>> {
    let step = Step::new("bursts of events", 3)?;
    bed.chain.request("evm_setBlockGasLimit", json!([BLOCK_GAS])).await?;
    // The first one fills pools and connections and is not counted.
    burst(bed).await?;
    step.advance(1);
    let at_once = burst(bed).await?;
    step.advance(1);
    bed.chain.request("evm_setAutomine", json!([false])).await?;
    bed.chain.request("evm_setIntervalMining", json!([1])).await?;
    let in_blocks = burst(bed).await;
    bed.chain.request("evm_setIntervalMining", json!([0])).await?;
    bed.chain.request("evm_setAutomine", json!([true])).await?;
    let in_blocks = in_blocks?;
    let ms = at_once.took.as_secs_f64() * 1_000.0;
    #[allow(clippy::cast_precision_loss)]
    let (rate, blocks) = (EVENTS as f64 / at_once.took.as_secs_f64(), in_blocks.blocks as f64);
    Ok(vec![
        Figure::new(format!("burst of {EVENTS} events, mined at once"), Some(ms), "ms")
            .target(AT_ONCE_TARGET_MS)
            .note(format!("{rate:.0} results a second")),
        Figure::new(
            format!("burst of {EVENTS} events, a block a second"),
            Some(blocks),
            "blocks",
        )
        .target(BLOCKS_TARGET)
        .note(format!(
            "{:.1} s from the events to the last result",
            in_blocks.took.as_secs_f64()
        )),
    ])
}

/// Fires a burst and waits until all its results are there.
async fn burst(bed: &Bed) -> Result<Landed> {
    let (events, results) = (listener(bed).await?, listener(bed).await?);
    let contracts = &bed.contracts;
    // All of a burst may come at once, and a subscription that is full ends.
    let mut events = events
        .subscribe_logs(&Filter::new().address(contracts.trigger))
        .channel_size(CHANNEL)
        .await?;
    let mut results = results
        .subscribe_logs(&Filter::new().address(contracts.handler))
        .channel_size(CHANNEL)
        .await?;
    let trigger = SimpleTrigger::new(contracts.trigger, &contracts.provider);
    let call = trigger
        .addMany(U256::from(EVENTS), Bytes::from_static(br#"{"x":7}"#))
        .gas(EVENTS_GAS);
    drop(call.send().await.context("the chain refused the events")?);
    tokio::time::timeout(LIMIT, async {
        let first = next(&mut events).await?;
        let fired = Instant::now();
        let mut seen = std::collections::BTreeSet::<FixedBytes<32>>::new();
        let mut last = first.block_number;
        while (seen.len() as u64) < EVENTS {
            let result = next(&mut results).await?;
            last = last.max(result.block_number);
            seen.insert(result.transaction_hash.context("a result is in no transaction")?);
        }
        let took = fired.elapsed();
        let (from, to) = first.block_number.zip(last).context("a log is in no block")?;
        Ok(Landed {
            took,
            blocks: to - from,
        })
    })
    .await
    .with_context(|| format!("not all of {EVENTS} results are there after {LIMIT:?}"))?
}

async fn next(logs: &mut Subscription<Log>) -> Result<Log> {
    logs.recv().await.context("the subscription ended")
}
