//! How many triggers a second get through: injected ones, so that no chain sets the pace.

use std::time::Instant;

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::bed::{Bed, Depth};
use super::figure::{Figure, ratio};
use super::progress::Step;

/// Copies in one request; the most that the node takes.
const COPIES: u32 = 10_000;
/// Triggers with data of their own, each in a request of its own.
const DISTINCT: u32 = 2_000;
/// Requests that are under way at once.
const IN_FLIGHT: usize = 32;
/// Triggers that are run first, so that components are compiled and pools are filled.
const WARM: u32 = 200;

/// Measures both depths in both ways.
pub(super) async fn figures(bed: &Bed) -> Result<Vec<Figure>> {
    let total = 2 * (u64::from(COPIES) + u64::from(DISTINCT));
    let step = Step::new("injected triggers", total)?;
    let mut rates = Vec::new();
    for depth in [Depth::Run, Depth::Sign] {
        bed.inject(depth, b"warm", WARM).await?;
        let copies = rate(COPIES, bed.inject(depth, b"the same", COPIES)).await?;
        step.advance(u64::from(COPIES));
        let distinct = rate(DISTINCT, distinct(bed, depth, &step)).await?;
        rates.push((copies, distinct));
    }
    let [(run_copies, run_distinct), (sign_copies, sign_distinct)] = rates[..] else {
        anyhow::bail!("two depths were measured")
    };
    let compared = |sign, run, what: &str| {
        let share = ratio(Some(sign), Some(run)).unwrap_or_default();
        format!("{share:.2} of the rate without signature; {what}")
    };
    Ok(vec![
        Figure::new("executions per second, no submission", Some(run_copies), "/s")
            .note(format!("{COPIES} copies in one request")),
        Figure::new("triggers per second to a stored signature", Some(sign_copies), "/s").note(compared(
            sign_copies,
            run_copies,
            "copies share one signature",
        )),
        Figure::new("  with data of their own, no submission", Some(run_distinct), "/s")
            .note(format!("{DISTINCT} requests, {IN_FLIGHT} at once")),
        Figure::new("  with data of their own, to signatures", Some(sign_distinct), "/s").note(compared(
            sign_distinct,
            run_distinct,
            "a signature each",
        )),
    ])
}

async fn distinct(bed: &Bed, depth: Depth, step: &Step) -> Result<()> {
    stream::iter(0..DISTINCT)
        .map(|index| async move { bed.inject(depth, format!("{depth:?} {index}").as_bytes(), 1).await })
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(async |()| {
            step.advance(1);
            Ok(())
        })
        .await
}

/// Things per second.
async fn rate(count: u32, work: impl Future<Output = Result<()>>) -> Result<f64> {
    let started = Instant::now();
    work.await?;
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}
