//! `GET /v1/node`: what this node is, where it listens, and what its configuration lacks.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use wavs_ipc::BuildId;

use super::config::chain_keys;
use crate::http::api::{Api, READ};
use crate::http::time::rfc3339;

/// The node. What a process that is down would tell is left out.
pub async fn show(State(api): State<Api>) -> Json<Value> {
    let (chains, network) = tokio::join!(
        api.registry(READ, async |client, context| client.chains(context).await),
        api.p2p(READ, async |client, context| client.network_status(context).await),
    );
    let chains: Vec<String> = match chains {
        Ok(chains) => chains.into_iter().map(|(key, _)| key.to_string()).collect(),
        Err(_) => chain_keys(&api.config()),
    };
    let peer_id = network.ok().and_then(|network| network.local_peer_id);
    let config = serde_json::to_value(&*api.config()).unwrap_or_default();
    let is_set = |key: &str| config.get(key).is_some_and(|value| !value.is_null());
    let started_at = crate::proc_stats::started_at();
    Json(json!({
        "name": "wavs",
        "version": env!("CARGO_PKG_VERSION"),
        "build": BuildId::CURRENT.to_string(),
        "started_at": rfc3339(started_at),
        "uptime_s": started_at.elapsed().unwrap_or_default().as_secs(),
        "node_id": peer_id,
        "p2p_peer_id": peer_id,
        "listeners": {
            "http": format!("{}:{}", config["host"].as_str().unwrap_or_default(), config["port"]),
            "admin_socket": api.admin_socket().display().to_string(),
        },
        "chains": chains,
        "signing_key_configured": is_set("signing_mnemonic"),
        "posting_key_configured": is_set("aggregator_evm_credential"),
        "dev_endpoints": api.settings().dev_endpoints,
        "warnings": warnings(&api, &is_set),
    }))
}

/// What an operator should know about the configuration.
fn warnings(api: &Api, is_set: &impl Fn(&str) -> bool) -> Vec<&'static str> {
    let settings = api.settings();
    let local = settings
        .host
        .parse::<std::net::IpAddr>()
        .map_or(settings.host == "localhost", |address| address.is_loopback());
    let all = [
        (
            !local && settings.tokens.is_empty(),
            "the API listens beyond this machine without a token: set bearer_token",
        ),
        (
            !is_set("signing_mnemonic"),
            "no signing_mnemonic: no service can be added",
        ),
        (
            !is_set("aggregator_evm_credential"),
            "no aggregator_evm_credential: this node never posts to EVM chains",
        ),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect()
}
