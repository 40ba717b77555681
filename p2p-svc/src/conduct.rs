//! How peers behave, by one rule for every wire: faults add up, are forgiven with time, and lead to a ban that outlives the
//! connection.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use lru::LruCache;
use wavs_ipc::contract::p2p_admin::PeerView;

/// At this score nothing of a peer is looked at, and it is turned away.
pub(crate) const BAN_SCORE: f64 = -100.0;
/// How long a peer that was turned away is not let in again.
const BAN_TIME: Duration = Duration::from_secs(600);
/// Bans that are remembered; the oldest is forgotten.
const MAX_BANS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Reasons that are shown of a peer; the oldest is dropped.
const MAX_REASONS: usize = 4;
/// How fast faults are forgiven, per second.
const FORGIVEN: f64 = 0.5;

/// How a connected peer has behaved.
#[derive(Debug)]
pub(crate) struct Conduct {
    faults: f64,
    at: Instant,
    reasons: VecDeque<&'static str>,
}

impl Conduct {
    /// That of a peer that just came.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            faults: 0.0,
            at: now,
            reasons: VecDeque::new(),
        }
    }

    /// What is held against it: zero or more.
    pub(crate) fn faults(&self, now: Instant) -> f64 {
        let forgiven = now.saturating_duration_since(self.at).as_secs_f64() * FORGIVEN;
        (self.faults - forgiven).max(0.0)
    }

    /// Counts a fault.
    pub(crate) fn blame(&mut self, weight: f64, reason: &'static str, now: Instant) {
        self.faults = self.faults(now) + weight;
        self.at = now;
        if self.reasons.back() != Some(&reason) {
            self.reasons.push_back(reason);
        }
        if self.reasons.len() > MAX_REASONS {
            self.reasons.pop_front();
        }
    }

    /// Why its score fell lately.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.reasons.iter().map(ToString::to_string).collect()
    }
}

/// Who is turned away.
#[derive(Debug)]
pub(crate) struct Bans(LruCache<PeerId, (Instant, &'static str)>);

impl Default for Bans {
    fn default() -> Self {
        Self(LruCache::new(MAX_BANS))
    }
}

impl Bans {
    /// Turns a peer away for a while.
    pub(crate) fn add(&mut self, peer: PeerId, reason: &'static str, now: Instant) {
        self.0.put(peer, (now + BAN_TIME, reason));
    }

    /// Whether a peer is turned away now.
    pub(crate) fn has(&self, peer: &PeerId, now: Instant) -> bool {
        self.0.peek(peer).is_some_and(|(until, _)| *until > now)
    }

    /// Who is turned away now, as people see it.
    pub(crate) fn views(&self, now: Instant) -> impl Iterator<Item = PeerView> {
        let in_force = self.0.iter().filter(move |(_, (until, _))| *until > now);
        in_force.map(|(peer, (_, reason))| PeerView {
            id: peer.to_string(),
            score: BAN_SCORE,
            reasons: vec![format!("turned away: {reason}")],
            ..PeerView::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_add_up_and_are_forgiven_with_time() {
        let now = Instant::now();
        let mut conduct = Conduct::new(now);
        conduct.blame(60.0, "malformed", now);
        conduct.blame(60.0, "malformed", now);
        conduct.blame(1.0, "late", now);
        assert!((conduct.faults(now) - 121.0).abs() < f64::EPSILON);
        assert_eq!(conduct.reasons(), ["malformed", "late"]);
        assert!((conduct.faults(now + Duration::from_secs(42)) - 100.0).abs() < f64::EPSILON);
        assert!(conduct.faults(now + Duration::from_secs(300)) <= 0.0);
    }

    #[test]
    fn a_ban_ends_and_only_so_many_are_remembered() {
        let (mut bans, peer, now) = (Bans::default(), PeerId::random(), Instant::now());
        bans.add(peer, "malformed", now);
        assert!(bans.has(&peer, now) && !bans.has(&PeerId::random(), now));
        assert_eq!(bans.views(now).count(), 1);
        assert!(!bans.has(&peer, now + BAN_TIME));
        assert_eq!(bans.views(now + BAN_TIME).count(), 0);
        for _ in 0..MAX_BANS.get() {
            bans.add(PeerId::random(), "malformed", now);
        }
        assert!(!bans.has(&peer, now));
    }
}
