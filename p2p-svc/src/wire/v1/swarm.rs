//! The swarm of the bridge: what nodes of generation 1 speak, and no more.

use std::time::Duration;

use anyhow::Context as _;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    AllowAllSubscriptionFilter, ConfigBuilder, IdentityTransform, MaxCountSubscriptionFilter, MessageAuthenticity,
    ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Swarm, SwarmBuilder, gossipsub, identify, noise, tcp, yamux};

use super::{CATCH_UP, CatchUpCodec, NETWORK, message_id};

/// Connections from others. Beyond it they are refused; the listed nodes have slots of their own.
const MAX_INBOUND: u32 = 48;
/// Connections to listed nodes.
const MAX_OUTBOUND: u32 = 64;
/// Connections to one peer: one each way.
const MAX_PER_PEER: u32 = 2;
/// Handshakes under way, each way.
const MAX_PENDING: u32 = 32;
/// Topics of one peer; deployed nodes have one per service. A peer beyond it is not followed to the further ones.
const MAX_TOPICS: usize = 1_024;
/// Bytes of one frame, as deployed nodes have it.
const MAX_FRAME: usize = 65_536;

type Gossip = gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;

/// All protocols.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) gossip: Gossip,
    pub(super) catch_up: request_response::Behaviour<CatchUpCodec>,
    identify: identify::Behaviour,
}

/// A swarm that listens on nothing yet, with an identity of its own: the one of our own generation means something else.
pub(super) fn swarm(answer_limit: Duration) -> anyhow::Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .context("cannot set up TCP for the bridge")?
        .with_dns()
        .context("cannot read the resolver's configuration (/etc/resolv.conf)")?
        .with_behaviour(|keys| Ok(behaviour(keys, answer_limit)?))
        .map_err(|error| anyhow::anyhow!("cannot set up the protocols of the bridge: {error}"))?
        .build();
    Ok(swarm)
}

fn behaviour(keys: &Keypair, answer_limit: Duration) -> anyhow::Result<Behaviour> {
    // The parameters of deployed nodes, except that the bridge looks at a message before it sends it on.
    let config = ConfigBuilder::default()
        .heartbeat_interval(Duration::from_secs(1))
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .duplicate_cache_time(Duration::from_secs(60))
        .history_length(5)
        .history_gossip(3)
        .mesh_n(6)
        .mesh_n_low(4)
        .mesh_n_high(12)
        .flood_publish(true)
        .max_transmit_size(MAX_FRAME)
        .build()
        .map_err(|error| anyhow::anyhow!("gossip parameters of the bridge: {error}"))?;
    let filter = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: MAX_TOPICS,
        max_subscriptions_per_request: MAX_TOPICS,
    };
    let gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Signed(keys.clone()), config, filter)
        .map_err(|error| anyhow::anyhow!("gossip of the bridge: {error}"))?;
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING))
        .with_max_pending_outgoing(Some(MAX_PENDING))
        .with_max_established_incoming(Some(MAX_INBOUND))
        .with_max_established_outgoing(Some(MAX_OUTBOUND))
        .with_max_established_per_peer(Some(MAX_PER_PEER));
    let exchange = request_response::Config::default().with_request_timeout(answer_limit);
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        gossip,
        catch_up: request_response::Behaviour::new([(CATCH_UP, ProtocolSupport::Full)], exchange),
        identify: identify::Behaviour::new(identify::Config::new(NETWORK.to_owned(), keys.public())),
    })
}
