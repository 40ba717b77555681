//! What the bridge knows of its peers. Nodes of this generation send on before they look, so a peer is blamed only for what
//! it said itself, and what it passes on for others has a budget apart, so that it cannot take the room of its own word.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use lru::LruCache;

use crate::budget::{Budget, Rate};

/// At this score a peer is disconnected.
pub(super) const BAN_SCORE: f64 = -100.0;
/// How long a banned peer is not let in again.
const BAN_TIME: Duration = Duration::from_secs(600);
/// Bans that are remembered; the one longest unseen is forgotten.
const MAX_BANS: usize = 4_096;
/// Reasons that are shown of a peer; the oldest is dropped.
const MAX_REASONS: usize = 4;
/// How fast faults are forgiven, per second.
const FORGIVEN: f64 = 0.5;

/// Submissions that a peer gossips as its own. Each costs the recovery of a signature.
const OWN_RATE: Rate = Rate {
    per_second: 50.0,
    burst: 500.0,
};
/// Submissions that it passes on for others.
const PASSED_RATE: Rate = Rate {
    per_second: 50.0,
    burst: 500.0,
};
/// Submissions in its catch-up answers, which come all at once after a connection.
const MISSED_RATE: Rate = Rate {
    per_second: 50.0,
    burst: 2_000.0,
};
/// Questions: one per service after a connection, and few later.
const QUESTION_RATE: Rate = Rate {
    per_second: 5.0,
    burst: 300.0,
};

/// How a submission reached this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Gossip by its author's node.
    Author,
    /// Gossip by a node that sent it on.
    Relay,
    /// An answer to a question of ours.
    Answer,
}

/// A connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connections: HashMap<ConnectionId, (bool, Multiaddr)>,
    pub(super) agent: String,
    pub(super) questions: Budget,
    own: Budget,
    passed: Budget,
    missed: Budget,
    faults: f64,
    faults_at: Instant,
    reasons: VecDeque<&'static str>,
}

/// All peers.
#[derive(Debug)]
pub(super) struct Peers {
    connected: HashMap<PeerId, Peer>,
    bans: LruCache<PeerId, (Instant, &'static str)>,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            connected: HashMap::new(),
            bans: LruCache::new(NonZeroUsize::new(MAX_BANS).unwrap_or(NonZeroUsize::MIN)),
        }
    }
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            connections: HashMap::new(),
            agent: String::new(),
            questions: Budget::new(QUESTION_RATE, now),
            own: Budget::new(OWN_RATE, now),
            passed: Budget::new(PASSED_RATE, now),
            missed: Budget::new(MISSED_RATE, now),
            faults: 0.0,
            faults_at: now,
            reasons: VecDeque::new(),
        }
    }

    /// Whether a further submission is looked at.
    pub(super) fn may_speak(&mut self, by: By, now: Instant) -> bool {
        match by {
            By::Author => self.own.take(now),
            By::Relay => self.passed.take(now),
            By::Answer => self.missed.take(now),
        }
    }

    /// Its score: zero or less.
    pub(super) fn score(&self, now: Instant) -> f64 {
        -(self.faults - now.saturating_duration_since(self.faults_at).as_secs_f64() * FORGIVEN).max(0.0)
    }

    /// Why its score fell lately.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &'static str> {
        self.reasons.iter().copied()
    }
}

impl Peers {
    /// A connection stands: whether it is the first of its peer. None: the peer is not let in.
    pub(super) fn opened(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        outbound: bool,
        address: Multiaddr,
        now: Instant,
    ) -> Option<bool> {
        if self.bans.get(&peer).is_some_and(|(until, _)| *until > now) {
            return None;
        }
        let is_new = !self.connected.contains_key(&peer);
        let entry = self.connected.entry(peer).or_insert_with(|| Peer::new(now));
        entry.connections.insert(connection, (outbound, address));
        Some(is_new)
    }

    /// A connection has ended. True: it was the last one of its peer.
    pub(super) fn closed(&mut self, peer: &PeerId, connection: ConnectionId) -> bool {
        let Some(entry) = self.connected.get_mut(peer) else {
            return false;
        };
        entry.connections.remove(&connection);
        let is_last = entry.connections.is_empty();
        if is_last {
            self.connected.remove(peer);
        }
        is_last
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.connected.get_mut(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.connected.iter()
    }

    /// The bans in force.
    pub(super) fn bans(&self, now: Instant) -> impl Iterator<Item = (&PeerId, &'static str)> {
        let in_force = self.bans.iter().filter(move |(_, (until, _))| *until > now);
        in_force.map(|(peer, (_, reason))| (peer, *reason))
    }

    /// Counts a fault. True: the peer is banned by it.
    pub(super) fn blame(&mut self, peer: &PeerId, weight: f64, reason: &'static str, now: Instant) -> bool {
        let Some(entry) = self.connected.get_mut(peer) else {
            return false;
        };
        entry.faults = weight - entry.score(now);
        entry.faults_at = now;
        if entry.reasons.back() != Some(&reason) {
            entry.reasons.push_back(reason);
        }
        if entry.reasons.len() > MAX_REASONS {
            entry.reasons.pop_front();
        }
        let is_banned = entry.score(now) <= BAN_SCORE;
        if is_banned {
            self.bans.put(*peer, (now + BAN_TIME, reason));
        }
        is_banned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(peers: &mut Peers, peer: PeerId, id: usize, now: Instant) -> Option<bool> {
        let address = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        peers.opened(peer, ConnectionId::new_unchecked(id), false, address, now)
    }

    #[test]
    fn faults_add_up_to_a_ban_that_outlives_the_connection_and_ends() {
        let (mut peers, peer, now) = (Peers::default(), PeerId::random(), Instant::now());
        assert_eq!(connect(&mut peers, peer, 1, now), Some(true));
        assert_eq!(connect(&mut peers, peer, 2, now), Some(false));
        assert!(!peers.blame(&peer, 60.0, "malformed", now));
        assert!(peers.blame(&peer, 60.0, "malformed", now));
        assert!(!peers.closed(&peer, ConnectionId::new_unchecked(1)));
        assert!(peers.closed(&peer, ConnectionId::new_unchecked(2)));
        assert_eq!(connect(&mut peers, peer, 3, now), None);
        assert_eq!(peers.bans(now).count(), 1);
        assert_eq!(connect(&mut peers, peer, 4, now + BAN_TIME), Some(true));
    }

    #[test]
    fn what_a_peer_passes_on_does_not_take_the_room_of_its_own_word() {
        let (mut peers, peer, now) = (Peers::default(), PeerId::random(), Instant::now());
        connect(&mut peers, peer, 1, now);
        let peer = peers.get_mut(&peer).unwrap();
        while peer.may_speak(By::Relay, now) {}
        assert!(peer.may_speak(By::Author, now) && peer.may_speak(By::Answer, now));
    }
}
