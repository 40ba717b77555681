//! What all guests share of something that the process has little of.
//!
//! Half of it belongs to the runs in equal shares, so that no service can leave another without; the other half is for whoever
//! comes first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What there is for all guests.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Of each run.
    share: usize,
    /// What is beyond the shares and nobody has.
    left: AtomicUsize,
    most: usize,
}

/// What one run has.
#[derive(Debug)]
pub(super) struct Holding {
    all: Arc<Shares>,
    /// Beyond the share of the run.
    borrowed: usize,
}

impl Shares {
    /// So much for so many runs at a time.
    pub(super) fn new(guests: usize, slots: usize) -> Self {
        let slots = slots.max(1);
        let share = guests / 2 / slots;
        let left = guests - share * slots;
        Self {
            share,
            left: AtomicUsize::new(left),
            most: share + left,
        }
    }

    /// What a run has at most, when no other one has anything beyond its share.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    fn take(&self, wanted: usize) -> bool {
        let taken = |left: usize| left.checked_sub(wanted);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    fn give_back(&self, count: usize) {
        self.left.fetch_add(count, Ordering::Relaxed);
    }
}

impl Holding {
    /// Nothing yet.
    pub(super) fn new(all: Arc<Shares>) -> Self {
        Self { all, borrowed: 0 }
    }

    /// Whether the run may have so much in all.
    pub(super) fn allow(&mut self, wanted: usize) -> bool {
        let beyond = wanted.saturating_sub(self.all.share);
        if beyond <= self.borrowed {
            self.all.give_back(self.borrowed - beyond);
        } else if !self.all.take(beyond - self.borrowed) {
            return false;
        }
        self.borrowed = beyond;
        true
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.all.give_back(self.borrowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_its_share_whatever_others_hold_and_gives_back_the_rest() {
        // 10 for each of four runs, and 40 for whoever comes first.
        let all = Arc::new(Shares::new(80, 4));
        assert_eq!(all.most(), 50);
        let mut greedy = Holding::new(all.clone());
        for open in 1..=50 {
            assert!(greedy.allow(open), "{open}");
        }
        assert!(!greedy.allow(51));
        let mut modest = Holding::new(all.clone());
        assert!(modest.allow(10) && !modest.allow(11));
        // It has given some back.
        assert!(greedy.allow(30));
        assert!(modest.allow(30) && !modest.allow(31));
        drop(greedy);
        assert!(modest.allow(50));
        drop(modest);
        assert_eq!(all.left.load(Ordering::Relaxed), 40);
    }

    #[test]
    fn no_amount_and_no_number_of_runs_is_too_small_or_too_large() {
        for (guests, slots) in [(0, 16), (1, 0), (64, 256), (16_384, 256), (usize::MAX, 256)] {
            let all = Shares::new(guests, slots);
            assert_eq!(all.share * slots.max(1) + all.left.load(Ordering::Relaxed), guests);
        }
    }
}
