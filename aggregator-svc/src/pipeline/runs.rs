//! The runs of one service that are under way: how many there may be, how many there are, and of what kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use wavs_ipc::bounds::MAX_IN_FLIGHT;

/// Runs that wait in engine-svc for a slot, so that none is free for longer than it takes to hand it over. What waits there for
/// longer than a few seconds comes back as not started.
const SPARE: usize = 8;
/// Calls that the connection to engine-svc has room for beside the runs, such as for the loading of components.
const OTHER_CALLS: usize = 16;

/// Runs that are asked of engine-svc at once when it has so many slots.
#[must_use]
pub fn in_flight(slots: usize) -> usize {
    slots.saturating_add(SPARE).min(MAX_IN_FLIGHT - OTHER_CALLS)
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The operator component, for a job.
    Operator,
    /// The aggregator component, for an event.
    Aggregator,
}

/// The runs of one service. Kept over updates of its document.
pub struct Runs {
    permits: Semaphore,
    operator: AtomicU64,
    aggregator: AtomicU64,
}

/// Held by a run while it is under way.
pub struct UnderWay<'a> {
    count: &'a AtomicU64,
    _permit: SemaphorePermit<'a>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Runs {
    /// Of a service that may have `limit` of them at once.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(limit),
            operator: AtomicU64::new(0),
            aggregator: AtomicU64::new(0),
        })
    }

    /// Waits until one more may be under way. Nothing when the process is stopping.
    pub async fn begin(&self, kind: Kind) -> Option<UnderWay<'_>> {
        let permit = self.permits.acquire().await.ok()?;
        let count = self.of(kind);
        count.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay { count, _permit: permit })
    }

    /// How many of a kind are under way.
    #[must_use]
    pub fn under_way(&self, kind: Kind) -> u64 {
        self.of(kind).load(Ordering::Relaxed)
    }

    fn of(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Operator => &self.operator,
            Kind::Aggregator => &self.aggregator,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_few_runs_more_than_slots_are_in_flight_and_the_connection_has_room_for_other_calls() {
        assert_eq!([16, 64, 256, usize::MAX].map(in_flight), [24, 72, 240, 240]);
    }

    #[tokio::test]
    async fn runs_share_a_limit_and_are_counted_by_kind() {
        let runs = Runs::new(2);
        let one = runs.begin(Kind::Operator).await;
        let two = runs.begin(Kind::Aggregator).await;
        assert!(runs.begin(Kind::Operator).now_or_never().is_none());
        assert_eq!(
            (runs.under_way(Kind::Operator), runs.under_way(Kind::Aggregator)),
            (1, 1)
        );
        drop(two);
        let three = runs.begin(Kind::Operator).now_or_never();
        assert_eq!(
            (runs.under_way(Kind::Operator), runs.under_way(Kind::Aggregator)),
            (2, 0)
        );
        drop((one, three));
        assert_eq!(runs.under_way(Kind::Operator), 0);
    }
}
