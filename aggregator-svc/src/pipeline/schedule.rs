//! Which work is next: a fair, bounded, in-memory view of durable rows. Pure; time is an argument.
//!
//! Work of different services takes turns, no service runs more than its share at once, and the last quarter of all that may run
//! is for services of which nothing runs. Work may be due later. The rows
//! in the ledger are the truth: what there is no room for is forgotten, and the service counts as *behind* until its owner has
//! read the rows again. A service that has much waiting makes room for one that has little, so that nothing that one of them
//! does (a component that cannot be fetched, a run that takes minutes) keeps the work of another out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;
use wavs_types::ServiceId;

use crate::ledger::due::DueQuery;

/// Of all that may be known, the part that may be delayed work of one service. What is due latest is forgotten beyond it.
const DELAYED_PART: usize = 8;
/// Rows of one service that are asked for at least when it is behind, beside those that are known.
const LEAST_ROWS: usize = 32;

/// How much may run and wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Work that runs at once.
    pub running: usize,
    /// Work of one service that runs at once.
    pub per_service: usize,
    /// Work that is known (waiting or running). Beyond it rows are forgotten, of the service with the most.
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

/// A moment, and a number that tells work of the same moment apart.
type Due = (Instant, u64);

enum Entry {
    Ready,
    Delayed(Due),
    /// Runs; `again` if it was asked for meanwhile.
    Running {
        again: bool,
    },
}

/// What is known of one service.
struct Share<W> {
    ready: VecDeque<W>,
    delayed: BTreeSet<Due>,
    running: usize,
}

impl<W> Default for Share<W> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            delayed: BTreeSet::new(),
            running: 0,
        }
    }
}

impl<W> Share<W> {
    fn known(&self) -> usize {
        self.ready.len() + self.delayed.len() + self.running
    }
}

/// The schedule. `W` names a row.
pub struct Schedule<W> {
    limits: Limits,
    entries: HashMap<W, (ServiceId, Entry)>,
    shares: HashMap<ServiceId, Share<W>>,
    /// Services with ready work, in the order of their turns.
    turns: VecDeque<ServiceId>,
    delayed: BTreeMap<Due, W>,
    running: usize,
    sequence: u64,
    /// Services of which rows were forgotten.
    behind: HashSet<ServiceId>,
    reload: bool,
}

