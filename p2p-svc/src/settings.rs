//! The network's settings, validated: every address parses before anything is opened.

use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use wavs_service::config::{P2pConfig, P2pMode, P2pNetwork};

/// How the node takes part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How peers are found besides the listed ones.
    pub discovery: Discovery,
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// What peers are told instead of what was found out.
    pub external: Vec<Multiaddr>,
    /// Peers that are connected to for as long as the node runs, and trusted to relay.
    pub static_peers: Vec<Multiaddr>,
    /// Peers that may connect; empty is all.
    pub allowed: Vec<PeerId>,
}

/// How peers are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// Multicast DNS.
    Local,
    /// A distributed table.
    Remote {
        /// Where the table is entered; empty means that this node is an entrance.
        bootstrap: Vec<Multiaddr>,
        /// Time between two searches.
        interval: Duration,
    },
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: Multiaddr,
    /// Whether the node is useless without it.
    pub required: bool,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("p2p {key}: {value:?} is {wrong}; expected for example {example}")]
pub struct SettingsError {
    key: &'static str,
    value: String,
    wrong: &'static str,
    example: &'static str,
}

impl SettingsError {
    pub(crate) fn new(key: &'static str, value: &str, wrong: &'static str, example: &'static str) -> Self {
        Self {
            key,
            value: value.to_owned(),
            wrong,
            example,
        }
    }
}

impl Settings {
    /// The settings, or nothing when the network is switched off.
    ///
    /// # Errors
    /// When a text is no address or peer id.
    pub fn read(config: &P2pConfig) -> Result<Option<Self>, SettingsError> {
        let (network, discovery) = match &config.mode {
            P2pMode::Disabled => return Ok(None),
            P2pMode::Local(network) => (network, Discovery::Local),
            P2pMode::Remote {
                network,
                bootstrap_nodes,
                discovery_interval,
            } => (
                network,
                Discovery::Remote {
                    bootstrap: addresses("bootstrap_nodes", bootstrap_nodes)?,
                    interval: *discovery_interval,
                },
            ),
        };
        Ok(Some(Self {
            discovery,
            listen: listen(network)?,
            external: addresses("external_addresses", &network.external_addresses)?,
            static_peers: addresses("static_peers", &network.static_peers)?,
            allowed: network
                .allow_peers
                .iter()
                .map(|text| peer_id(text))
                .collect::<Result<_, _>>()?,
        }))
    }

    /// Peers that are named by id in the lists of peers.
    #[must_use]
    pub fn trusted(&self) -> Vec<PeerId> {
        self.static_peers
            .iter()
            .filter_map(peer_in)
            .chain(self.allowed.iter().copied())
            .collect()
    }
}

/// The peer id at the end of an address.
#[must_use]
pub fn peer_in(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

fn peer_id(text: &str) -> Result<PeerId, SettingsError> {
    text.parse().map_err(|_| SettingsError {
        key: "allow_peers",
        value: text.to_owned(),
        wrong: "no peer id",
        example: "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
    })
}

pub(crate) fn addresses(key: &'static str, texts: &[String]) -> Result<Vec<Multiaddr>, SettingsError> {
    let read = |text: &String| {
        text.parse().map_err(|_| SettingsError {
            key,
            value: text.clone(),
            wrong: "no multiaddress",
            example: "/dns4/operator.example/tcp/9000",
        })
    };
    texts.iter().map(read).collect()
}

fn listen(network: &P2pNetwork) -> Result<Vec<Listen>, SettingsError> {
    let port = network.listen_port;
    let on = |host: Multiaddr, required| {
        let tcp = host.clone().with(Protocol::Tcp(port));
        let quic = host.with(Protocol::Udp(port)).with(Protocol::QuicV1);
        [tcp, quic].map(|address| Listen { address, required })
    };
    let Some(text) = &network.listen_address else {
        let v4 = Multiaddr::empty().with(Protocol::Ip4(std::net::Ipv4Addr::UNSPECIFIED));
        let v6 = Multiaddr::empty().with(Protocol::Ip6(std::net::Ipv6Addr::UNSPECIFIED));
        // Hosts without IPv6 are common; those without IPv4 have to name their address.
        return Ok([on(v4, true), on(v6, false)].into_iter().flatten().collect());
    };
    let address: std::net::IpAddr = text.parse().map_err(|_| SettingsError {
        key: "listen_address",
        value: text.clone(),
        wrong: "no IP address",
        example: "0.0.0.0",
    })?;
    Ok(on(address.into(), true).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_listens_on_tcp_and_quic() {
        let network = P2pNetwork {
            listen_port: 9_000,
            listen_address: Some("127.0.7.1".to_owned()),
            ..P2pNetwork::default()
        };
        let found: Vec<_> = listen(&network)
            .unwrap()
            .into_iter()
            .map(|one| one.address.to_string())
            .collect();
        assert_eq!(found, ["/ip4/127.0.7.1/tcp/9000", "/ip4/127.0.7.1/udp/9000/quic-v1"]);
        let everywhere = listen(&P2pNetwork {
            listen_address: None,
            ..network
        });
        assert_eq!(everywhere.unwrap().iter().filter(|one| one.required).count(), 2);
    }

    #[test]
    fn what_is_no_address_is_named() {
        let error = addresses("bootstrap_nodes", &["operator.example:9000".to_owned()]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("bootstrap_nodes: \"operator.example:9000\" is no multiaddress"),
            "{error}"
        );
    }
}
