//! `GET /p2p/status` and `GET /v1/p2p/peers`.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use crate::http::api::{Api, READ};
use crate::http::problem::Problem;

/// The network as this node sees it.
pub async fn status(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let status = api
        .p2p(READ, async |client, context| client.network_status(context).await)
        .await?;
    let topics: Map<String, Value> = status
        .topic_peer_counts
        .into_iter()
        .map(|(topic, count)| (topic, count.into()))
        .collect();
    Ok(Json(json!({
        "enabled": status.enabled,
        "local_peer_id": status.local_peer_id,
        "listen_addresses": status.listen_addresses,
        "external_addresses": status.external_addresses,
        "connected_peers": status.connected_peers,
        "peer_ids": status.peer_ids,
        "subscribed_topics": status.subscribed_topics,
        "topic_peer_counts": topics,
    })))
}

/// The peers, best first, with what is known of each.
pub async fn peers(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let peers = api
        .p2p(READ, async |client, context| client.peers(context).await)
        .await?;
    let items: Vec<Value> = peers
        .into_iter()
        .map(|peer| {
            let operators: Vec<Value> = peer
                .operators
                .iter()
                .map(|(service_id, signer)| json!({"service_id": service_id, "signer": signer}))
                .collect();
            json!({
                "id": peer.id,
                "connected": peer.connected,
                "direction": Some(peer.direction).filter(|direction| !direction.is_empty()),
                "addresses": peer.addresses,
                "agent": peer.agent,
                "score": peer.score,
                "topics": peer.topics,
                "operators": operators,
                "round_trip_ms": peer.round_trip_ms,
                "reasons": peer.reasons,
            })
        })
        .collect();
    Ok(Json(json!({"items": items})))
}
