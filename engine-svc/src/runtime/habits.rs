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
/// Brief runs in a row after which a component is expected to be brief again. Until then it is taken for what it was at its
/// worst, so that a guest gains nothing by being long now and then.
const PROBATION: u32 = 16;
/// Components of services that are known to be long. Beyond, the one not run for the longest time is forgotten: its next run
/// begins among the brief ones, and is known again after it.
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
    /// Those that were long, with the brief runs that are left of their probation.
    long: Arc<Mutex<LruCache<Whose, u32>>>,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            long: Arc::new(Mutex::new(LruCache::new(KNOWN))),
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

    fn with<T>(&self, look: impl FnOnce(&mut LruCache<Whose, u32>) -> T) -> T {
        look(&mut self.long.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HabitOf {
    /// How long the next run is expected to be.
    pub(super) fn expected(&self) -> Habit {
        let was_long = self.habits.with(|long| long.contains(&self.whose));
        if was_long { Habit::Long } else { Habit::Brief }
    }

    /// Learns how long a run computed.
    pub(super) fn learn(&self, computed: Duration) {
        self.habits.with(|long| {
            if computed >= BRIEF {
                long.put(self.whose, PROBATION);
            } else if let Some(left) = long.get_mut(&self.whose) {
                *left -= 1;
                if *left == 0 {
                    long.pop(&self.whose);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_run_is_remembered_until_many_were_brief() {
        let habits = Habits::default();
        let of = |service, component| habits.of(ServiceId::new([service; 32]), ComponentDigest::new([component; 32]));
        let component = of(1, 1);
        assert_eq!(component.expected(), Habit::Brief);
        component.learn(BRIEF);
        for _ in 0..PROBATION {
            assert_eq!(component.expected(), Habit::Long);
            // Neither another service with it nor another component of the service is taken for long.
            assert_eq!((of(2, 1).expected(), of(1, 2).expected()), (Habit::Brief, Habit::Brief));
            component.learn(Duration::ZERO);
        }
        assert_eq!(component.expected(), Habit::Brief);
    }

    #[test]
    fn a_guest_that_is_long_now_and_then_stays_long() {
        let component = Habits::default().of(ServiceId::new([1; 32]), ComponentDigest::new([1; 32]));
        for run in 0..10 * PROBATION {
            component.learn(if run % PROBATION == 0 { BRIEF } else { Duration::ZERO });
            assert_eq!(component.expected(), Habit::Long, "run {run}");
        }
    }
}
