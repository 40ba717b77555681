//! The numbers of supervision, as checked types.
//!
//! What happens at each bound: a delay never exceeds its maximum; too many restarts in the window make a child
//! `failing`, which only means that every further delay is the maximum; a deadline that passes ends in a kill.

use std::time::Duration;

/// Delays between restarts: doubling from `first` to `most`, each drawn from its upper half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

/// Why a [`Backoff`] cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// A delay of zero would restart in a busy loop.
    #[error("the first restart delay is zero; give at least one millisecond")]
    Zero,
    /// The bounds are the wrong way round.
    #[error("the first restart delay {first:?} is above the longest one {most:?}; swap them")]
    Reversed {
        /// The smaller bound as given.
        first: Duration,
        /// The larger bound as given.
        most: Duration,
    },
}

impl Backoff {
    /// A policy that starts at `first` and never waits longer than `most`.
    ///
    /// # Errors
    /// When `first` is below a millisecond or above `most`.
    pub fn try_new(first: Duration, most: Duration) -> Result<Self, BackoffError> {
        if first < Duration::from_millis(1) {
            return Err(BackoffError::Zero);
        }
        if first > most {
            return Err(BackoffError::Reversed { first, most });
        }
        Ok(Self { first, most })
    }

    /// The same with another longest delay, but never below the first one.
    #[must_use]
    pub fn up_to(self, most: Duration) -> Self {
        Self {
            most: most.max(self.first),
            ..self
        }
    }

    /// The delay before restart number `attempt` (0 is the first one). `jitter` is a fraction of 0..=1; the result lies
    /// between half of the nominal delay and all of it, so that children that died together do not return together.
    #[must_use]
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.checked_pow(attempt.min(31)).unwrap_or(u32::MAX);
        let nominal = self.first.saturating_mul(doubled).min(self.most);
        Self::jittered(nominal, jitter)
    }

    /// The delay of a child that fails again and again.
    #[must_use]
    pub fn longest(&self, jitter: f64) -> Duration {
        Self::jittered(self.most, jitter)
    }

    fn jittered(nominal: Duration, jitter: f64) -> Duration {
        nominal.div_f64(2.0) + nominal.div_f64(2.0).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// Everything that the state machine of a child needs to know about time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Delays between restarts.
    pub backoff: Backoff,
    /// More restarts than this inside `restart_window` make the child `failing`.
    pub restart_max: u32,
    /// The window in which restarts are counted.
    pub restart_window: Duration,
    /// So long READY, and earlier failures are forgotten.
    pub stable_after: Duration,
    /// From the spawn to READY; later is a failed start.
    pub start_timeout: Duration,
    /// Longest silence of a READY child; later it hangs.
    pub watchdog: Duration,
    /// From SIGABRT to SIGKILL for a child that hangs: time to write a backtrace.
    pub abort_grace: Duration,
    /// From SIGTERM to SIGKILL for a child that drains; longer than the grace that its own servers give to running calls.
    pub drain_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            backoff: Backoff {
                first: Duration::from_millis(250),
                most: Duration::from_secs(30),
            },
            restart_max: 5,
            restart_window: Duration::from_secs(60),
            stable_after: Duration::from_secs(60),
            start_timeout: Duration::from_secs(30),
            watchdog: Duration::from_secs(20),
            abort_grace: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrong_bounds_are_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(Backoff::try_new(Duration::ZERO, second), Err(BackoffError::Zero));
        assert!(matches!(
            Backoff::try_new(second, second / 2),
            Err(BackoffError::Reversed { .. })
        ));
    }

    #[test]
    fn the_longest_delay_can_be_set_but_not_below_the_first() {
        let backoff = Policy::default().backoff;
        assert_eq!(
            backoff.up_to(Duration::from_secs(2)).delay(9, 1.0),
            Duration::from_secs(2)
        );
        assert_eq!(backoff.up_to(Duration::ZERO).longest(1.0), backoff.delay(0, 1.0));
    }

    #[test]
    fn the_first_restart_is_immediate_enough_to_be_back_in_a_second() {
        assert!(Policy::default().backoff.delay(0, 1.0) <= Duration::from_millis(250));
    }

    proptest! {
        #[test]
        fn a_delay_grows_and_stays_in_its_bounds(attempt in 0_u32..200, jitter in 0.0_f64..=1.0) {
            let backoff = Policy::default().backoff;
            let delay = backoff.delay(attempt, jitter);
            prop_assert!(delay >= Duration::from_millis(125));
            prop_assert!(delay <= Duration::from_secs(30));
            prop_assert!(backoff.delay(attempt + 1, jitter) >= delay);
        }
    }
}