impl<W: Copy + Eq + Hash> Schedule<W> {
    /// An empty schedule, of which all services are behind.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            shares: HashMap::new(),
            turns: VecDeque::new(),
            delayed: BTreeMap::new(),
            running: 0,
            sequence: 0,
            behind: HashSet::new(),
            reload: true,
        }
    }

    /// Makes `work` known; due `at`, or now. Known work becomes due earlier, never later; running work runs once more.
    pub fn push(&mut self, service: ServiceId, work: W, at: Option<Instant>) {
        match self.entries.get_mut(&work) {
            Some((_, Entry::Ready)) => {}
            Some((_, Entry::Running { again })) => *again = true,
            Some((_, Entry::Delayed(due))) => {
                if at.is_none_or(|at| at < due.0) {
                    let due = *due;
                    self.take_delayed(due);
                    self.put(service, work, at);
                }
            }
            None => {
                if self.has_room(service) {
                    self.put(service, work, at);
                } else {
                    self.fall_behind(service);
                }
            }
        }
    }

    /// Whether there is room for one more of a service, if need be at the cost of the service with the most.
    fn has_room(&mut self, service: ServiceId) -> bool {
        if self.entries.len() < self.limits.known {
            return true;
        }
        let waiting = self
            .shares
            .iter()
            .filter(|(_, share)| share.known() > share.running)
            .max_by_key(|(_, share)| share.known())
            .map(|(most, share)| (*most, share.known()));
        let known = self.shares.get(&service).map_or(0, Share::known);
        match waiting {
            // Not for the sake of an equal, which would have to make room in turn.
            Some((most, largest)) if largest > known + 1 => self.forget_one(most),
            _ => false,
        }
    }

    /// Forgets what a service would do last.
    fn forget_one(&mut self, service: ServiceId) -> bool {
        let Some(share) = self.shares.get_mut(&service) else {
            return false;
        };
        if let Some(latest) = share.delayed.last().copied() {
            self.take_delayed(latest);
        } else if let Some(last) = share.ready.pop_back() {
            self.entries.remove(&last);
            if share.ready.is_empty() {
                self.turns.retain(|other| *other != service);
            }
        } else {
            return false;
        }
        self.fall_behind(service);
        true
    }

    fn fall_behind(&mut self, service: ServiceId) {
        self.behind.insert(service);
    }

    /// Takes delayed work out again.
    fn take_delayed(&mut self, due: Due) -> Option<(ServiceId, W)> {
        let work = self.delayed.remove(&due)?;
        let (service, _) = self.entries.remove(&work)?;
        self.shares.entry(service).or_default().delayed.remove(&due);
        Some((service, work))
    }

    fn put(&mut self, service: ServiceId, work: W, at: Option<Instant>) {
        let share = self.shares.entry(service).or_default();
        let entry = match at {
            Some(at) => {
                self.sequence += 1;
                let due = (at, self.sequence);
                share.delayed.insert(due);
                self.delayed.insert(due, work);
                Entry::Delayed(due)
            }
            None => {
                if share.ready.is_empty() {
                    self.turns.push_back(service);
                }
                share.ready.push_back(work);
                Entry::Ready
            }
        };
        let too_late = share.delayed.len() > self.limits.delayed();
        let latest = share.delayed.last().copied().filter(|_| too_late);
        self.entries.insert(work, (service, entry));
        if let Some(latest) = latest {
            self.take_delayed(latest);
            self.fall_behind(service);
        }
    }

    /// The next work to start at `now`, if there is any and room for it.
    pub fn pop(&mut self, now: Instant) -> Option<(ServiceId, W)> {
        self.wake(now);
        if self.running >= self.limits.running {
            return None;
        }
        for _ in 0..self.turns.len() {
            let service = self.turns.pop_front()?;
            let Some(share) = self.shares.get_mut(&service) else {
                continue;
            };
            let room = match share.running {
                0 => self.limits.running,
                _ => self.limits.shared(),
            };
            if share.running >= self.limits.per_service || self.running >= room {
                self.turns.push_back(service);
                continue;
            }
            let Some(work) = share.ready.pop_front() else {
                continue;
            };
            if !share.ready.is_empty() {
                self.turns.push_back(service);
            }
            share.running += 1;
            self.running += 1;
            self.entries.insert(work, (service, Entry::Running { again: false }));
            return Some((service, work));
        }
        None
    }

    fn wake(&mut self, now: Instant) {
        while let Some(due) = self.next().filter(|due| due.0 <= now) {
            if let Some((service, work)) = self.take_delayed(due) {
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
        if let Some(share) = self.shares.get_mut(&service) {
            share.running -= 1;
        }
        match next {
            _ if again => self.put(service, work, None),
            Next::After(delay) => self.put(service, work, Some(now + delay)),
            Next::Done => {}
        }
        if self.shares.get(&service).is_some_and(|share| share.known() == 0) {
            self.shares.remove(&service);
        }
    }

    /// When the next delayed work is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.next().map(|due| due.0)
    }

    fn next(&self) -> Option<Due> {
        self.delayed.first_key_value().map(|(due, _)| *due)
    }

    /// How much is known: waiting, delayed and running.
    pub fn known(&self) -> usize {
        self.entries.len()
    }

    /// Asks for the rows of all services to be read again.
    pub fn reload(&mut self) {
        self.reload = true;
    }

    /// The rows that are to be read now: of services that are behind and have room again. They count as read.
    pub fn take_wanted(&mut self) -> Option<DueQuery> {
        if self.reload {
            self.reload = false;
            self.behind.clear();
            let most = self.shares.values().map(Share::known).max();
            return Some(DueQuery {
                services: None,
                except: Vec::new(),
                each: most.unwrap_or(0) + (self.limits.known / 4).max(LEAST_ROWS),
            });
        }
        let half_empty = self.known() <= self.limits.known / 2;
        let largest = self.shares.values().map(Share::known).max().unwrap_or(0);
        let is_ready = |service: &&ServiceId| {
            let (known, delayed) = self
                .shares
                .get(service)
                .map_or((0, 0), |share| (share.known(), share.delayed.len()));
            // Otherwise the same rows would be read, run and delayed over and over.
            let calm = delayed <= self.limits.delayed() / 2;
            calm && (half_empty || known <= (self.limits.known / 16).min(largest / 2))
        };
        let services: Vec<ServiceId> = self.behind.iter().filter(is_ready).copied().collect();
        let known = services.iter().filter_map(|service| self.shares.get(service));
        let most = known.map(Share::known).max().unwrap_or(0);
        // Known rows come first, so there must be more of them than that.
        let room = self.limits.known.saturating_sub(self.known()) / services.len().max(1);
        for service in &services {
            self.behind.remove(service);
        }
        (!services.is_empty()).then(|| DueQuery {
            services: Some(services),
            except: Vec::new(),
            each: most + room.max(LEAST_ROWS),
        })
    }

    /// Of this service more rows are due than were read.
    pub fn has_more(&mut self, service: ServiceId) {
        self.fall_behind(service);
    }
}

