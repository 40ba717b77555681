//! What the supervisor asks of p2p-svc for the HTTP API.

use serde::{Deserialize, Serialize};

use crate::error::WireError;

#[tarpc::service]
pub trait P2pAdmin {
    /// The state of the network, in the shape of `GET /p2p/status`.
    async fn network_status() -> Result<NetworkStatus, WireError>;

    /// The connected peers and those that were connected before, best first; at most [`MAX_PEERS`].
    async fn peers() -> Result<Vec<PeerView>, WireError>;
}

/// Most peers in one answer.
pub const MAX_PEERS: usize = 1_024;

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PeerView {
    /// Its id.
    pub id: String,
    /// Whether a connection stands.
    pub connected: bool,
    /// `inbound`, `outbound` or `both`; empty while it is not connected.
    pub direction: String,
    /// Its addresses as multiaddresses.
    pub addresses: Vec<String>,
    /// Name and version of its software, as it says.
    pub agent: String,
    /// Its score; below zero is bad.
    pub score: f64,
    /// The topics that it subscribes to.
    pub topics: Vec<String>,
    /// Service and service key of the operators that it has proven to speak for.
    pub operators: Vec<(String, String)>,
    /// Round trip in milliseconds, once measured.
    pub round_trip_ms: Option<u64>,
    /// Why its score fell, or why it is not connected.
    pub reasons: Vec<String>,
}

/// The state of the network as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// False in the mode `disabled`; everything else is empty then.
    pub enabled: bool,
    /// This node's peer id.
    pub local_peer_id: Option<String>,
    /// Addresses that the node listens on, each ending in its peer id.
    pub listen_addresses: Vec<String>,
    /// Confirmed addresses under which others reach it.
    pub external_addresses: Vec<String>,
    /// Number of connected peers.
    pub connected_peers: u64,
    /// Their ids.
    pub peer_ids: Vec<String>,
    /// The topics of the registered services.
    pub subscribed_topics: Vec<String>,
    /// Subscribed peers by topic.
    pub topic_peer_counts: Vec<(String, u64)>,
}
