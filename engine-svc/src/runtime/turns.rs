//! How long a guest computes before others get their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::UpdateDeadline;

use super::failure::TimeUp;
use super::ticker::EPOCH;

/// A guest that computed for less than this when the epoch ends goes on, so that a short run is not cut in two: its second
/// half would wait for the turns of all others.
const TURN: Duration = EPOCH.saturating_mul(9).checked_div(10).unwrap();

/// The turns of one run.
pub(super) struct Turns {
    /// When the run began.
    pub(super) started: Instant,
    /// Its longest time from then on.
    pub(super) limit: Duration,
    /// Runs of the same service at the moment: they share the turns of one.
    pub(super) siblings: Arc<AtomicUsize>,
    /// The beginning of the current turn, in microseconds after the start. A wait for the host makes it older than it is,
    /// which ends the turn sooner.
    pub(super) since: Arc<AtomicU64>,
}

impl Turns {
    /// Ends the guest when its time is up, and lets others run when its turn is over. Yielding through tokio puts the guest at
    /// the back of the queue; the built-in yield would keep it in front. A guest passes as many turns as its service has
    /// runs, so that services share the threads rather than runs.
    pub(super) fn next_epoch(&self) -> wasmtime::Result<UpdateDeadline> {
        let age = self.started.elapsed();
        if age >= self.limit {
            return Err(TimeUp.into());
        }
        let since = Duration::from_micros(self.since.load(Ordering::Relaxed));
        if age.saturating_sub(since) < TURN {
            return Ok(UpdateDeadline::Continue(1));
        }
        let siblings = self.siblings.load(Ordering::Relaxed).max(1);
        let (started, next) = (self.started, self.since.clone());
        let others_first = async move {
            for _ in 0..siblings {
                tokio::task::yield_now().await;
            }
            let now = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            next.store(now, Ordering::Relaxed);
        };
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(others_first)))
    }
}
