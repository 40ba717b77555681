//! The descriptors of this process that guests have open.
//!
//! Each file, socket and connection of a guest is one, and all runs together could want more than the kernel gives the process
//! (`RLIMIT_NOFILE`), although each keeps to its own bounds. Half of what there is belongs to the runs in equal shares, so that no service can
//! leave another without; the other half is for whoever comes first. Who gets none is told so by the call, and the process keeps
//! what it needs for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};

/// Descriptors that no guest gets, beside one for each compiled component: sockets, pipes, the databases, look-ups of names. Of a
/// process that may have few it is a quarter.
const RESERVED: usize = 1_024;

/// What there is for all guests.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// Of each run.
    share: usize,
    /// Those beyond the shares that nobody has.
    left: AtomicUsize,
}

/// What one run has open.
#[derive(Debug)]
pub(super) struct OpenDescriptors {
    all: Arc<Descriptors>,
    /// Beyond the share of the run.
    borrowed: usize,
    told: bool,
}

impl Descriptors {
    /// What this process has for so many runs at a time, with so many compiled components in memory.
    pub(crate) fn of_process(slots: usize, compiled: usize) -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self::new(limit, RESERVED.saturating_add(compiled), slots)
    }

    fn new(limit: usize, reserved: usize, slots: usize) -> Self {
        let guests = limit - reserved.min(limit / 4);
        let slots = slots.max(1);
        let share = guests / 2 / slots;
        Self {
            share,
            left: AtomicUsize::new(guests - share * slots),
        }
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

impl OpenDescriptors {
    /// None yet.
    pub(super) fn new(all: Arc<Descriptors>) -> Self {
        Self {
            all,
            borrowed: 0,
            told: false,
        }
    }

    /// Whether the run may have so many open, now that it wants another one.
    pub(super) fn allow(&mut self, open: usize) -> bool {
        let wanted = open.saturating_sub(self.all.share);
        if wanted <= self.borrowed {
            self.all.give_back(self.borrowed - wanted);
        } else if !self.all.take(wanted - self.borrowed) {
            if !self.told {
                self.told = true;
                tracing::warn!(
                    open,
                    "a run is refused a file or socket, because guests have all open that this process may have; raise its limit of open files (LimitNOFILE=, ulimit -n), or lower engine.open_files, engine.sockets and engine.http_requests"
                );
            }
            return false;
        }
        self.borrowed = wanted;
        true
    }
}

impl Drop for OpenDescriptors {
    fn drop(&mut self) {
        self.all.give_back(self.borrowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_its_share_whatever_others_hold_and_gives_back_the_rest() {
        // 80 for guests: 10 for each of four runs, and 40 for whoever comes first.
        let all = Arc::new(Descriptors::new(100, 20, 4));
        let mut greedy = OpenDescriptors::new(all.clone());
        for open in 1..=50 {
            assert!(greedy.allow(open), "{open}");
        }
        assert!(!greedy.allow(51));
        let mut modest = OpenDescriptors::new(all.clone());
        assert!(modest.allow(10) && !modest.allow(11));
        // It has closed some.
        assert!(greedy.allow(30));
        assert!(modest.allow(30) && !modest.allow(31));
        drop(greedy);
        assert!(modest.allow(50));
        drop(modest);
        assert_eq!(all.left.load(Ordering::Relaxed), 40);
    }

    #[test]
    fn no_limit_is_too_small_or_too_large() {
        for (limit, slots) in [
            (0, 16),
            (1, 0),
            (64, 256),
            (1_024, 16),
            (16_384, 256),
            (usize::MAX, 256),
        ] {
            let all = Descriptors::new(limit, RESERVED, slots);
            let given = all.share * slots + all.left.load(Ordering::Relaxed);
            assert!(given <= limit && given >= limit / 2, "{limit} {slots}: {given}");
        }
    }
}
