//! Which work is next: a fair, bounded, in-memory view of durable rows. Pure; time is an argument.
//!
//! Work of different services takes turns, no service runs more than its share at once, and work may be due later. The rows
//! in the ledger are the truth: when the schedule is full it *spills*, that is, it forgets what comes and says so, and its
//! owner reads the rows again when there is room.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;
use wavs_types::ServiceId;

/// How much may run and wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Work that runs at once.
    pub running: usize,
    /// Work of one service that runs at once.
    pub per_service: usize,
    /// Work that is known (waiting or running). Beyond it the schedule spills.
    pub known: usize,
}

/// What became of a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing more to do, or something else will bring it back.
    Done,
    /// To be run again after a while.
    After(Duration),
}

enum Entry {
    Ready,
    Delayed(Instant, u64),
    /// Runs; `again` if it was asked for meanwhile.
    Running {
        again: bool,
    },
}

/// The schedule. `W` names a row.
pub struct Schedule<W> {
    limits: Limits,
    entries: HashMap<W, (ServiceId, Entry)>,
    ready: HashMap<ServiceId, VecDeque<W>>,
    /// Services with ready work, in the order of their turns.
    turns: VecDeque<ServiceId>,
    delayed: BTreeMap<(Instant, u64), W>,
    running: usize,
    running_by_service: HashMap<ServiceId, usize>,
    sequence: u64,
    spilled: bool,
}

