//! The swarm: transports, and the protocols that run on each connection.

use std::time::Duration;

use anyhow::Context as _;
use libp2p::allow_block_list::{self, AllowedPeers, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Swarm, SwarmBuilder, autonat, dcutr, identify, kad, mdns, noise, ping, relay, tcp, upnp, yamux};

use super::gossip::{self, Gossip};
use crate::settings::{Discovery, Settings};
use crate::wire::v2::{self, ExchangeCodec};

/// Connections from others. Beyond it they are refused; connections to others have slots of their own, so that nobody can
/// surround a node by filling it up.
const MAX_INBOUND: u32 = 160;
/// Connections to others.
const MAX_OUTBOUND: u32 = 96;
/// Connections to one peer: one each way, and a spare for moving from a relay to a direct one.
const MAX_PER_PEER: u32 = 3;
/// Handshakes under way, each way.
const MAX_PENDING: u32 = 64;
/// A connection that no protocol uses is closed after so long.
const IDLE: Duration = Duration::from_secs(120);
/// Time for an answer to a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Streams of questions at once on one connection.
const MAX_QUESTIONS: usize = 16;
/// Time between two pings; one that fails closes the connection.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Bytes that one relayed connection may carry through this node, and how long: enough for gossip until the two have found a
/// direct way. Then it is closed, and they may ask again.
const RELAYED_BYTES: u64 = 64 * 1024 * 1024;
const RELAYED_TIME: Duration = Duration::from_secs(3_600);

/// All protocols.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    /// The only peers that may connect, where the configuration names them.
    pub(super) allowed: Toggle<allow_block_list::Behaviour<AllowedPeers>>,
    /// Peers that are turned away for a while, before any protocol runs with them.
    pub(super) banned: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) gossip: Gossip,
    pub(super) exchange: request_response::Behaviour<ExchangeCodec>,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) table: Toggle<kad::Behaviour<MemoryStore>>,
    /// Being reached through others.
    pub(super) relay: relay::client::Behaviour,
    /// Letting others be reached through this node.
    pub(super) relaying: Toggle<relay::Behaviour>,
    pub(super) dcutr: Toggle<dcutr::Behaviour>,
    pub(super) reachable: Toggle<autonat::v2::client::Behaviour>,
    pub(super) prober: Toggle<autonat::v2::server::Behaviour>,
    pub(super) upnp: Toggle<upnp::tokio::Behaviour>,
}

/// A swarm that listens on nothing yet.
pub(super) fn swarm(keys: Keypair, settings: &Settings) -> anyhow::Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_existing_identity(keys)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .context("cannot set up TCP")?
        .with_quic()
        .with_dns()
        .context("cannot read the resolver's configuration (/etc/resolv.conf)")?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .context("cannot set up relayed connections")?
        .with_behaviour(|keys, relay| Ok(behaviour(keys, relay, settings)?))
        .map_err(|error| anyhow::anyhow!("cannot set up the protocols: {error}"))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE)
                .with_max_negotiating_inbound_streams(64)
        })
        .build();
    Ok(swarm)
}

fn behaviour(keys: &Keypair, relay: relay::client::Behaviour, settings: &Settings) -> anyhow::Result<Behaviour> {
    let local = keys.public().to_peer_id();
    let remote = matches!(settings.discovery, Discovery::Remote { .. });
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING))
        .with_max_pending_outgoing(Some(MAX_PENDING))
        .with_max_established_incoming(Some(MAX_INBOUND))
        .with_max_established_outgoing(Some(MAX_OUTBOUND))
        .with_max_established_per_peer(Some(MAX_PER_PEER));
    let identify = identify::Config::new(v2::NETWORK.to_owned(), keys.public())
        .with_agent_version(format!("wavs-node/{}", env!("CARGO_PKG_VERSION")))
        .with_push_listen_addr_updates(true);
    let mdns = (!remote)
        .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), local))
        .transpose()
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "multicast DNS cannot be used; only listed peers will be found");
            None
        });
    let exchange = request_response::Config::default()
        .with_request_timeout(ANSWER_LIMIT)
        .with_max_concurrent_streams(MAX_QUESTIONS);
    // A node with told addresses has no router to ask; on a loopback address there is none.
    let asks_router = remote && settings.external.is_empty() && settings.listen.iter().any(|one| !one.required);
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        allowed: allowed(settings).into(),
        banned: allow_block_list::Behaviour::default(),
        gossip: gossip::behaviour(&settings.discovery)?,
        exchange: request_response::Behaviour::new([(v2::EXCHANGE, ProtocolSupport::Full)], exchange),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL)),
        mdns: mdns.into(),
        table: remote.then(|| table(local)).into(),
        relay,
        // Whoever says under which address it is reached can lend others a way.
        relaying: (remote && !settings.external.is_empty())
            .then(|| relay::Behaviour::new(local, relaying()))
            .into(),
        dcutr: remote.then(|| dcutr::Behaviour::new(local)).into(),
        reachable: remote.then(autonat::v2::client::Behaviour::default).into(),
        prober: remote.then(autonat::v2::server::Behaviour::default).into(),
        upnp: asks_router.then(upnp::tokio::Behaviour::default).into(),
    })
}

/// The list of those who may connect; nothing when everybody may.
fn allowed(settings: &Settings) -> Option<allow_block_list::Behaviour<AllowedPeers>> {
    if settings.allowed.is_empty() {
        return None;
    }
    let mut allowed = allow_block_list::Behaviour::<AllowedPeers>::default();
    for peer in settings.trusted() {
        allowed.allow_peer(peer);
    }
    Some(allowed)
}

/// How much of this node others may use to be reached; the number of them is the library's default.
fn relaying() -> relay::Config {
    relay::Config {
        max_circuit_bytes: RELAYED_BYTES,
        max_circuit_duration: RELAYED_TIME,
        ..relay::Config::default()
    }
}

/// The table of peers. It stores nothing for anybody, and only learns what identify has told and this node would dial.
fn table(local: libp2p::PeerId) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(v2::TABLE);
    config
        .set_query_timeout(Duration::from_secs(20))
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_periodic_bootstrap_interval(None);
    let mut table = kad::Behaviour::with_config(local, MemoryStore::new(local), config);
    table.set_mode(Some(kad::Mode::Server));
    table
}
