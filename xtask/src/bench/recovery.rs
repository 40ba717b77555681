//! How long a killed process keeps others waiting: from SIGKILL until work that needs it is done.
//!
//! Right after the kill a trigger is injected that passes through trigger-svc, aggregator-svc and engine-svc, so each is
//! needed; its component has run when the answer comes. p2p-svc has no work in it and counts as back when it answers.
//! The time that one such trigger takes when nothing was killed is in every figure.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::bed::{Bed, Depth};
use super::figure::{Figure, percentiles};
use super::progress::Step;
use super::starts::milliseconds;
use super::stats::Sample;

/// How often each process is killed.
const KILLS: u32 = 25;
/// The most that others should wait, in milliseconds.
const TARGET_MS: f64 = 500.0;
/// How often a process is looked for that does no work.
const LOOK: Duration = Duration::from_millis(5);
/// How long a killed process may keep others waiting until it counts as lost.
const LIMIT: Duration = Duration::from_secs(30);
/// The processes that the supervisor restarts.
const CHILDREN: [&str; 4] = ["engine-svc", "trigger-svc", "aggregator-svc", "p2p-svc"];

/// Kills each process many times, each time after the work of the time before is done.
pub(super) async fn figures(bed: &Bed) -> Result<Vec<Figure>> {
    let step = Step::new("kill -9 of each process", u64::from(KILLS) * CHILDREN.len() as u64)?;
    let mut figures = Vec::new();
    for name in CHILDREN {
        let mut times = Vec::new();
        for number in 0..KILLS {
            let took = tokio::time::timeout(LIMIT, back_at_work(bed, name, number)).await;
            let took = took.with_context(|| format!("{name} was not back at work within {LIMIT:?}"))??;
            times.push(milliseconds(took));
            step.advance(1);
        }
        let sample = Sample::new(times);
        let [p50, p99] = percentiles(&format!("kill -9 of {name} to work done"), &sample);
        let worst = sample.max().unwrap_or_default();
        figures.extend([
            p50,
            p99.target(TARGET_MS)
                .note(format!("{KILLS} kills, worst {worst:.0} ms")),
        ]);
    }
    Ok(figures)
}

async fn back_at_work(bed: &Bed, name: &str, number: u32) -> Result<Duration> {
    let path = format!("/v1/processes/{name}");
    let old = bed.node.pid(name).await?.as_raw();
    let killed = bed.node.kill(name).await?;
    if name != "p2p-svc" {
        let data = format!("{name} {number}");
        // What the death cut off in the middle is refused, and repeated as any client would.
        while bed.inject(Depth::Run, data.as_bytes(), 1).await.is_err() {}
        return Ok(killed.elapsed());
    }
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let row = bed.node.get(&path).await?;
        let is_new = row["pid"].as_i64().is_some_and(|pid| pid != i64::from(old));
        if is_new && !row["health"].is_null() {
            return Ok(killed.elapsed());
        }
    }
}