impl Limits {
    /// Work that runs at once of services of which some runs already.
    fn shared(&self) -> usize {
        self.running - self.running / 4
    }

    /// Delayed work of one service.
    fn delayed(&self) -> usize {
        (self.known / DELAYED_PART).max(1)
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
    fn the_last_quarter_is_for_services_of_which_nothing_runs() {
        let now = Instant::now();
        let mut schedule = Schedule::new(LIMITS);
        for work in 0..6 {
            schedule.push(service(work % 2), work, None);
        }
        assert_eq!(started(&mut schedule, now), [0, 1, 2]);
        schedule.push(service(2), 10, None);
        assert_eq!(started(&mut schedule, now), [10]);
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

    /// What is popped at once.
    fn started(schedule: &mut Schedule<u8>, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| schedule.pop(now)).map(|(_, work)| work).collect()
    }

    #[test]
    fn a_full_schedule_forgets_rows_and_asks_for_them_when_there_is_room() {
        let now = Instant::now();
        let mut schedule = Schedule::new(LIMITS);
        let all = schedule.take_wanted().expect("the rows are read at start");
        assert_eq!(all.services, None);
        for work in 0..9 {
            schedule.push(service(1), work, None);
        }
        assert_eq!(schedule.known(), 8);
        assert_eq!(schedule.take_wanted(), None);
        for _ in 0..4 {
            let (_, work) = schedule.pop(now).unwrap();
            schedule.finish(work, Next::Done, now);
        }
        let wanted = schedule.take_wanted().unwrap();
        assert_eq!(wanted.services, Some(vec![service(1)]));
        assert!(wanted.each > 4 + 4, "the four known rows come first: {wanted:?}");
        assert_eq!(schedule.take_wanted(), None);
        schedule.has_more(service(1));
        assert!(schedule.take_wanted().is_some());
    }

    #[test]
    fn the_service_with_the_most_makes_room() {
        let now = Instant::now();
        let mut schedule = Schedule::new(LIMITS);
        schedule.take_wanted();
        for work in 0..8 {
            schedule.push(service(1), work, None);
        }
        for work in 10..14 {
            schedule.push(service(2), work, None);
        }
        assert_eq!(schedule.known(), 8);
        // The first come first; what came last was forgotten.
        assert_eq!(started(&mut schedule, now), [0, 10, 1]);
        for work in [0, 10, 1] {
            schedule.finish(work, Next::Done, now);
        }
        assert_eq!(started(&mut schedule, now), [11, 2, 12]);
        schedule.finish(11, Next::Done, now);
        assert_eq!(schedule.take_wanted().unwrap().services, Some(vec![service(1)]));
    }

    #[test]
    fn delayed_work_of_one_service_takes_a_part_only_and_what_is_due_latest_is_forgotten() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut schedule = Schedule::new(Limits { known: 16, ..LIMITS });
        schedule.take_wanted();
        for (work, seconds) in [(1, 10), (2, 30), (3, 20)] {
            schedule.push(service(1), work, Some(at(seconds)));
        }
        assert_eq!(schedule.known(), 2);
        assert_eq!(schedule.take_wanted(), None, "its delayed work would come back");
        assert_eq!(started(&mut schedule, at(30)), [1, 3]);
        assert_eq!(schedule.take_wanted().unwrap().services, Some(vec![service(1)]));
    }

