//! Finding peers: multicast DNS in the local network, the distributed table elsewhere, and what connected peers tell.

use std::time::{Duration, Instant};

use libp2p::kad::{self, QueryResult};
use libp2p::{PeerId, identify, mdns};

use super::address;
use super::task::Task;
use crate::settings::Discovery;
use crate::wire::v2;

/// Connections to others that this node looks for by itself; it accepts more.
const WANTED: usize = 24;
/// Addresses of one peer that are taken over.
const MAX_ADDRESSES: usize = 8;
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
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.agent = info
                .agent_version
                .chars()
                .filter(|c| !c.is_control())
                .take(64)
                .collect();
        }
        if info.protocol_version != v2::NETWORK || !info.protocols.contains(&v2::TABLE) {
            return;
        }
        let own: Vec<_> = self.swarm.listeners().cloned().collect();
        let Some(table) = self.swarm.behaviour_mut().table.as_mut() else {
            return;
        };
        let mut is_new = false;
        for address in info.listen_addrs.iter().take(MAX_ADDRESSES) {
            if address::is_worth_dialling(address, &own) {
                is_new |= matches!(
                    table.add_address(&peer_id, address.clone()),
                    kad::RoutingUpdate::Success
                );
            }
        }
        if is_new {
            self.next_search = self.next_search.min(Instant::now() + SEARCH_REST / 4);
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
        self.peers.iter().filter(|(_, peer)| peer.directions().1).count() < WANTED
    }
}
