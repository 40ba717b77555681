//! Permits to run a guest: one per WASM slot, handed out to the services that wait.
//!
//! The next slot goes to the service that has used the least processor time, so a busy or a looping service delays only
//! itself. Each service has a queue of its own and may use a limited number of slots at a time. Waiting takes no run time. A
//! full queue is an error that the caller reports as busy; nothing is dropped here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use wavs_types::ServiceId;

/// What a run is charged when it starts, and at least. It keeps one service from taking all free slots at once, before any
/// of its runs has used time.
const QUANTUM: Duration = Duration::from_millis(1);

/// How many runs there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotLimits {
    /// Runs at a time; more wait.
    pub(crate) total: usize,
    /// Runs of one service at a time; more wait.
    pub(crate) per_service: usize,
    /// Runs of one service that wait; more are refused as busy.
    pub(crate) queue: usize,
}

/// The slots of the process.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    limits: SlotLimits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    services: HashMap<ServiceId, Service>,
    /// Services with waiting runs, the one with the least used time in front.
    ready: BTreeSet<(Duration, ServiceId)>,
    /// The used time of the service that got the last slot. A service that comes (back) starts here: nobody saves up time by
    /// being away, and nobody is asked to pay for the time before.
    now: Duration,
}

#[derive(Debug)]
struct Service {
    used: Duration,
    running: Arc<AtomicUsize>,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// A slot, free again when this is dropped. It moves into the run.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    service: ServiceId,
    siblings: Arc<AtomicUsize>,
    used: Duration,
}

/// The queue of the service is full.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "service {service} has {queue} runs waiting already, the most that engine.queue_per_service allows; try again later"
)]
pub(crate) struct QueueFull {
    service: ServiceId,
    queue: usize,
}

impl Slots {
    pub(crate) fn new(limits: SlotLimits) -> Self {
        Self {
            limits,
            state: Arc::default(),
        }
    }

