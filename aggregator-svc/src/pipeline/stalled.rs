//! How long the oldest target has waited for signatures: what the alert about a stalled quorum is judged by.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::core::Core;
use crate::clock;
use crate::ledger::targets;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(15);

/// Keeps the gauge up to date until `stop`.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        let Ok(since_us) = core.ledger.read(targets::collecting_since).await else {
            // The guardian of the ledger says so, and louder.
            continue;
        };
        let waited = since_us.map_or(0, |since_us| clock::now_us().saturating_sub(since_us));
        let seconds = i64::try_from(waited / 1_000_000).unwrap_or(i64::MAX);
        core.metrics.oldest_quorum_seconds.set(seconds);
    }
}
