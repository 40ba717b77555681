//! What is known of each peer: its connections, whom it speaks for, what it may do, and how it behaved.
//!
//! A peer is kept until its last connection closes; a ban outlives it. A peer that has proven to speak for an operator of
//! one of our services has the full budgets, everybody else a small one.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use wavs_types::{EvmAddress, ServiceId};

use super::address;
use crate::budget::{Budget, Rate};
use crate::conduct::{BAN_SCORE, Bans, Conduct};
use crate::connections::Connections;

/// Peers in one address block. Beyond it those without operator are turned away.
const MAX_PER_BLOCK: usize = 16;
/// Inbound peers without operator; beyond it the next is turned away, so that operators always find a slot.
const MAX_STRANGERS: usize = 64;

/// Records of a peer that speaks for an operator.
const OPERATOR_RATE: Rate = Rate {
    per_second: 2_000.0,
    burst: 20_000.0,
};
/// Records of anybody else.
const STRANGER_RATE: Rate = Rate {
    per_second: 20.0,
    burst: 100.0,
};
/// Questions of a peer.
const QUESTION_RATE: Rate = Rate {
    per_second: 5.0,
    burst: 50.0,
};
/// Records in catch-up answers of a peer, which are asked for and come in batches.
const CATCH_UP_RATE: Rate = Rate {
    per_second: 500.0,
    burst: 8_192.0,
};

/// A connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connections: Connections,
    pub(super) agent: String,
    pub(super) operators: BTreeSet<(ServiceId, EvmAddress)>,
    pub(super) round_trip: Option<Duration>,
    /// Where it says to listen.
    pub(super) listens_on: Vec<Multiaddr>,
    pub(super) trusted: bool,
    pub(super) records: Budget,
    pub(super) questions: Budget,
    pub(super) catch_up: Budget,
    pub(super) conduct: Conduct,
}

/// All peers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    connected: HashMap<PeerId, Peer>,
    pub(super) bans: Bans,
}

impl Peer {
    fn new(trusted: bool, now: Instant) -> Self {
        let rate = if trusted { OPERATOR_RATE } else { STRANGER_RATE };
        Self {
            connections: Connections::default(),
            agent: String::new(),
            operators: BTreeSet::new(),
            round_trip: None,
            listens_on: Vec::new(),
            trusted,
            records: Budget::new(rate, now),
            questions: Budget::new(QUESTION_RATE, now),
            catch_up: Budget::new(CATCH_UP_RATE, now),
            conduct: Conduct::new(now),
        }
    }

    /// What this node thinks of it, as part of its score.
    pub(super) fn own_score(&self, now: Instant) -> f64 {
        let standing = if self.operators.is_empty() && !self.trusted {
            0.0
        } else {
            20.0
        };
        standing - self.conduct.faults(now)
    }

    /// Whether it may ask for the records of a service.
    pub(super) fn may_ask(&self, service: &ServiceId) -> bool {
        self.trusted || self.operators.iter().any(|(known, _)| known == service)
    }

    /// Whether it speaks for any operator, or is trusted by configuration.
    pub(super) fn is_known(&self) -> bool {
        self.trusted || !self.operators.is_empty()
    }
}

