//! Token buckets: how much of something one source may do. They only ever cost the source itself.

use std::time::{Duration, Instant};

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens that come back in a second.
    pub per_second: f64,
    /// Most tokens saved up.
    pub burst: f64,
}

/// What is left for one source.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Budget {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            tokens: rate.burst,
            at: now,
        }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// Changes the rate; what was saved up stays, up to the new burst.
    pub fn set_rate(&mut self, rate: Rate, now: Instant) {
        self.refill(now);
        self.rate = rate;
        self.tokens = self.tokens.min(rate.burst);
    }

    /// Whether nothing was taken for so long that a new bucket would be the same.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate.per_second;
        self.tokens + gained >= self.rate.burst
    }

    fn refill(&mut self, now: Instant) {
        let elapsed: Duration = now.saturating_duration_since(self.at);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.rate.per_second).min(self.rate.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let rate = Rate {
            per_second: 2.0,
            burst: 3.0,
        };
        let mut budget = Budget::new(rate, start);
        assert!((0..3).all(|_| budget.take(start)));
        assert!(!budget.take(start));
        assert!(!budget.is_full(start));
        let later = start + Duration::from_secs(1);
        assert!(budget.take(later) && budget.take(later));
        assert!(!budget.take(later));
        assert!(budget.is_full(later + Duration::from_secs(60)));
    }
}
