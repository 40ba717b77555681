//! The hourly housekeeping: ends events whose time ran out unnoticed, deletes what the ledger need not keep, and gives the
//! room back to the file system.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wavs_store::{Durability, StoreError};

use super::core::Core;
use crate::clock;
use crate::ledger::retention::{self, BATCH};
use crate::ledger::{State, events};

/// Time between two sweeps.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// Events ended in one transaction.
const EXPIRE_BATCH: usize = 1_000;
/// Passes over one table in one sweep; what is left then waits for the next sweep. More than a busy hour needs.
const MAX_PASSES: u32 = 50_000;
/// Pages (of 4 KiB) that are given back in one transaction.
const SHRINK_PAGES: u64 = 1_024;

/// Sweeps at start and every hour until `stop`.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut timer = tokio::time::interval(INTERVAL);
    while stop.run_until_cancelled(timer.tick()).await.is_some() {
        if let Err(cause) = sweep(&core).await {
            tracing::warn!(%cause, "housekeeping of the ledger failed; it is tried again in an hour");
        }
    }
}

async fn sweep(core: &Core) -> Result<(), StoreError> {
    core.ledger
        .write(Durability::Process, |tx| {
            for event_id in events::overdue(tx, clock::now_ms(), EXPIRE_BATCH)? {
                let text = "collect_ttl: its time ran out before anything could be submitted";
                events::set_state(tx, &event_id, State::Expired, Some(text), clock::now_us())?;
            }
            Ok(())
        })
        .await?;
    let policy = core.settings.retention();
    for (table, pass) in retention::passes() {
        let mut forgotten = 0;
        for _ in 0..MAX_PASSES {
            let deleted = core
                .ledger
                .write(Durability::Process, move |tx| pass(tx, &policy, clock::now_ms()))
                .await?;
            forgotten += deleted;
            if deleted < BATCH as usize {
                break;
            }
        }
        if forgotten > 0 {
            tracing::debug!(table, forgotten, "old rows of the ledger were deleted");
        }
    }
    shrink(core).await
}

/// Gives pages that are free now back to the file system.
async fn shrink(core: &Core) -> Result<(), StoreError> {
    for _ in 0..MAX_PASSES {
        let freed = core
            .ledger
            .write(Durability::Process, |tx| wavs_store::shrink(tx, SHRINK_PAGES))
            .await?;
        if freed < SHRINK_PAGES {
            break;
        }
    }
    Ok(())
}
