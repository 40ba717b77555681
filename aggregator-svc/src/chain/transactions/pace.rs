//! How often to look whether transactions are in blocks: at once and densely where transactions are mined within milliseconds, gently on chains
//! with block times of seconds.

use std::time::Duration;

/// Shortest pause between two looks.
const SHORTEST: Duration = Duration::from_millis(1);
/// Longest pause between two looks.
const LONGEST: Duration = Duration::from_secs(2);
/// A chain slower than this is not looked at densely in the beginning.
const SLOW: Duration = Duration::from_secs(1);

/// The pauses between looks for one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    waited: Duration,
    first: Duration,
}

impl Pace {
    /// Pause after a fault of the way to the chain.
    pub(super) const FAULT: Duration = Duration::from_secs(1);

    /// For a chain whose transactions lately took `usual` until they were mined; unknown on the first transaction.
    pub(super) fn new(usual: Option<Duration>) -> Self {
        // A slow chain is looked at eight times within the usual time; on others the first looks come every millisecond.
        let first = usual.filter(|usual| *usual >= SLOW).map_or(SHORTEST, |usual| usual / 8);
        Self {
            waited: Duration::ZERO,
            first,
        }
    }

    /// The next pause: half of the time waited so far, within the bounds.
    pub(super) fn next(&mut self) -> Duration {
        let pause = (self.waited / 2).clamp(self.first.min(LONGEST), LONGEST);
        self.waited += pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(mut pace: Pace, within: Duration) -> usize {
        let mut at = Duration::ZERO;
        let mut count = 0;
        while at < within {
            at += pace.next();
            count += 1;
        }
        count
    }

    #[test]
    fn instant_chains_are_noticed_at_once_and_slow_ones_left_in_peace() {
        let mut fast = Pace::new(Some(Duration::from_millis(2)));
        assert_eq!(fast.next() + fast.next(), Duration::from_millis(2));
        assert!(looks(Pace::new(Some(Duration::from_secs(12))), Duration::from_secs(12)) <= 9);
        assert!(looks(Pace::new(None), Duration::from_secs(12)) <= 30);
        assert!(looks(Pace::new(None), Duration::from_secs(60)) <= 60);
    }
}
