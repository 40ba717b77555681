//! How fast the node is there after a start.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::anvil::Anvil;
use e2e::node::Node;

use super::bed;
use super::figure::Figure;
use super::progress::Step;
use super::stats::Sample;

/// Starts that are measured.
const STARTS: u64 = 5;
/// The most that a start should take, in milliseconds.
const START_TARGET_MS: f64 = 500.0;

/// Starts the node several times, each on a fresh data directory.
pub(super) async fn starts(chain: &Anvil, binaries: &Path) -> Result<Figure> {
    let step = Step::new("starts of the node", STARTS)?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let node = Node::start(&bed::config(chain, binaries)).await?;
        times.push(milliseconds(started.elapsed()));
        node.stop().await?;
        step.advance(1);
    }
    let sample = Sample::new(times);
    let worst = sample.max().unwrap_or_default();
    Ok(Figure::new("start to ready, p50", sample.p50(), "ms")
        .target(START_TARGET_MS)
        .note(format!(
            "{STARTS} starts on fresh data, worst {worst:.0} ms, read to 10 ms"
        )))
}

/// As a number.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