    /// A slot for a run of `service`, after those of the service that came before it.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(crate) async fn acquire(&self, service: ServiceId) -> Result<Slot, QueueFull> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            let now = state.now;
            let entry = state.services.entry(service).or_insert_with(|| Service {
                used: now,
                running: Arc::default(),
                waiting: VecDeque::new(),
            });
            // Callers that gave up while waiting do not count.
            entry.waiting.retain(|waiting| !waiting.is_closed());
            if entry.waiting.len() >= self.limits.queue {
                return Err(QueueFull {
                    service,
                    queue: self.limits.queue,
                });
            }
            entry.waiting.push_back(sender);
            let place = (entry.used, service);
            state.ready.insert(place);
        }
        self.dispatch();
        // The sender lives in the state that `self` holds and is used or dropped with it.
        receiver.await.map_err(|_| QueueFull {
            service,
            queue: self.limits.queue,
        })
    }

    /// Runs in progress and runs that wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (
            state.running,
            state.services.values().map(|service| service.waiting.len()).sum(),
        )
    }

    /// The limits.
    pub(crate) fn limits(&self) -> SlotLimits {
        self.limits
    }

    fn dispatch(&self) {
        while let Some(unclaimed) = self.hand_out() {
            // Its receiver went away; dropping it outside of the lock frees the slot again.
            drop(unclaimed);
        }
    }

    /// Hands out all slots that can be; returns one that nobody took.
    fn hand_out(&self) -> Option<Slot> {
        let mut guard = self.lock();
        let state = &mut *guard;
        while state.running < self.limits.total {
            let per_service = self.limits.per_service;
            let next = state.ready.iter().copied().find(|(_, service)| {
                let running = state.services.get(service).map(|entry| &entry.running);
                running.is_some_and(|running| running.load(Ordering::Relaxed) < per_service)
            });
            let place @ (_, service) = next?;
            state.ready.remove(&place);
            let entry = state.services.get_mut(&service)?;
            entry.waiting.retain(|waiting| !waiting.is_closed());
            let Some(sender) = entry.waiting.pop_front() else {
                if entry.running.load(Ordering::Relaxed) == 0 {
                    state.services.remove(&service);
                }
                continue;
            };
            state.now = state.now.max(entry.used);
            entry.used += QUANTUM;
            entry.running.fetch_add(1, Ordering::Relaxed);
            if !entry.waiting.is_empty() {
                state.ready.insert((entry.used, service));
            }
            state.running += 1;
            let slot = Slot {
                slots: self.clone(),
                service,
                siblings: entry.running.clone(),
                used: Duration::ZERO,
            };
            if let Err(unclaimed) = sender.send(slot) {
                return Some(unclaimed);
            }
        }
        None
    }

    fn release(&self, service: ServiceId, used: Duration) {
        {
            let mut guard = self.lock();
            let state = &mut *guard;
            state.running -= 1;
            if let Some(entry) = state.services.get_mut(&service) {
                let waits = state.ready.remove(&(entry.used, service));
                entry.used += used.saturating_sub(QUANTUM);
                if waits {
                    state.ready.insert((entry.used, service));
                }
                let others = entry.running.fetch_sub(1, Ordering::Relaxed) - 1;
                if others == 0 && entry.waiting.is_empty() {
                    // What it used beyond the others is forgotten with it; it comes back at the time of those that stayed.
                    state.services.remove(&service);
                }
            }
        }
        self.dispatch();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Adds time that the run kept a guest thread busy.
    pub(crate) fn charge(&mut self, busy: Duration) {
        self.used += busy;
    }

    /// How many runs of the same service there are at the moment, this one included.
    pub(crate) fn siblings(&self) -> Arc<AtomicUsize> {
        self.siblings.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.release(self.service, self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn slots(total: usize, per_service: usize, queue: usize) -> Slots {
        Slots::new(SlotLimits {
            total,
            per_service,
            queue,
        })
    }

    fn service(n: u8) -> ServiceId {
        ServiceId::new([n; 32])
    }

    #[tokio::test]
    async fn a_busy_service_leaves_slots_to_others_and_takes_turns() {
        let slots = slots(2, 1, 10);
        let first = slots.acquire(service(1)).await.unwrap();
        let mut second = Box::pin(slots.acquire(service(1)));
        assert!(second.as_mut().now_or_never().is_none());
        let other = slots.acquire(service(2)).await.unwrap();
        assert_eq!(slots.load(), (2, 1));
        drop(first);
        let second = second.await.unwrap();
        drop((other, second));
        assert_eq!(slots.load(), (0, 0));
        assert!(slots.lock().services.is_empty());
    }

    #[tokio::test]
    async fn waiting_services_alternate() {
        let slots = slots(1, 1, 10);
        let running = slots.acquire(service(9)).await.unwrap();
        let (order, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for n in [1, 1, 1, 2] {
            let mut waiting = Box::pin({
                let slots = slots.clone();
                async move { slots.acquire(service(n)).await }
            });
            assert!(waiting.as_mut().now_or_never().is_none());
            let order = order.clone();
            tasks.push(tokio::spawn(async move {
                let slot = waiting.await.unwrap();
                order.send(n).unwrap();
                drop(slot);
            }));
        }
        drop(running);
        for task in tasks {
            task.await.unwrap();
        }
        let mut turns = Vec::new();
        while let Ok(n) = seen.try_recv() {
            turns.push(n);
        }
        assert_eq!(turns, [1, 2, 1, 1]);
    }

    #[tokio::test]
    async fn the_next_slot_goes_to_the_service_that_used_the_least_time() {
        let slots = slots(1, 1, 10);
        let mut running = slots.acquire(service(1)).await.unwrap();
        let mut waiting: Vec<_> = [1, 1, 2, 2, 2]
            .into_iter()
            .map(|n| {
                let mut waiting = Box::pin({
                    let slots = slots.clone();
                    async move { slots.acquire(service(n)).await }
                });
                assert!(waiting.as_mut().now_or_never().is_none());
                (n, waiting)
            })
            .collect();
        let mut order = Vec::new();
        // Each run of service 1 takes as long as two of service 2.
        running.charge(Duration::from_millis(20));
        drop(running);
        while !waiting.is_empty() {
            let at = waiting.iter_mut().position(|(_, waiting)| {
                let ready = waiting.as_mut().now_or_never();
                let Some(slot) = ready else { return false };
                let mut slot = slot.unwrap();
                slot.charge(Duration::from_millis(10));
                drop(slot);
                true
            });
            order.push(waiting.remove(at.unwrap()).0);
        }
        assert_eq!(order, [2, 2, 1, 2, 1]);
    }

    #[tokio::test]
    async fn who_was_away_neither_gains_nor_owes() {
        let slots = slots(1, 1, 10);
        let mut hog = slots.acquire(service(1)).await.unwrap();
        let mut again = Box::pin(slots.acquire(service(1)));
        assert!(again.as_mut().now_or_never().is_none());
        hog.charge(Duration::from_secs(60));
        drop(hog);
        let hog = again.await.unwrap();
        // Service 2 was not there during that minute, and does not get one of its own now.
        let mut late = Box::pin(slots.acquire(service(2)));
        assert!(late.as_mut().now_or_never().is_none());
        let started = slots.lock().services[&service(2)].used;
        assert!(started >= Duration::from_secs(60) - QUANTUM, "{started:?}");
        drop(hog);
        drop(late.await.unwrap());
        assert!(slots.lock().services.is_empty() && slots.lock().ready.is_empty());
    }

    #[tokio::test]
    async fn a_full_queue_is_refused_and_callers_that_left_make_room() {
        let slots = slots(1, 1, 1);
        let running = slots.acquire(service(1)).await.unwrap();
        let mut waiting = Box::pin(slots.acquire(service(1)));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(slots.acquire(service(1)).await.is_err());
        drop(waiting);
        let mut waiting = Box::pin(slots.acquire(service(1)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(running);
        drop(waiting.await.unwrap());
        assert_eq!(slots.load(), (0, 0));
    }
}
