//! Having the components of all registered services compiled ahead of their first trigger after a start.
//!
//! Services wait for one another no longer than for a place; what cannot be prepared marks its service as degraded with the
//! reason, and is tried again with a doubling delay.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use wavs_ipc::{ErrorCode, Retry};
use wavs_types::ServiceId;

use super::{Registry, prepare};
use crate::ledger::services::Phase;
use crate::pipeline::backoff::Backoff;

/// Services whose components are prepared at once.
const PARALLEL: usize = 8;
/// Rounds in which engine-svc may die until nothing is prepared for the service any more.
const MAX_DEADLY: u32 = 3;

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
        let (mut attempt, mut deadly) = (0, 0);
        loop {
            let place = places.acquire().await;
            let warmed = self.warm_once(service_id).await;
            drop(place);
            match warmed {
                Warmed::Ready => return,
                Warmed::Failed => {}
                Warmed::Deadly if deadly + 1 >= MAX_DEADLY => {
                    tracing::error!(%service_id, "engine-svc died again and again while components of this service were prepared; they are not prepared ahead of their runs");
                    return;
                }
                Warmed::Deadly => deadly += 1,
            }
            attempt += 1;
            tokio::time::sleep(Backoff::COMPONENT.after(attempt)).await;
        }
    }

    /// Prepares the components of one service.
    async fn warm_once(&self, service_id: ServiceId) -> Warmed {
        let Some(entry) = self.directory().get(&service_id) else {
            return Warmed::Ready;
        };
        let mut prepared = self.each_prepared(entry.service());
        let mut warmed = Warmed::Ready;
        while let Some((place, result)) = prepared.next().await {
            let in_force = self.directory().get(&service_id);
            if in_force.is_none_or(|now| now.digest() != entry.digest()) {
                // Its document was updated meanwhile, for which everything was prepared.
                return Warmed::Ready;
            }
            let Err(error) = &result else {
                entry.components.prepared(&place, Ok(()));
                continue;
            };
            let is_death = error.retry == Retry::Ambiguous && error.code == ErrorCode::Transport;
            warmed = warmed.max(if is_death { Warmed::Deadly } else { Warmed::Failed });
            // That engine-svc is busy, or dies while it prepares several, says nothing about the component.
            if !prepare::is_transient(error) {
                let is_news = entry.components.prepared(&place, Err(error.detail.clone()));
                if is_news {
                    tracing::warn!(%service_id, place, %error, "a component is not ready");
                }
            }
        }
        warmed
    }
}

/// What came of preparing, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Warmed {
    Ready,
    Failed,
    /// engine-svc died meanwhile.
    Deadly,
}