impl<W: Copy + Eq + Hash> Schedule<W> {
    /// An empty schedule that counts as spilled, so that its owner reads the rows at start.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            ready: HashMap::new(),
            turns: VecDeque::new(),
            delayed: BTreeMap::new(),
            running: 0,
            running_by_service: HashMap::new(),
            sequence: 0,
            spilled: true,
        }
    }

    /// Makes `work` known; due `at`, or now. Known work becomes due earlier, never later; running work runs once more.
    pub fn push(&mut self, service: ServiceId, work: W, at: Option<Instant>) {
        let full = self.entries.len() >= self.limits.known;
        match self.entries.get_mut(&work) {
            Some((_, Entry::Ready)) => {}
            Some((_, Entry::Running { again })) => *again = true,
            Some((_, Entry::Delayed(due, sequence))) => {
                if at.is_none_or(|at| at < *due) {
                    let key = (*due, *sequence);
                    self.delayed.remove(&key);
                    self.put(service, work, at);
                }
            }
            None if full => self.spilled = true,
            None => self.put(service, work, at),
        }
    }

    fn put(&mut self, service: ServiceId, work: W, at: Option<Instant>) {
        let entry = match at {
            Some(at) => {
                self.sequence += 1;
                self.delayed.insert((at, self.sequence), work);
                Entry::Delayed(at, self.sequence)
            }
            None => {
                let queue = self.ready.entry(service).or_default();
                if queue.is_empty() {
                    self.turns.push_back(service);
                }
                queue.push_back(work);
                Entry::Ready
            }
        };
        self.entries.insert(work, (service, entry));
    }

    /// The next work to start at `now`, if there is any and room for it.
    pub fn pop(&mut self, now: Instant) -> Option<(ServiceId, W)> {
        self.wake(now);
        if self.running >= self.limits.running {
            return None;
        }
        for _ in 0..self.turns.len() {
            let service = self.turns.pop_front()?;
            let busy = self.running_by_service.get(&service).copied().unwrap_or(0);
            if busy >= self.limits.per_service {
                self.turns.push_back(service);
                continue;
            }
            let Some(queue) = self.ready.get_mut(&service) else {
                continue;
            };
            let work = queue.pop_front();
            if queue.is_empty() {
                self.ready.remove(&service);
            } else {
                self.turns.push_back(service);
            }
            let Some(work) = work else { continue };
            self.entries.insert(work, (service, Entry::Running { again: false }));
            self.running += 1;
            *self.running_by_service.entry(service).or_default() += 1;
            return Some((service, work));
        }
        None
    }

    fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let work = entry.remove();
            if let Some((service, _)) = self.entries.remove(&work) {
                self.put(service, work, None);
            }
        }
    }

    /// Running work has ended.
    pub fn finish(&mut self, work: W, next: Next, now: Instant) {
        let Some((service, Entry::Running { again })) = self.entries.remove(&work) else {
            return;
        };
        self.running -= 1;
        if let Some(busy) = self.running_by_service.get_mut(&service) {
            *busy -= 1;
            if *busy == 0 {
                self.running_by_service.remove(&service);
            }
        }
        match next {
            _ if again => self.put(service, work, None),
            Next::After(delay) => self.put(service, work, Some(now + delay)),
            Next::Done => {}
        }
    }

    /// When the next delayed work is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((at, _), _)| *at)
    }

    /// How much is known: waiting, delayed and running.
    pub fn known(&self) -> usize {
        self.entries.len()
    }

    /// Asks for the rows to be read again.
    pub fn spill(&mut self) {
        self.spilled = true;
    }

    /// Whether rows are to be read now: some were forgotten, and there is room again. Asking resets it.
    pub fn take_spilled(&mut self) -> bool {
        let refill = self.spilled && self.entries.len() <= self.limits.known / 2;
        if refill {
            self.spilled = false;
        }
        refill
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const LIMITS: Limits = Limits {
        running: 4,
        per_service: 2,
        known: 8,
    };

    fn service(byte: u8) -> ServiceId {
        ServiceId::new([byte; 32])
    }

    #[test]
    fn services_take_turns_and_none_takes_more_than_its_share() {
        let now = Instant::now();
        let mut schedule = Schedule::new(LIMITS);
        for work in 0..5 {
            schedule.push(service(1), work, None);
        }
        schedule.push(service(2), 10, None);
        let started: Vec<_> = std::iter::from_fn(|| schedule.pop(now)).map(|(_, work)| work).collect();
        assert_eq!(started, [0, 10, 1]);
        schedule.finish(0, Next::Done, now);
        assert_eq!(schedule.pop(now), Some((service(1), 2)));
        assert_eq!(schedule.pop(now), None);
    }

    #[test]
    fn delayed_work_waits_and_may_be_hurried() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let mut schedule = Schedule::new(LIMITS);
        schedule.push(service(1), 1, Some(later));
        schedule.push(service(1), 2, Some(later));
        assert_eq!(schedule.pop(now), None);
        assert_eq!(schedule.next_due(), Some(later));
        schedule.push(service(1), 2, None);
        assert_eq!(schedule.pop(now), Some((service(1), 2)));
        assert_eq!(schedule.pop(later), Some((service(1), 1)));
    }

    #[test]
    fn work_that_is_wanted_while_it_runs_runs_once_more() {
        let now = Instant::now();
        let mut schedule = Schedule::new(LIMITS);
        schedule.push(service(1), 1, None);
        schedule.pop(now);
        schedule.push(service(1), 1, None);
        schedule.finish(1, Next::After(Duration::from_secs(60)), now);
        assert_eq!(schedule.pop(now), Some((service(1), 1)));
        schedule.finish(1, Next::Done, now);
        assert_eq!(schedule.known(), 0);
    }

    #[test]
    fn a_full_schedule_spills_and_asks_when_there_is_room() {
        let now = Instant::now();
        let mut schedule = Schedule::new(LIMITS);
        assert!(schedule.take_spilled(), "the rows are read at start");
        for work in 0..9 {
            schedule.push(service(1), work, None);
        }
        assert_eq!(schedule.known(), 8);
        assert!(!schedule.take_spilled());
        for _ in 0..4 {
            let (_, work) = schedule.pop(now).unwrap();
            schedule.finish(work, Next::Done, now);
        }
        assert!(schedule.take_spilled());
        assert!(!schedule.take_spilled());
    }

    proptest! {
        #[test]
        fn limits_hold_and_nothing_runs_twice_or_is_lost(steps in prop::collection::vec((0_u8..3, 0_u8..12), 0..200)) {
            let now = Instant::now();
            let mut schedule = Schedule::new(LIMITS);
            let mut running: HashSet<u8> = HashSet::new();
            let mut wanted: HashSet<u8> = HashSet::new();
            for (step, work) in steps {
                match step {
                    0 => {
                        if schedule.known() < LIMITS.known || running.contains(&work) || wanted.contains(&work) {
                            wanted.insert(work);
                        }
                        schedule.push(service(work % 3), work, None);
                    }
                    1 => if let Some((_, work)) = schedule.pop(now) {
                        prop_assert!(running.insert(work), "{work} runs twice");
                        prop_assert!(wanted.remove(&work));
                        prop_assert!(running.len() <= LIMITS.running);
                        for share in 0..3 {
                            prop_assert!(running.iter().filter(|work| **work % 3 == share).count() <= LIMITS.per_service);
                        }
                    },
                    _ => if running.remove(&work) {
                        schedule.finish(work, Next::Done, now);
                    }
                }
                prop_assert!(schedule.known() <= LIMITS.known);
            }
            // Everything that was wanted comes out in the end.
            while let Some(work) = running.iter().next().copied() {
                running.remove(&work);
                schedule.finish(work, Next::Done, now);
                while let Some((_, work)) = schedule.pop(now) {
                    wanted.remove(&work);
                    running.insert(work);
                }
            }
            while let Some((_, work)) = schedule.pop(now) {
                wanted.remove(&work);
                schedule.finish(work, Next::Done, now);
            }
            prop_assert!(wanted.is_empty(), "lost {wanted:?}");
        }
    }
}
