//! The connections to one peer.

use std::collections::HashMap;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, gossipsub};
use wavs_ipc::contract::p2p_admin::PeerView;

/// All connections to a peer, each with whether this node made it, and the peer's address.
#[derive(Debug, Default)]
pub(crate) struct Connections(HashMap<ConnectionId, (bool, Multiaddr)>);

impl Connections {
    /// One more stands.
    pub(crate) fn opened(&mut self, connection: ConnectionId, outbound: bool, address: Multiaddr) {
        self.0.insert(connection, (outbound, address));
    }

    /// One has ended. True: it was the last.
    pub(crate) fn closed(&mut self, connection: ConnectionId) -> bool {
        self.0.remove(&connection);
        self.0.is_empty()
    }

    /// The peer's addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.0.values().map(|(_, address)| address)
    }

    /// Whether the peer has made one.
    pub(crate) fn has_inbound(&self) -> bool {
        self.0.values().any(|(outbound, _)| !outbound)
    }

    /// The address under which this node has reached the peer.
    pub(crate) fn dialled(&self) -> Option<&Multiaddr> {
        let mut outbound = self.0.values().filter(|(outbound, _)| *outbound);
        outbound.next().map(|(_, address)| address)
    }

    /// The peer as people see it, as far as connections and gossip tell.
    pub(crate) fn view<T: gossipsub::TopicSubscriptionFilter + Send + 'static>(
        &self,
        peer: &PeerId,
        gossip: &gossipsub::Behaviour<gossipsub::IdentityTransform, T>,
    ) -> PeerView {
        let direction = match (self.has_inbound(), self.dialled().is_some()) {
            (true, true) => "both",
            (true, false) => "inbound",
            _ => "outbound",
        };
        let topics = gossip
            .all_peers()
            .filter(|(known, _)| *known == peer)
            .flat_map(|(_, topics)| topics);
        PeerView {
            id: peer.to_string(),
            connected: true,
            direction: direction.to_owned(),
            addresses: self.addresses().map(ToString::to_string).collect(),
            topics: topics.map(ToString::to_string).collect(),
            ..PeerView::default()
        }
    }
}
