//! A counter over time, as far back as the longest window.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples that are kept: five minutes at one every ten seconds, and one to count from. Older ones go.
const KEPT: usize = 31;

/// The last values of one counter.
#[derive(Debug, Default)]
pub(super) struct Series(VecDeque<(Duration, f64)>);

impl Series {
    pub(super) fn push(&mut self, at: Duration, value: f64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((at, value));
    }

    /// How much it grew in the last `window`. A counter that fell began anew at zero, with its process.
    pub(super) fn increase(&self, window: Duration, now: Duration) -> f64 {
        let from = now.saturating_sub(window);
        let inside = self
            .0
            .iter()
            .zip(self.0.iter().skip(1))
            .filter(|(_, (at, _))| *at > from);
        inside
            .map(|((_, before), (_, after))| if after < before { *after } else { after - before })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_counted_within_the_window_and_over_restarts() {
        let mut series = Series::default();
        for (at, value) in [(0, 5.0), (10, 7.0), (20, 1.0), (30, 1.0), (40, 4.0)] {
            series.push(Duration::from_secs(at), value);
        }
        let now = Duration::from_secs(40);
        for (window, growth) in [(60, 6.0), (30, 4.0), (10, 3.0), (0, 0.0)] {
            let grown = series.increase(Duration::from_secs(window), now);
            assert!((grown - growth).abs() < 1e-9, "{window}: {grown}");
        }
    }
}