impl Peers {
    /// A connection stands. Answers the reason when it is to be closed again.
    pub(super) fn opened(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        outbound: bool,
        from: Multiaddr,
        trusted: bool,
        now: Instant,
    ) -> Result<bool, &'static str> {
        let is_new = !self.connected.contains_key(&peer);
        if is_new && !outbound && !trusted {
            let strangers = self
                .connected
                .values()
                .filter(|peer| !peer.is_known() && peer.connections.dialled().is_none());
            if strangers.count() >= MAX_STRANGERS {
                return Err("strangers");
            }
            let block = address::block(&from);
            let neighbours = self.connected.values().filter(|peer| {
                let mut addresses = peer.connections.addresses();
                block.is_some() && addresses.any(|address| address::block(address) == block)
            });
            if neighbours.count() >= MAX_PER_BLOCK {
                return Err("address_block");
            }
        }
        let entry = self.connected.entry(peer).or_insert_with(|| Peer::new(trusted, now));
        entry.connections.opened(connection, outbound, from);
        Ok(is_new)
    }

    /// A connection has ended; the peer is forgotten with its last one.
    pub(super) fn closed(&mut self, peer: &PeerId, connection: ConnectionId) {
        let is_last = |peer: &mut Peer| peer.connections.closed(connection);
        if self.connected.get_mut(peer).is_some_and(is_last) {
            self.connected.remove(peer);
        }
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Peer> {
        self.connected.get(peer)
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.connected.get_mut(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.connected.iter()
    }

    /// A peer has proven whom it speaks for.
    pub(super) fn speaks_for(&mut self, peer: &PeerId, service: ServiceId, author: EvmAddress, now: Instant) -> bool {
        let Some(entry) = self.connected.get_mut(peer) else {
            return false;
        };
        entry.records.set_rate(OPERATOR_RATE, now);
        entry.operators.insert((service, author))
    }

    /// Keeps only the operators that `keep` still knows.
    pub(super) fn retain_operators(&mut self, keep: impl Fn(&ServiceId, &EvmAddress) -> bool, now: Instant) {
        for peer in self.connected.values_mut() {
            peer.operators.retain(|(service, author)| keep(service, author));
            if !peer.is_known() {
                peer.records.set_rate(STRANGER_RATE, now);
            }
        }
    }

    /// Counts a fault. True: the peer is banned by it.
    pub(super) fn blame(&mut self, peer: &PeerId, weight: f64, reason: &'static str, now: Instant) -> bool {
        let Some(entry) = self.connected.get_mut(peer) else {
            return false;
        };
        entry.conduct.blame(weight, reason, now);
        let is_banned = entry.own_score(now) <= BAN_SCORE && !entry.trusted;
        if is_banned {
            self.bans.add(*peer, reason, now);
        }
        is_banned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn connect(
        peers: &mut Peers,
        peer: PeerId,
        id: usize,
        outbound: bool,
        address: &str,
    ) -> Result<bool, &'static str> {
        let id = ConnectionId::new_unchecked(id);
        peers.opened(peer, id, outbound, from(address), false, Instant::now())
    }

    #[test]
    fn a_peer_is_kept_until_its_last_connection_closes() {
        let (mut peers, peer) = (Peers::default(), PeerId::random());
        assert_eq!(connect(&mut peers, peer, 1, true, "/ip4/1.1.1.1/tcp/1"), Ok(true));
        assert_eq!(connect(&mut peers, peer, 2, false, "/ip4/1.1.1.1/tcp/2"), Ok(false));
        let connections = &peers.get(&peer).unwrap().connections;
        assert!(connections.has_inbound() && connections.dialled().is_some());
        peers.closed(&peer, ConnectionId::new_unchecked(1));
        assert!(peers.get(&peer).is_some());
        peers.closed(&peer, ConnectionId::new_unchecked(2));
        assert!(peers.get(&peer).is_none());
    }

    #[test]
    fn faults_add_up_to_a_ban_that_outlives_the_connection() {
        let (mut peers, peer, now) = (Peers::default(), PeerId::random(), Instant::now());
        connect(&mut peers, peer, 1, false, "/ip4/1.1.1.1/tcp/1").unwrap();
        assert!(!peers.blame(&peer, 60.0, "malformed", now));
        assert!(peers.blame(&peer, 60.0, "malformed", now));
        peers.closed(&peer, ConnectionId::new_unchecked(1));
        assert!(peers.bans.has(&peer, now));
    }

    #[test]
    fn faults_are_forgiven_with_time() {
        let (mut peers, peer, now) = (Peers::default(), PeerId::random(), Instant::now());
        connect(&mut peers, peer, 1, false, "/ip4/1.1.1.1/tcp/1").unwrap();
        for minute in 0..20 {
            let now = now + Duration::from_secs(200 * minute);
            assert!(!peers.blame(&peer, 60.0, "late", now));
        }
    }

    #[test]
    fn neighbours_share_their_slots_and_strangers_leave_room_for_operators() {
        let mut peers = Peers::default();
        let refused = (0..2 * MAX_PER_BLOCK)
            .filter(|n| connect(&mut peers, PeerId::random(), *n, false, "/ip4/1.1.1.1/tcp/1").is_err());
        assert_eq!(refused.count(), MAX_PER_BLOCK);
        let mut peers = Peers::default();
        let refused = (0..2 * MAX_STRANGERS).filter(|n| {
            connect(
                &mut peers,
                PeerId::random(),
                *n,
                false,
                &format!("/ip4/1.1.{n}.1/tcp/1"),
            )
            .is_err()
        });
        assert_eq!(refused.count(), MAX_STRANGERS);
        assert_eq!(
            connect(&mut peers, PeerId::random(), 999, true, "/ip4/9.9.9.9/tcp/1"),
            Ok(true)
        );
    }
}
