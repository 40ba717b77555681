//! Having the components of all registered services compiled ahead of their first trigger after a start.
//!
//! Services wait for one another no longer than for a place; what cannot be prepared marks its service as degraded with the
//! reason, and is tried again with a doubling delay.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use wavs_types::ServiceId;

use super::Registry;
use crate::ledger::services::Phase;
use crate::pipeline::backoff::Backoff;

/// Services whose components are prepared at once.
const PARALLEL: usize = 8;

impl Registry {
    /// Prepares the components of all registered services, until all are ready.
    pub async fn warm_up(&self) {
        let places = Semaphore::new(PARALLEL);
        let services = self.directory().services();
        let active = services.values().filter(|entry| entry.row.phase == Phase::Active);
        let warmed: FuturesUnordered<_> = active.map(|entry| self.warm_service(entry.id(), &places)).collect();
        warmed.collect::<()>().await;
    }

    async fn warm_service(&self, service_id: ServiceId, places: &Semaphore) {
        let mut attempt = 0;
        loop {
            let place = places.acquire().await;
            let failed = self.warm_once(service_id).await;
            drop(place);
            if !failed {
                return;
            }
            attempt += 1;
            tokio::time::sleep(Backoff::COMPONENT.after(attempt)).await;
        }
    }

    /// Prepares the components of one service, and answers whether any of them failed and could be tried again.
    async fn warm_once(&self, service_id: ServiceId) -> bool {
        let Some(entry) = self.directory().get(&service_id) else {
            return false;
        };
        let mut prepared = self.each_prepared(entry.service());
        let mut failed = false;
        while let Some((place, result)) = prepared.next().await {
            let in_force = self.directory().get(&service_id);
            if in_force.is_none_or(|now| now.digest() != entry.digest()) {
                // Its document was updated meanwhile, for which everything was prepared.
                return false;
            }
            if let Err(error) = &result {
                failed = true;
                tracing::warn!(%service_id, %error, "a component is not ready; it is tried again");
            }
            entry.components.prepared(&place, result.map_err(|error| error.detail));
        }
        failed
    }
}
