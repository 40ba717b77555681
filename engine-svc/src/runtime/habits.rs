//! How long the runs of a component have taken lately, which tells where its next one begins.
//!
//! A component counts for each service by itself, so that what one service does with it is not held against another. The
//! time is that of the processor: a run that waits, or that others kept waiting, is not long for that.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use wavs_types::{ComponentDigest, ServiceId};

/// The most that a brief run computes. A run is set up, called and cleared away in a tenth of a millisecond.
pub(super) const BRIEF: Duration = Duration::from_micros(250);
/// What one run may count for at most: a single long one is noticed, and forgotten after some dozens.
const MOST: Duration = BRIEF.saturating_mul(16);
/// The part by which a run that is longer than the average raises it, and a shorter one lowers it. A guest gains little by being
/// long now and then, and the odd run that its machine made long is no habit.
const RISE: u32 = 8;
const FALL: u32 = 32;
/// Components of services that are known. Beyond, the one not run for the longest time is forgotten, and taken for brief again.
const KNOWN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How long runs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// Less than [`BRIEF`], as most are.
    Brief,
    Long,
}

/// A component of a service.
type Whose = (ServiceId, ComponentDigest);

/// The habits of all components. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    /// How long their runs compute on average.
    averages: Arc<Mutex<LruCache<Whose, Duration>>>,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            averages: Arc::new(Mutex::new(LruCache::new(KNOWN))),
        }
    }
}

/// The habit of one component of a service.
#[derive(Debug)]
pub(crate) struct HabitOf {
    habits: Habits,
    whose: Whose,
}

impl Habits {
    pub(crate) fn of(&self, service: ServiceId, component: ComponentDigest) -> HabitOf {
        HabitOf {
            habits: self.clone(),
            whose: (service, component),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut LruCache<Whose, Duration>) -> T) -> T {
        look(&mut self.averages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HabitOf {
    /// How long the next run is expected to be.
    pub(super) fn expected(&self) -> Habit {
        let average = self.habits.with(|averages| averages.peek(&self.whose).copied());
        if average.is_some_and(|average| average >= BRIEF) {
            Habit::Long
        } else {
            Habit::Brief
        }
    }

    /// Learns how long a run computed.
    pub(super) fn learn(&self, computed: Duration) {
        let computed = computed.min(MOST);
        self.habits.with(|averages| {
            let average = averages.get_or_insert_mut(self.whose, Duration::default);
            if computed > *average {
                *average += (computed - *average) / RISE;
            } else {
                *average -= (*average - computed) / FALL;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(habits: &Habits, service: u8, component: u8) -> HabitOf {
        habits.of(ServiceId::new([service; 32]), ComponentDigest::new([component; 32]))
    }

    #[test]
    fn one_very_long_run_is_remembered_until_many_were_brief() {
        let habits = Habits::default();
        let of = |service, digest| component(&habits, service, digest).expected();
        let known = component(&habits, 1, 1);
        assert_eq!(known.expected(), Habit::Brief);
        known.learn(Duration::from_secs(300));
        let mut brief = 0;
        while known.expected() == Habit::Long {
            // Neither another service with it nor another component of the service is taken for long.
            assert_eq!((of(2, 1), of(1, 2)), (Habit::Brief, Habit::Brief));
            known.learn(BRIEF / 4);
            brief += 1;
        }
        assert!((16..64).contains(&brief), "{brief}");
    }

    #[test]
    fn a_guest_that_is_long_now_and_then_stays_long() {
        let known = component(&Habits::default(), 1, 1);
        for run in 0..1_000 {
            known.learn(if run % 16 == 0 { MOST } else { Duration::ZERO });
            assert_eq!(known.expected(), Habit::Long, "run {run}");
        }
    }

    #[test]
    fn a_brief_guest_stays_brief_on_a_machine_that_stumbles() {
        let known = component(&Habits::default(), 1, 1);
        for run in 0..1_000 {
            known.learn(if run % 20 == 0 { 3 * BRIEF } else { BRIEF / 3 });
            assert_eq!(known.expected(), Habit::Brief, "run {run}");
        }
    }
}
