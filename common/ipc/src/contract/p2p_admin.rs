//! What the supervisor asks of p2p-svc for the HTTP API.

use serde::{Deserialize, Serialize};

use crate::error::WireError;

#[tarpc::service]
pub trait P2pAdmin {
    /// The state of the network, in the shape of `GET /p2p/status`.
    async fn network_status() -> Result<NetworkStatus, WireError>;
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
