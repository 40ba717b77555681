//! Forgetting what the network of operators left behind: signatures and notices for events that never came.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wavs_store::Durability;

use crate::clock;
use crate::ledger::{operators, parked};
use crate::pipeline::core::Core;

/// Time between two sweeps.
const INTERVAL: Duration = Duration::from_secs(600);

/// Sweeps until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut timer = tokio::time::interval(INTERVAL);
    while stop.run_until_cancelled(timer.tick()).await.is_some() {
        let ttl = u64::try_from(core.settings.collect_ttl.as_millis()).unwrap_or(u64::MAX);
        let before_ms = clock::now_ms().saturating_sub(ttl);
        let swept = core
            .ledger
            .write(Durability::Process, move |tx| {
                operators::sweep(tx, before_ms)?;
                tx.execute("DELETE FROM schedule WHERE target NOT IN (SELECT id FROM targets)", [])?;
                parked::sweep(tx, before_ms)
            })
            .await;
        match swept {
            Ok(0) => {}
            Ok(signatures) => tracing::info!(signatures, "signatures whose envelope never came are dropped"),
            Err(cause) => tracing::warn!(%cause, "the leftovers of the network could not be swept; tried again later"),
        }
    }
}
