//! What is known of each peer: its connections, whom it speaks for, what it may do, and how it behaved.
//!
//! A peer is kept until its last connection closes; a ban outlives it. A peer that has proven to speak for an operator of
//! one of our services has the full budgets, everybody else a small one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use wavs_types::{EvmAddress, ServiceId};

use super::address;
use crate::budget::{Budget, Rate};

/// Below this score nothing of a peer is looked at, and it is disconnected.
pub(super) const BAN_SCORE: f64 = -100.0;
/// How long a banned peer is not let in again.
const BAN_TIME: Duration = Duration::from_secs(600);
/// Bans that are remembered; the oldest is forgotten.
const MAX_BANS: usize = 4_096;
/// Reasons that are shown of a peer; the oldest is dropped.
const MAX_REASONS: usize = 4;
/// Peers in one address block. Beyond it those without operator are turned away.
const MAX_PER_BLOCK: usize = 16;
/// Inbound peers without operator; beyond it the next is turned away, so that operators always find a slot.
const MAX_STRANGERS: usize = 64;
/// How fast faults are forgiven, per second.
const FORGIVEN: f64 = 0.5;

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
    pub(super) connections: HashMap<ConnectionId, (bool, Multiaddr)>,
    pub(super) agent: String,
    pub(super) operators: BTreeSet<(ServiceId, EvmAddress)>,
    pub(super) round_trip: Option<Duration>,
    /// Where it says to listen.
    pub(super) listens_on: Vec<Multiaddr>,
    pub(super) trusted: bool,
    pub(super) records: Budget,
    pub(super) questions: Budget,
    pub(super) catch_up: Budget,
    faults: f64,
    faults_at: Instant,
    reasons: VecDeque<String>,
}

/// All peers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    connected: HashMap<PeerId, Peer>,
    bans: HashMap<PeerId, (Instant, String)>,
}

impl Peer {
    fn new(trusted: bool, now: Instant) -> Self {
        let rate = if trusted { OPERATOR_RATE } else { STRANGER_RATE };
        Self {
            connections: HashMap::new(),
            agent: String::new(),
            operators: BTreeSet::new(),
            round_trip: None,
            listens_on: Vec::new(),
            trusted,
            records: Budget::new(rate, now),
            questions: Budget::new(QUESTION_RATE, now),
            catch_up: Budget::new(CATCH_UP_RATE, now),
            faults: 0.0,
            faults_at: now,
            reasons: VecDeque::new(),
        }
    }

    /// What this node thinks of it, as part of its score.
    pub(super) fn own_score(&self, now: Instant) -> f64 {
        let standing = if self.operators.is_empty() && !self.trusted {
            0.0
        } else {
            20.0
        };
        standing - self.faults_now(now)
    }

    /// Whether it may ask for the records of a service.
    pub(super) fn may_ask(&self, service: &ServiceId) -> bool {
        self.trusted || self.operators.iter().any(|(known, _)| known == service)
    }

    /// Whether it speaks for any operator, or is trusted by configuration.
    pub(super) fn is_known(&self) -> bool {
        self.trusted || !self.operators.is_empty()
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = &String> {
        self.reasons.iter()
    }

    pub(super) fn directions(&self) -> (bool, bool) {
        let mut both = (false, false);
        for (outbound, _) in self.connections.values() {
            both = (both.0 || !outbound, both.1 || *outbound);
        }
        both
    }

    /// The address under which this node has reached it.
    pub(super) fn dialled(&self) -> Option<&Multiaddr> {
        let mut connections = self.connections.values();
        connections.find(|(outbound, _)| *outbound).map(|(_, address)| address)
    }

    fn faults_now(&self, now: Instant) -> f64 {
        (self.faults - now.saturating_duration_since(self.faults_at).as_secs_f64() * FORGIVEN).max(0.0)
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
                .filter(|peer| !peer.is_known() && !peer.directions().1);
            if strangers.count() >= MAX_STRANGERS {
                return Err("strangers");
            }
            let block = address::block(&from);
            let neighbours = self.connected.values().filter(|peer| {
                block.is_some()
                    && peer
                        .connections
                        .values()
                        .any(|(_, address)| address::block(address) == block)
            });
            if neighbours.count() >= MAX_PER_BLOCK {
                return Err("address_block");
            }
        }
        let entry = self.connected.entry(peer).or_insert_with(|| Peer::new(trusted, now));
        entry.connections.insert(connection, (outbound, from));
        Ok(is_new)
    }

    /// A connection has ended; the peer is forgotten with its last one.
    pub(super) fn closed(&mut self, peer: &PeerId, connection: ConnectionId) {
        if let Some(entry) = self.connected.get_mut(peer) {
            entry.connections.remove(&connection);
            if entry.connections.is_empty() {
                self.connected.remove(peer);
            }
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

    /// Whether a peer is banned now.
    pub(super) fn is_banned(&self, peer: &PeerId, now: Instant) -> bool {
        self.bans.get(peer).is_some_and(|(until, _)| *until > now)
    }

    /// The bans in force.
    pub(super) fn bans(&self, now: Instant) -> impl Iterator<Item = (&PeerId, &String)> {
        self.bans
            .iter()
            .filter(move |(_, (until, _))| *until > now)
            .map(|(peer, (_, reason))| (peer, reason))
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
    pub(super) fn blame(&mut self, peer: &PeerId, weight: f64, reason: &str, now: Instant) -> bool {
        let Some(entry) = self.connected.get_mut(peer) else {
            return false;
        };
        entry.faults = entry.faults_now(now) + weight;
        entry.faults_at = now;
        if entry.reasons.back().is_none_or(|last| last != reason) {
            entry.reasons.push_back(reason.to_owned());
        }
        if entry.reasons.len() > MAX_REASONS {
            entry.reasons.pop_front();
        }
        if entry.own_score(now) > BAN_SCORE || entry.trusted {
            return false;
        }
        if self.bans.len() >= MAX_BANS
            && let Some(oldest) = self
                .bans
                .iter()
                .min_by_key(|(_, (until, _))| *until)
                .map(|(peer, _)| *peer)
        {
            self.bans.remove(&oldest);
        }
        self.bans.insert(*peer, (now + BAN_TIME, reason.to_owned()));
        true
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
        assert_eq!(peers.get(&peer).unwrap().directions(), (true, true));
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
        assert!(peers.is_banned(&peer, now));
        assert_eq!(peers.bans(now).count(), 1);
        assert!(!peers.is_banned(&peer, now + BAN_TIME));
        assert_eq!(peers.bans(now + BAN_TIME).count(), 0);
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
