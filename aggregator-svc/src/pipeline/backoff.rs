//! How long to wait before the next attempt. Every delay grows to a cap and is jittered, so that many rows do not come
//! back in one moment.

use std::time::Duration;

/// A doubling delay.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// After a death of engine-svc: soon, because it is restarted in milliseconds.
    pub const DEATH: Self = Self::new(Duration::from_millis(100), Duration::from_secs(5));
    /// After a failure of the machine or the store of engine-svc.
    pub const HOST: Self = Self::new(Duration::from_millis(250), Duration::from_secs(30));
    /// After a fault of an aggregator component.
    pub const GUEST: Self = Self::new(Duration::from_secs(1), Duration::from_secs(10));
    /// After a transient failure of a chain.
    pub const CHAIN: Self = Self::new(Duration::from_secs(1), Duration::from_secs(60));
    /// After a component could not be prepared.
    pub const COMPONENT: Self = Self::new(Duration::from_secs(1), Duration::from_secs(60));
    /// After a failed update of a service.
    pub const UPDATE: Self = Self::new(Duration::from_secs(5), Duration::from_secs(600));

    const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap }
    }

    /// The delay before attempt `attempt + 1`, `attempt` counted from 1; within 20 % of the doubled value.
    #[must_use]
    pub fn after(self, attempt: u32) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1 << attempt.saturating_sub(1).min(20))
            .min(self.cap);
        doubled.mul_f64(rand::random_range(0.8..1.2))
    }
}

/// The delay for something that was not even started, from the age of the row: an eighth of it, so that the attempts of a
/// waiting row grow sparse without being counted; at least 5 ms, at most `cap`.
#[must_use]
pub fn by_age(age: Duration, cap: Duration) -> Duration {
    (age / 8)
        .clamp(Duration::from_millis(5), cap)
        .mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        for (attempt, nominal) in [(1, 1_000), (2, 2_000), (4, 8_000), (10, 60_000), (u32::MAX, 60_000)] {
            let delay = u64::try_from(Backoff::CHAIN.after(attempt).as_millis()).unwrap();
            assert!(
                (nominal * 8 / 10..=nominal * 12 / 10).contains(&delay),
                "{attempt}: {delay}"
            );
        }
        assert!(by_age(Duration::ZERO, Duration::from_secs(1)) >= Duration::from_millis(4));
        assert!(by_age(Duration::from_secs(3_600), Duration::from_secs(1)) <= Duration::from_millis(1_200));
    }
}
