//! How many triggers a second get through: injected ones, so that no chain sets the pace.

use std::time::Instant;

use anyhow::{Context as _, Result};
use e2e::node::Node;
use serde_json::{Value, json};

use super::bed::{Bed, Depth};
use super::figure::{Figure, ratio};
use super::progress::Step;

/// Copies in one request; the most that the node takes.
const COPIES: u32 = 10_000;
/// Triggers with data of their own.
const DISTINCT: u32 = 20_000;
/// How many of them travel in one request.
const IN_REQUEST: u32 = 2_000;
/// Triggers that are run first, so that components are compiled and pools are filled.
const WARM: u32 = 2_000;

/// A rate, and what it took.
struct Rate {
    per_second: f64,
    /// Processor time of each process for one trigger.
    cost: String,
}

/// Measures both depths with copies and with triggers of their own.
pub(super) async fn figures(bed: &Bed) -> Result<Vec<Figure>> {
    let step = Step::new("injected triggers", 2 * u64::from(WARM + COPIES + DISTINCT))?;
    let mut rates = Vec::new();
    for depth in [Depth::Run, Depth::Sign] {
        inject_distinct(bed, depth, "warm", WARM, &step).await?;
        bed.aggregated(depth).await?;
        let copies = rate(bed, COPIES, bed.inject(depth, b"the same", COPIES)).await?;
        step.advance(u64::from(COPIES));
        let distinct = rate(bed, DISTINCT, async {
            inject_distinct(bed, depth, "distinct", DISTINCT, &step).await?;
            bed.aggregated(depth).await
        })
        .await?;
        rates.push((copies, distinct));
    }
    let [(run_copies, run), (sign_copies, sign)] = &rates[..] else {
        anyhow::bail!("two depths were measured")
    };
    let share = ratio(Some(sign.per_second), Some(run.per_second)).unwrap_or_default();
    let figure = |name: &str, rate: &Rate| Figure::new(name, Some(rate.per_second), "/s").note(rate.cost.clone());
    Ok(vec![
        figure("executions per second, no submission", run),
        figure("  copies of one trigger", run_copies),
        figure("through operator, signature and aggregator component, durable", sign)
            .note(format!("{share:.2} of the rate without submission; {}", sign.cost)),
        figure("  copies of one trigger, which share a signature", sign_copies),
    ])
}

/// Injects triggers that differ, a few requests at a time, until all are signed.
async fn inject_distinct(bed: &Bed, depth: Depth, label: &str, count: u32, step: &Step) -> Result<()> {
    let requests = (0..count).step_by(IN_REQUEST as usize).map(async |first| {
        let data: Vec<Value> = (first..count.min(first + IN_REQUEST))
            .map(|index| json!({"Raw": format!("{label} {depth:?} {index}").as_bytes()}))
            .collect();
        let sent = data.len() as u64;
        bed.inject_each(depth, &Value::from(data), 1).await?;
        step.advance(sent);
        anyhow::Ok(())
    });
    futures::future::try_join_all(requests).await.map(drop)
}

/// How many a second, and at which cost.
async fn rate(bed: &Bed, count: u32, work: impl Future<Output = Result<()>>) -> Result<Rate> {
    let before = processor_seconds(&bed.node).await?;
    let started = Instant::now();
    work.await?;
    let elapsed = started.elapsed();
    let after = processor_seconds(&bed.node).await?;
    let each = |((name, before), (_, after)): (&(String, f64), &(String, f64))| {
        format!("{name} {:.0}", (after - before) * 1e6 / f64::from(count))
    };
    let parts: Vec<String> = before.iter().zip(&after).map(each).collect();
    Ok(Rate {
        per_second: f64::from(count) / elapsed.as_secs_f64(),
        cost: format!("µs of processor each: {}", parts.join(", ")),
    })
}

/// Processor time of every process since it started.
async fn processor_seconds(node: &Node) -> Result<Vec<(String, f64)>> {
    let rows = node.processes().await?;
    rows.iter()
        .map(|row| {
            let name = row["name"].as_str().context("a process has no name")?;
            let seconds = row["cpu_seconds"].as_f64().unwrap_or_default();
            Ok((name.trim_end_matches("-svc").to_owned(), seconds))
        })
        .collect()
}
