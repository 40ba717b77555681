//! The part of p2p-svc.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audience::P2P;
use super::error::ConfigError;
use super::values::Values;
use crate::secret::Secret;

/// What p2p-svc is told.
#[derive(Clone, Serialize, Deserialize)]
pub struct P2pConfig {
    /// Threads of the runtime.
    pub worker_threads: usize,
    /// How peers are found, if at all.
    pub mode: P2pMode,
    /// The bridge to nodes of generation 1.
    pub bridge: P2pBridge,
    /// The network identity; absent means that one is made and kept in the state directory.
    #[serde(skip)]
    pub identity: Option<Secret>,
}

/// The bridge to nodes of generation 1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct P2pBridge {
    /// The services that are bridged, or `*`; empty is none.
    pub services: Vec<String>,
    /// TCP port; 0 is any free one.
    pub listen_port: u16,
    /// Nodes of generation 1 that are connected to, as multiaddresses.
    pub bootstrap_nodes: Vec<String>,
    /// Whether attestations of other operators are sent on to them.
    pub relay: bool,
}

/// How peers are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum P2pMode {
    /// There is no network.
    Disabled,
    /// Multicast DNS in the local network.
    Local(P2pNetwork),
    /// A distributed table, entered through bootstrap nodes.
    Remote {
        /// The network.
        network: P2pNetwork,
        /// Where the table is entered; empty means that this node is a bootstrap node.
        bootstrap_nodes: Vec<String>,
        /// Time between two searches for peers.
        discovery_interval: Duration,
    },
}

/// A network that this node takes part in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct P2pNetwork {
    /// TCP and UDP port; 0 is any free one.
    pub listen_port: u16,
    /// Address to bind; absent is all.
    pub listen_address: Option<String>,
    /// Addresses that peers are told, as multiaddresses.
    pub external_addresses: Vec<String>,
    /// Peers that are always connected to, as multiaddresses.
    pub static_peers: Vec<String>,
    /// Peer ids that may connect; empty is all.
    pub allow_peers: Vec<String>,
    /// Life of a record of another operator.
    pub submission_ttl: Duration,
    /// Time between two removals of what is expired.
    pub cleanup_interval: Duration,
    /// Most publications that wait for peers.
    pub max_pending_publishes: usize,
    /// Most records stored for one service.
    pub max_stored_submissions_per_service: usize,
    /// Most records in one catch-up answer.
    pub max_catchup_submissions: usize,
    /// Time for one catch-up answer.
    pub catchup_request_timeout: Duration,
    /// Catch-up requests of one service at once.
    pub max_concurrent_catchup_requests_per_service: usize,
    /// How long a publication without peers is tried.
    pub max_retry_duration: Duration,
    /// Time between two tries.
    pub retry_interval: Duration,
}

impl P2pConfig {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let names = values.names(&["p2p"]);
        let mode = match names.as_slice() {
            [] => P2pMode::Disabled,
            ["local"] => P2pMode::Local(P2pNetwork::read(&values.section(&["p2p", "local"]))?),
            ["remote"] => {
                let section = values.section(&["p2p", "remote"]);
                P2pMode::Remote {
                    network: P2pNetwork::read(&section)?,
                    bootstrap_nodes: section.list("bootstrap_nodes")?,
                    discovery_interval: section.seconds("kademlia_discovery_interval_secs")?,
                }
            }
            _ => {
                return Err(values.wrong(
                    &["p2p"],
                    "expected \"disabled\", { local = { … } } or { remote = { … } }",
                ));
            }
        };
        let identity = names
            .first()
            .map(|name| values.section(&["p2p", name]).secret(P2P, "identity"))
            .transpose()?
            .flatten();
        let bridge = P2pBridge::read(&values.section(&["p2p_bridge"]))?;
        if matches!(mode, P2pMode::Disabled) && !bridge.services.is_empty() {
            return Err(values.wrong(
                &["p2p_bridge", "services"],
                "the bridge runs beside our own network: set p2p = { local = … } or { remote = … } as well, or take the services out",
            ));
        }
        Ok(Self {
            worker_threads: values.size("process.p2p.worker_threads")?,
            mode,
            bridge,
            identity,
        })
    }
}

impl P2pBridge {
    fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let port = values.optional_number("listen_port")?.unwrap_or_default();
        Ok(Self {
            services: values.list("services")?,
            listen_port: u16::try_from(port).map_err(|_| values.wrong(&["listen_port"], "expected a port"))?,
            bootstrap_nodes: values.list("bootstrap_nodes")?,
            relay: values.flag("relay")?,
        })
    }
}

impl P2pNetwork {
    fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let port = values
            .optional_number("listen_port")?
            .and_then(|port| u16::try_from(port).ok());
        Ok(Self {
            listen_port: port.ok_or_else(|| values.wrong(&["listen_port"], "a p2p network needs a listen_port"))?,
            listen_address: values.optional_text("listen_address")?,
            external_addresses: values.list("external_addresses")?,
            static_peers: values.list("static_peers")?,
            allow_peers: values.list("allow_peers")?,
            submission_ttl: values.seconds("submission_ttl_secs")?,
            cleanup_interval: values.seconds("cleanup_interval_secs")?,
            max_pending_publishes: values.size("max_pending_publishes")?,
            max_stored_submissions_per_service: values.size("max_stored_submissions_per_service")?,
            max_catchup_submissions: values.size("max_catchup_submissions")?,
            catchup_request_timeout: values.seconds("catchup_request_timeout_secs")?,
            max_concurrent_catchup_requests_per_service: values.size("max_concurrent_catchup_requests_per_service")?,
            max_retry_duration: values.seconds("max_retry_duration_secs")?,
            retry_interval: Duration::from_millis(values.number("retry_interval_ms")?),
        })
    }
}
