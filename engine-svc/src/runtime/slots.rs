//! Permits to run a guest: one per WASM slot, handed out in turns to the services that wait.
//!
//! Each service has a queue of its own and may use a limited number of slots at a time, so a busy one delays only itself.
//! Waiting takes no run time. A full queue is an error that the caller reports as busy; nothing is dropped here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use wavs_types::ServiceId;

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
    /// Services with waiting runs, the next one in front.
    turns: VecDeque<ServiceId>,
}

#[derive(Debug, Default)]
struct Service {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// A slot, free again when this is dropped. It moves into the run.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    service: ServiceId,
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

    /// A slot for a run of `service`, after those that came before it.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub(crate) async fn acquire(&self, service: ServiceId) -> Result<Slot, QueueFull> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            let entry = state.services.entry(service).or_default();
            // Callers that gave up while waiting do not count.
            entry.waiting.retain(|waiting| !waiting.is_closed());
            if entry.waiting.len() >= self.limits.queue {
                return Err(QueueFull {
                    service,
                    queue: self.limits.queue,
                });
            }
            entry.waiting.push_back(sender);
            if !state.turns.contains(&service) {
                state.turns.push_back(service);
            }
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
        let mut state = self.lock();
        let mut passed = 0;
        while state.running < self.limits.total && passed < state.turns.len() {
            let service = state.turns.pop_front()?;
            let entry = state.services.entry(service).or_default();
            let Some(sender) = next(entry, self.limits.per_service) else {
                if !entry.waiting.is_empty() {
                    state.turns.push_back(service);
                    passed += 1;
                } else if entry.running == 0 {
                    state.services.remove(&service);
                }
                continue;
            };
            entry.running += 1;
            if !entry.waiting.is_empty() {
                state.turns.push_back(service);
            }
            state.running += 1;
            passed = 0;
            if let Err(unclaimed) = sender.send(Slot {
                slots: self.clone(),
                service,
            }) {
                return Some(unclaimed);
            }
        }
        None
    }

    fn release(&self, service: ServiceId) {
        {
            let mut state = self.lock();
            state.running -= 1;
            if let Some(entry) = state.services.get_mut(&service) {
                entry.running -= 1;
                if entry.running == 0 && entry.waiting.is_empty() {
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

/// The next waiting run of a service, if it may run now.
fn next(service: &mut Service, per_service: usize) -> Option<oneshot::Sender<Slot>> {
    service.waiting.retain(|waiting| !waiting.is_closed());
    if service.running >= per_service {
        return None;
    }
    service.waiting.pop_front()
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.release(self.service);
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
