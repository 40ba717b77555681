//! What the bridge knows of its peers. Nodes of this generation send on before they look, so a peer is blamed only for what
//! it said itself, and what it passes on for others has a budget apart, so that it cannot take the room of its own word.

use std::collections::HashMap;
use std::time::Instant;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::budget::{Budget, Rate};
use crate::conduct::{BAN_SCORE, Bans, Conduct};
use crate::connections::Connections;

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
    pub(super) connections: Connections,
    pub(super) agent: String,
    pub(super) questions: Budget,
    own: Budget,
    passed: Budget,
    missed: Budget,
    pub(super) conduct: Conduct,
}

/// All peers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    connected: HashMap<PeerId, Peer>,
    pub(super) bans: Bans,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            connections: Connections::default(),
            agent: String::new(),
            questions: Budget::new(QUESTION_RATE, now),
            own: Budget::new(OWN_RATE, now),
            passed: Budget::new(PASSED_RATE, now),
            missed: Budget::new(MISSED_RATE, now),
            conduct: Conduct::new(now),
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
        if self.bans.has(&peer, now) {
            return None;
        }
        let is_new = !self.connected.contains_key(&peer);
        let entry = self.connected.entry(peer).or_insert_with(|| Peer::new(now));
        entry.connections.opened(connection, outbound, address);
        Some(is_new)
    }

    /// A connection has ended. True: it was the last one of its peer.
    pub(super) fn closed(&mut self, peer: &PeerId, connection: ConnectionId) -> bool {
        let Some(entry) = self.connected.get_mut(peer) else {
            return false;
        };
        let is_last = entry.connections.closed(connection);
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

    /// Counts a fault. True: the peer is banned by it.
    pub(super) fn blame(&mut self, peer: &PeerId, weight: f64, reason: &'static str, now: Instant) -> bool {
        let Some(entry) = self.connected.get_mut(peer) else {
            return false;
        };
        entry.conduct.blame(weight, reason, now);
        let is_banned = -entry.conduct.faults(now) <= BAN_SCORE;
        if is_banned {
            self.bans.add(*peer, reason, now);
        }
        is_banned
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let later = now + Duration::from_secs(3_600);
        assert_eq!(connect(&mut peers, peer, 4, later), Some(true));
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
