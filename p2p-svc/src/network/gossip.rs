//! The parameters of gossip: a proper mesh, content-addressed anonymous messages, forwarding only after judgement, scores.

use std::time::Duration;

use libp2p::gossipsub::{
    AllowAllSubscriptionFilter, Behaviour, ConfigBuilder, IdentityTransform, MaxCountSubscriptionFilter,
    MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, TopicScoreParams, ValidationMode,
};
use wavs_types::record_id;

use crate::settings::Discovery;
use crate::wire::v2;

/// Gossip with a bound on what a peer may subscribe to.
pub(super) type Gossip = Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;

/// Topics that one peer may subscribe to; a peer beyond it is not followed to the further ones.
const MAX_TOPICS_PER_PEER: usize = 1_024;
/// Bytes of one frame, which may carry several records and control messages. A larger one ends the stream.
const MAX_FRAME: usize = 65_536;
/// How long a seen record is remembered, so that late copies cost no judgement.
const SEEN: Duration = Duration::from_secs(300);
/// Peers behind one address that do not lower each other's score.
const PEERS_PER_ADDRESS: f64 = 8.0;

/// Gossip for this node.
pub(super) fn behaviour(discovery: &Discovery) -> anyhow::Result<Gossip> {
    let heartbeat = match discovery {
        Discovery::Local => Duration::from_millis(300),
        Discovery::Remote { .. } => Duration::from_millis(700),
    };
    let config = ConfigBuilder::default()
        .protocol_id_prefix(v2::GOSSIP)
        .heartbeat_interval(heartbeat)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        // The bytes alone name a record, so that it has one name whoever relays it.
        .message_id_fn(|message| MessageId::new(record_id(&message.data).as_slice()))
        .max_transmit_size(MAX_FRAME)
        .duplicate_cache_time(SEEN)
        .mesh_n(6)
        .mesh_n_low(4)
        .mesh_n_high(12)
        .mesh_outbound_min(2)
        .flood_publish(true)
        .prune_backoff(Duration::from_secs(30))
        .build()
        .map_err(|error| anyhow::anyhow!("gossip parameters: {error}"))?;
    let filter = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: MAX_TOPICS_PER_PEER,
        max_subscriptions_per_request: MAX_TOPICS_PER_PEER,
    };
    let mut gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
        .map_err(|error| anyhow::anyhow!("gossip: {error}"))?;
    gossip
        .with_peer_score(scores(), thresholds())
        .map_err(|error| anyhow::anyhow!("gossip scores: {error}"))?;
    Ok(gossip)
}

fn scores() -> PeerScoreParams {
    PeerScoreParams {
        // What this node found out by itself counts as it is.
        app_specific_weight: 1.0,
        topic_score_cap: 50.0,
        ip_colocation_factor_threshold: PEERS_PER_ADDRESS,
        // Test networks and demos live on one host.
        ip_colocation_factor_whitelist: [
            std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ]
        .into(),
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -20.0,
        publish_threshold: -40.0,
        graylist_threshold: crate::conduct::BAN_SCORE,
        accept_px_threshold: 100.0,
        opportunistic_graft_threshold: 5.0,
    }
}

/// How a topic counts: delivering first is good, invalid records are bad, and silence is nothing, because a service may
/// have no events for days.
pub(super) fn topic_scores() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 1_000.0,
        first_message_deliveries_weight: 0.5,
        first_message_deliveries_decay: 0.9,
        first_message_deliveries_cap: 40.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.95,
        ..TopicScoreParams::default()
    }
}
