//! Schedules: one task that sleeps until the next slot of any route.
//!
//! What fires carries its slot, never the local time, so operators agree although their clocks differ. The position of
//! each route is committed together with what it fired: after a restart or a step of the clock no slot comes twice, and
//! the misfire policy decides about those that were missed. Waiting for room in a full spool counts as an absence.

mod board;
mod misfire;
mod slots;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::error;

use crate::clock::WallClock;
use crate::metrics::Metrics;
use crate::spool::{Spool, SpoolError};
use crate::watch::Route;
use board::{Board, Release};
pub(crate) use misfire::Misfire;

/// Pause after the spool failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long released slots are remembered, in seconds.
const REMEMBERED_SECS: u64 = 48 * 60 * 60;
/// The name under which the spool groups the slots; no chain key is without a colon.
const SOURCE: &str = "cron";

/// Watches the clock.
pub(super) struct CronSource {
    /// The routes with a schedule, in firing order.
    pub routes: watch::Receiver<Vec<Route>>,
    /// Where what fired goes.
    pub spool: Spool,
    /// The time of day.
    pub clock: WallClock,
    /// What becomes of missed slots.
    pub misfire: Misfire,
    /// Counters.
    pub metrics: Metrics,
    /// What is known about the source.
    pub state: SharedBoard,
}

/// What the stream listing shows of the schedules. Clones share it.
#[derive(Clone, Default)]
pub(super) struct SharedBoard(Arc<Mutex<Option<Value>>>);

impl SharedBoard {
    /// The entry of `GET /dev/trigger-streams`.
    pub(super) fn to_json(&self) -> Value {
        let routes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({ "routes": routes.unwrap_or_else(|| json!([])) })
    }

    fn show(&self, board: &Board) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(board.to_json());
    }
}

impl CronSource {
    /// Fires slots until the routes are no longer stated.
    pub(super) async fn run(mut self) {
        while let Err(error) = self.serve().await {
            error!(%error, "the schedules stand still until the spool works again");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn serve(&mut self) -> Result<(), SpoolError> {
        let mut board = self.load().await?;
        loop {
            if let Some(release) = board.release(self.clock.now_ns(), self.misfire, &self.metrics) {
                self.record(release).await?;
                self.state.show(&board);
            }
            let next = board.next();
            tokio::select! {
                // A change first: it may take away the route that is due.
                biased;
                changed = self.routes.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    board = self.load().await?;
                }
                () = self.clock.wait_until(next) => {}
            }
        }
    }

    async fn load(&mut self) -> Result<Board, SpoolError> {
        let routes = self.routes.borrow_and_update().clone();
        let marks = self.spool.marks(&routes).await?;
        let board = Board::new(&routes, &marks, self.clock.now_ns());
        self.state.show(&board);
        Ok(board)
    }

    async fn record(&self, release: Release) -> Result<(), SpoolError> {
        let prune_below = seconds(self.clock.now_ns()).checked_sub(REMEMBERED_SECS);
        let Release { occurrences, advances } = release;
        self.spool
            .record_clock(SOURCE, occurrences, advances, prune_below)
            .await
    }
}

/// Whole seconds of a slot.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000_000_000
}

#[cfg(test)]
mod tests;
