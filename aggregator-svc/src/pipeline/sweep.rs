//! The hourly housekeeping: ends events whose time ran out unnoticed, and forgets jobs that are over.

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
    let retention = u64::try_from(core.settings.job_retention.as_micros()).unwrap_or(u64::MAX);
    let (before_us, max_stored) = (clock::now_us().saturating_sub(retention), core.settings.max_stored);
    loop {
        let swept = core
            .ledger
            .write(Durability::Process, move |tx| {
                retention::sweep(tx, before_us, max_stored)
            })
            .await?;
        if swept < BATCH as usize {
            return Ok(());
        }
    }
}
