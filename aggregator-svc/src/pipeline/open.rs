//! How many events are open, as a number for dashboards: counted now and then, because keeping it exact would cost every
//! commit something.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::core::Core;
use crate::ledger::events;

/// Time between two counts.
const INTERVAL: Duration = Duration::from_secs(15);

/// Counts until `stop`.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut timer = tokio::time::interval(INTERVAL);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(timer.tick()).await.is_some() {
        match core.ledger.read(events::open).await {
            Ok(open) => core.metrics.quorum_open.set(open),
            Err(cause) => tracing::debug!(%cause, "open events cannot be counted now"),
        }
    }
}
