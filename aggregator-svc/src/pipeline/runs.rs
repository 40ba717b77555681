//! The runs that are under way: how many there may be, of one service and in all, how many there are, and of what kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use wavs_ipc::bounds::MAX_IN_FLIGHT;

/// Runs that wait in engine-svc for a slot, so that none is free for longer than it takes to hand it over. What waits there for
/// longer than a few seconds comes back as not started.
const SPARE: usize = 8;
/// Calls that the connection to engine-svc has room for beside the runs, such as for the loading of components.
const OTHER_CALLS: usize = 16;

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The operator component, for a job.
    Operator,
    /// The aggregator component, for an event.
    Aggregator,
}

/// The room that engine-svc has for runs.
///
/// A service has one run at once as long as there is any room, and shares three quarters of the slots with the others for the rest
/// of its runs. So those whose runs take long leave slots to those that have none under way.
pub struct Slots {
    shared: Semaphore,
    all: Semaphore,
}

/// The runs of one service. Kept over updates of its document.
pub struct Runs {
    permits: Semaphore,
    /// For the run that needs no shared slot.
    first: Semaphore,
    operator: AtomicU64,
    aggregator: AtomicU64,
}

/// Held by a run while it is under way.
pub struct UnderWay<'a> {
    count: &'a AtomicU64,
    _own: Option<SemaphorePermit<'a>>,
    _permits: [SemaphorePermit<'a>; 2],
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    /// Of an engine-svc that has so many.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            shared: Semaphore::new(slots - slots / 4),
            all: Semaphore::new(in_flight(slots)),
        }
    }

    /// Waits until one more run of a service may be under way. Nothing when the process is stopping.
    pub async fn begin<'a>(&'a self, runs: &'a Runs, kind: Kind) -> Option<UnderWay<'a>> {
        // What waits for others of its service takes no room meanwhile.
        let own = runs.permits.acquire().await.ok()?;
        self.take(runs, kind, Some(own)).await
    }

    /// The same for a run that its service may have beside all others, because it is one at a time.
    pub async fn begin_suspect<'a>(&'a self, runs: &'a Runs, kind: Kind) -> Option<UnderWay<'a>> {
        self.take(runs, kind, None).await
    }

    async fn take<'a>(&'a self, runs: &'a Runs, kind: Kind, own: Option<SemaphorePermit<'a>>) -> Option<UnderWay<'a>> {
        let slot = tokio::select! {
            biased;
            first = runs.first.acquire() => first,
            shared = self.shared.acquire() => shared,
        };
        let permits = [slot.ok()?, self.all.acquire().await.ok()?];
        let count = runs.of(kind);
        count.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay {
            count,
            _own: own,
            _permits: permits,
        })
    }
}

/// Runs that are asked of engine-svc at once when it has so many slots.
fn in_flight(slots: usize) -> usize {
    slots.saturating_add(SPARE).min(MAX_IN_FLIGHT - OTHER_CALLS)
}

impl Runs {
    /// Of a service that may have `limit` of them at once.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(limit),
            first: Semaphore::new(1),
            operator: AtomicU64::new(0),
            aggregator: AtomicU64::new(0),
        })
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
        let (slots, runs) = (Slots::new(16), Runs::new(2));
        let one = slots.begin(&runs, Kind::Operator).await;
        let two = slots.begin(&runs, Kind::Aggregator).await;
        assert!(slots.begin(&runs, Kind::Operator).now_or_never().is_none());
        assert_eq!(
            (runs.under_way(Kind::Operator), runs.under_way(Kind::Aggregator)),
            (1, 1)
        );
        drop(two);
        let three = slots.begin(&runs, Kind::Operator).now_or_never();
        assert_eq!(
            (runs.under_way(Kind::Operator), runs.under_way(Kind::Aggregator)),
            (2, 0)
        );
        drop((one, three));
        assert_eq!(runs.under_way(Kind::Operator), 0);
    }

    #[tokio::test]
    async fn services_whose_runs_take_long_leave_slots_to_the_others() {
        let slots = Slots::new(16);
        let services = [8, 8, 8, 8].map(Runs::new);
        let begin = |service: usize| slots.begin(&services[service], Kind::Operator).now_or_never().flatten();
        let all = |service| std::iter::from_fn(|| begin(service)).collect::<Vec<_>>();
        let long = [all(0), all(1)];
        assert_eq!([long[0].len(), long[1].len()], [8, 6]);
        // Each of the others has its turn, one run at a time.
        let brief = begin(2).unwrap();
        assert!(begin(2).is_none());
        assert_eq!(all(3).len(), 1);
        drop(brief);
        assert!(begin(2).is_some());
        drop(long);
        assert_eq!(all(2).len(), 8);
    }
}
