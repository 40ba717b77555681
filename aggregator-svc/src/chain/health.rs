//! What is known about an endpoint, and what follows from it: whether it may be asked, and after which others.

use std::time::{Duration, Instant};

/// First time that an endpoint is passed over after a fault; doubled with each further one up to [`REST_MAX`].
const REST_MIN: Duration = Duration::from_millis(500);
/// Longest time that an endpoint is passed over. When all rest, the one that rests least is asked all the same.
const REST_MAX: Duration = Duration::from_secs(30);
/// How long an endpoint of another chain is left alone until it is asked for its chain again.
const WRONG_REST: Duration = Duration::from_secs(30);
/// An endpoint that is further behind than this is asked last, and one that goes back by more is left out: its reads would be stale.
const STALE_BLOCKS: u64 = 64;
/// How long one that went back is left out while there are others.
const WENT_BACK_REST: Duration = Duration::from_secs(600);

/// Whether the endpoint serves the configured chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// Not asked, or not since its last fault.
    Unknown,
    /// It reports this chain id, which is the right one.
    Verified(u64),
    /// It reported another chain id.
    Wrong {
        /// The id.
        found: u64,
        /// When it is asked again.
        until: Instant,
    },
}

/// What is known about an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Health {
    pub(super) identity: Identity,
    pub(super) faults: u32,
    pub(super) last_fault: Option<String>,
    pub(super) latency: Option<Duration>,
    /// The head that it showed last.
    pub(super) head: Option<u64>,
    /// Whether it takes block hashes as block parameter.
    pub(super) by_hash: bool,
    /// Whether it takes several requests in one.
    pub(super) batches: bool,
    rests_until: Option<Instant>,
    went_back_until: Option<Instant>,
    /// Whether somebody is finding out if it answers again.
    probing: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            identity: Identity::Unknown,
            faults: 0,
            last_fault: None,
            latency: None,
            head: None,
            by_hash: true,
            batches: true,
            rests_until: None,
            went_back_until: None,
            probing: false,
        }
    }
}

impl Health {
    /// It answered.
    pub(super) fn answered(&mut self, elapsed: Duration) {
        self.faults = 0;
        self.rests_until = None;
        self.latency = Some(self.latency.map_or(elapsed, |old| (old * 7 + elapsed) / 8));
    }

    /// It did not answer. True when this is news.
    pub(super) fn failed(&mut self, text: &str) -> bool {
        let rest = REST_MIN.saturating_mul(1 << self.faults.min(8)).min(REST_MAX);
        self.faults = self.faults.saturating_add(1);
        self.rests_until = Some(Instant::now() + rest);
        // Whoever answers next at this address may be another node.
        if matches!(self.identity, Identity::Verified(_)) {
            self.identity = Identity::Unknown;
        }
        let news = self.last_fault.as_deref() != Some(text);
        self.last_fault = Some(text.to_owned());
        news
    }

    /// It reports another chain.
    pub(super) fn is_other_chain(&mut self, found: u64) {
        let until = Instant::now() + WRONG_REST;
        self.identity = Identity::Wrong { found, until };
    }

    /// It showed a head. Answers the height that it went back from, if it went back too far.
    pub(super) fn saw_head(&mut self, number: u64) -> Option<u64> {
        let before = self.head.replace(number)?;
        let went_back = number.saturating_add(STALE_BLOCKS) < before;
        if went_back {
            self.went_back_until = Some(Instant::now() + WENT_BACK_REST);
        }
        went_back.then_some(before)
    }

    /// Whether it is left out for serving another chain.
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self.identity, Identity::Wrong { until, .. } if until > Instant::now())
    }

    /// Whether it is left out for having gone back, as long as there are others.
    pub(super) fn went_back(&self) -> bool {
        self.went_back_until.is_some_and(|until| until > Instant::now())
    }

    /// Its place among the endpoints of a chain whose newest head is `best_head`; lower is better.
    pub(super) fn rank(&self, best_head: u64) -> (bool, bool, Duration) {
        let stale = self
            .head
            .is_some_and(|head| head.saturating_add(STALE_BLOCKS) < best_head);
        (self.faults > 0, stale, self.rest())
    }

    /// Whether somebody should find out if it answers again; true for one caller only.
    pub(super) fn take_probe(&mut self) -> bool {
        let due = self.faults > 0 && self.rest().is_zero() && !self.probing;
        self.probing |= due;
        due
    }

    /// The probe is over.
    pub(super) fn probed(&mut self) {
        self.probing = false;
    }

    fn rest(&self) -> Duration {
        self.rests_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_comes_after_those_that_answer_until_it_answers() {
        let (mut failing, mut fine) = (Health::default(), Health::default());
        assert!(failing.failed("refused"));
        assert!(!failing.failed("refused"), "no news");
        fine.answered(Duration::from_secs(1));
        assert!(fine.rank(0) < failing.rank(0));
        assert!(!failing.take_probe(), "it rests");
        failing.rests_until = None;
        assert!(fine.rank(0) < failing.rank(0), "it has not answered yet");
        assert!(failing.take_probe());
        assert!(!failing.take_probe(), "one asks");
        failing.probed();
        failing.answered(Duration::from_secs(1));
        assert!(!failing.take_probe());
        assert_eq!(fine.rank(0), failing.rank(0));
    }

    #[test]
    fn a_fault_asks_for_the_chain_id_again() {
        let mut health = Health {
            identity: Identity::Verified(1),
            ..Health::default()
        };
        health.failed("reset");
        assert_eq!(health.identity, Identity::Unknown);
        health.is_other_chain(5);
        assert!(health.is_wrong());
    }

    #[test]
    fn going_back_a_little_is_a_reorganisation_and_far_is_a_fault() {
        let mut health = Health::default();
        assert_eq!(health.saw_head(1000), None);
        assert_eq!(health.saw_head(936), None);
        assert_eq!(health.saw_head(1000), None);
        assert!(!health.went_back());
        assert_eq!(health.saw_head(935), Some(1000));
        assert!(health.went_back());
        assert!(Health::default().rank(1000) < health.rank(1000), "it is stale");
    }
}
