//! Every random number of a run, by its seed. Emitting and killing draw from streams of their own, so that neither changes
//! the other one's.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Milliseconds between two kills.
const BETWEEN_KILLS: std::ops::RangeInclusive<u64> = 200..=800;
/// One transaction of so many emits several events at once.
const BURST_EVERY: u32 = 8;
/// The most events of one transaction.
const BURST: u64 = 10;

/// A stream of random numbers.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    /// Those of the events.
    pub(super) fn events(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Those of the kills.
    pub(super) fn kills(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(!seed))
    }

    /// Events of the next transaction.
    pub(super) fn burst(&mut self) -> u64 {
        if self.0.random_ratio(1, BURST_EVERY) {
            self.0.random_range(2..=BURST)
        } else {
            1
        }
    }

    /// Time until the next transaction: between nothing and twice the mean.
    pub(super) fn gap(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(self.0.random_range(0.0..2.0))
    }

    /// Time until the next kill.
    pub(super) fn between_kills(&mut self) -> Duration {
        Duration::from_millis(self.0.random_range(BETWEEN_KILLS))
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.random_range(0..all.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_run_again_and_another_seed_another_one() {
        let draw = |mut dice: Dice| (0..50).map(|_| dice.between_kills()).collect::<Vec<_>>();
        assert_eq!(draw(Dice::kills(7)), draw(Dice::kills(7)));
        assert_ne!(draw(Dice::kills(7)), draw(Dice::kills(8)));
        assert_ne!(draw(Dice::kills(7)), draw(Dice::events(7)));
        assert!(
            draw(Dice::kills(7))
                .iter()
                .all(|gap| (200..=800).contains(&gap.as_millis()))
        );
    }

    #[test]
    fn bursts_are_rare_and_bounded() {
        let mut dice = Dice::events(1);
        let bursts: Vec<_> = (0..1_000).map(|_| dice.burst()).collect();
        assert!(bursts.iter().all(|burst| (1..=BURST).contains(burst)));
        let single = bursts.iter().filter(|burst| **burst == 1).count();
        assert!((800..950).contains(&single), "{single}");
    }
}