    /// Rows as in a ledger, of three services; a row is there until its run is done.
    #[derive(Default)]
    struct Model {
        rows: std::collections::BTreeSet<u8>,
        running: HashSet<u8>,
        clock: u64,
    }

    impl Model {
        fn pop(&mut self, schedule: &mut Schedule<u8>, now: Instant) -> Result<bool, TestCaseError> {
            let Some((_, work)) = schedule.pop(now) else {
                return Ok(false);
            };
            prop_assert!(self.running.insert(work), "{work} runs twice");
            prop_assert!(self.running.len() <= LIMITS.running);
            let first = !self.running.iter().any(|other| *other != work && other % 3 == work % 3);
            prop_assert!(first || self.running.len() <= LIMITS.shared());
            for share in 0..3 {
                let of_one = self.running.iter().filter(|work| **work % 3 == share).count();
                prop_assert!(of_one <= LIMITS.per_service);
            }
            Ok(true)
        }

        fn refill(&self, schedule: &mut Schedule<u8>) {
            let Some(wanted) = schedule.take_wanted() else { return };
            for share in 0..3 {
                let id = service(share);
                if wanted.services.as_ref().is_some_and(|services| !services.contains(&id)) {
                    continue;
                }
                let rows: Vec<u8> = self.rows.iter().copied().filter(|work| work % 3 == share).collect();
                for work in rows.iter().take(wanted.each) {
                    schedule.push(id, *work, None);
                }
                if rows.len() >= wanted.each {
                    schedule.has_more(id);
                }
            }
        }

        fn finish(&mut self, schedule: &mut Schedule<u8>, work: u8, next: Next, now: Instant) {
            if self.running.remove(&work) {
                if next == Next::Done {
                    self.rows.remove(&work);
                }
                schedule.finish(work, next, now);
            }
        }
    }

    proptest! {
        #[test]
        fn limits_hold_and_nothing_runs_twice_or_is_lost(steps in prop::collection::vec((0_u8..5, 0_u8..60), 0..300)) {
            let start = Instant::now();
            let mut schedule = Schedule::new(LIMITS);
            let mut model = Model::default();
            for (step, work) in steps {
                let now = start + Duration::from_secs(model.clock);
                match step {
                    0 => {
                        model.rows.insert(work);
                        schedule.push(service(work % 3), work, None);
                    }
                    1 => {
                        model.pop(&mut schedule, now)?;
                    }
                    2 => model.finish(&mut schedule, work, Next::Done, now),
                    3 => model.finish(&mut schedule, work, Next::After(Duration::from_secs(3)), now),
                    _ => {
                        model.clock += 1;
                        model.refill(&mut schedule);
                    }
                }
                prop_assert!(schedule.known() <= LIMITS.known);
            }
            // Everything is done in the end.
            for _ in 0..1_000 {
                model.clock += 3;
                let now = start + Duration::from_secs(model.clock);
                for work in model.running.clone() {
                    model.finish(&mut schedule, work, Next::Done, now);
                }
                model.refill(&mut schedule);
                while model.pop(&mut schedule, now)? {}
            }
            prop_assert!(model.rows.is_empty(), "lost {:?}", model.rows);
            prop_assert_eq!(schedule.known(), 0);
        }
    }
}
