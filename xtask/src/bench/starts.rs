//! How fast the node is there: all of it after a start, and one process after it was killed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::anvil::Anvil;
use e2e::node::Node;

use super::bed::{self, Bed};
use super::figure::Figure;
use super::progress::Step;
use super::stats::Sample;

/// Starts that are measured.
const STARTS: u64 = 5;
/// The most that a start should take, in milliseconds.
const START_TARGET_MS: f64 = 500.0;
/// The most that a killed process should be away, in milliseconds.
const RESTART_TARGET_MS: f64 = 1_000.0;
/// How often a killed process is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How long a killed process may be away until it counts as lost.
const RESTART_LIMIT: Duration = Duration::from_secs(30);
/// The processes that the supervisor restarts.
const CHILDREN: [&str; 4] = ["trigger-svc", "engine-svc", "aggregator-svc", "p2p-svc"];

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

/// Kills each process once and waits until it is ready again.
pub(super) async fn restarts(bed: &Bed) -> Result<Figure> {
    let step = Step::new("kill -9 of each process", CHILDREN.len() as u64)?;
    let mut times = Vec::new();
    let mut parts = Vec::new();
    for name in CHILDREN {
        let took = tokio::time::timeout(RESTART_LIMIT, restart(&bed.node, name))
            .await
            .with_context(|| format!("{name} did not come back within {RESTART_LIMIT:?}"))??;
        times.push(milliseconds(took));
        parts.push(format!("{} {:.0}", name.trim_end_matches("-svc"), milliseconds(took)));
        step.advance(1);
    }
    Ok(
        Figure::new("kill -9 to ready again, worst", Sample::new(times).max(), "ms")
            .target(RESTART_TARGET_MS)
            .note(parts.join(", ")),
    )
}

async fn restart(node: &Node, name: &str) -> Result<Duration> {
    let old = node.pid(name).await?.as_raw();
    let path = format!("/v1/processes/{name}");
    let killed = Instant::now();
    node.kill(name).await?;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let row = node.get(&path).await?;
        let is_new = row["pid"].as_i64().is_some_and(|pid| pid != i64::from(old));
        if is_new && row["state"] == "running" && !row["health"].is_null() {
            return Ok(killed.elapsed());
        }
    }
}

/// As a number.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
