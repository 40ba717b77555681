//! Finding peers and being found: multicast DNS in the local network, the distributed table elsewhere, what connected peers
//! tell, and a way through others for a node that cannot be reached.

use std::time::{Duration, Instant};

use libp2p::kad::{self, QueryResult};
use libp2p::multiaddr::Protocol;
use libp2p::{PeerId, identify, mdns, relay};

use super::address;

use super::task::Task;
use crate::settings::Discovery;
use crate::store::KnownPeer;
use crate::wire::v2;

/// Connections to others that this node looks for by itself; it accepts more.
const WANTED: usize = 24;
/// Addresses of one peer that are taken over.
const MAX_ADDRESSES: usize = 8;
/// Peers through which this node lets itself be reached; further ones that offer it are not asked.
const MAX_RELAYS: usize = 2;
/// Shortest time between two searches of the table.
const SEARCH_REST: Duration = Duration::from_secs(2);

impl Task {
    pub(super) fn mdns_event(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else { return };
        let now = Instant::now();
        for (peer, address) in found {
            if peer != *self.swarm.local_peer_id() {
                self.dialler.found(peer, &address, now);
            }
        }
    }

    pub(super) fn identify_event(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else {
            return;
        };
        if info.protocol_version != v2::NETWORK {
            return;
        }
        let own: Vec<_> = self.swarm.listeners().cloned().collect();
        let told = info.listen_addrs.into_iter().take(MAX_ADDRESSES);
        let addresses: Vec<_> = told.filter(|one| address::is_worth_dialling(one, &own)).collect();
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.agent = info
                .agent_version
                .chars()
                .filter(|c| !c.is_control())
                .take(64)
                .collect();
            peer.listens_on.clone_from(&addresses);
        }
        self.keep_operator(peer_id);
        if info.protocols.contains(&relay::HOP_PROTOCOL_NAME) {
            self.be_relayed(peer_id);
        }
        let is_listed = info.protocols.contains(&v2::TABLE);
        let Some(table) = self.swarm.behaviour_mut().table.as_mut().filter(|_| is_listed) else {
            return;
        };
        let mut is_new = false;
        for address in addresses {
            let update = table.add_address(&peer_id, address);
            is_new |= matches!(update, kad::RoutingUpdate::Success);
        }
        if is_new {
            self.next_search = self.next_search.min(Instant::now() + SEARCH_REST / 4);
        }
    }

    /// An operator is remembered and dialled again when it is lost, also if it was the one who connected.
    pub(super) fn keep_operator(&mut self, peer: PeerId) {
        let Some(state) = self.peers.get(&peer).filter(|state| state.is_known()) else {
            return;
        };
        let addresses = state.listens_on.clone();
        for address in addresses {
            self.dialler.found(peer, &address, Instant::now());
            self.remember(KnownPeer { peer, address });
        }
    }

    /// Asks a peer that offers it to let others reach this node through it, as long as nothing says that they reach it
    /// directly.
    fn be_relayed(&mut self, relay: PeerId) {
        let is_reached = self.swarm.external_addresses().next().is_some();
        if is_reached || self.relays.len() >= MAX_RELAYS || self.relays.contains(&relay) {
            return;
        }
        let Some(address) = self.peers.get(&relay).and_then(|peer| peer.connections.dialled()) else {
            return;
        };
        let address = address.clone().with_p2p(relay).unwrap_or_else(|known| known);
        let circuit = address.with(Protocol::P2pCircuit);
        match self.swarm.listen_on(circuit) {
            Ok(_) => drop(self.relays.insert(relay)),
            Err(error) => tracing::debug!(%relay, %error, "a peer cannot relay for this node"),
        }
    }

    pub(super) fn table_event(&mut self, event: kad::Event) {
        let kad::Event::OutboundQueryProgressed {
            result: QueryResult::GetClosestPeers(result),
            ..
        } = event
        else {
            return;
        };
        let peers = match result {
            Ok(found) => found.peers,
            Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        let own: Vec<_> = self.swarm.listeners().cloned().collect();
        let (local, now) = (*self.swarm.local_peer_id(), Instant::now());
        for found in peers {
            if found.peer_id == local || self.peers.get(&found.peer_id).is_some() || !self.wants_more() {
                continue;
            }
            for address in found.addrs.iter().take(MAX_ADDRESSES) {
                if address::is_worth_dialling(address, &own) {
                    self.dialler.found(found.peer_id, address, now);
                }
            }
        }
    }

    /// Searches the table when it is time.
    pub(super) fn look_around(&mut self, now: Instant) {
        let Discovery::Remote { interval, .. } = self.settings.discovery else {
            return;
        };
        if now < self.next_search {
            return;
        }
        // Alone, or nearly: look more often than the configuration asks for.
        let rest = if self.peers.iter().count() < 3 {
            interval.min(Duration::from_secs(5))
        } else {
            interval
        };
        self.next_search = now + rest.max(SEARCH_REST);
        let local = *self.swarm.local_peer_id();
        if let Some(table) = self.swarm.behaviour_mut().table.as_mut() {
            table.get_closest_peers(local);
            table.get_closest_peers(PeerId::random());
        }
    }

    fn wants_more(&self) -> bool {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.connections.dialled().is_some())
            .count()
            < WANTED
    }
}
