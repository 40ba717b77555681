//! `GET /config`: the effective configuration with every secret masked, and the chains as they are now.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use wavs_service::config::RedactedConfig;
use wavs_types::{ChainConfig, ChainKey};

use crate::http::api::{Api, READ};

/// The configuration. Without aggregator-svc the chains are those of the start.
pub async fn show(State(api): State<Api>) -> Response {
    let config = RedactedConfig::clone(&api.config());
    let config = match api
        .registry(READ, async |client, context| client.chains(context).await)
        .await
    {
        Err(_) => config,
        Ok(chains) => {
            // What does not decode comes from a newer build; the others are still worth showing.
            let live = chains
                .into_iter()
                .filter_map(|(key, chain)| Some((key, chain.decode().ok()?)));
            config.with_chains(&live.collect::<BTreeMap<ChainKey, ChainConfig>>())
        }
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(config)).into_response()
}

/// The keys of the configured chains, such as `evm:31337`.
#[must_use]
pub fn chain_keys(config: &RedactedConfig) -> Vec<String> {
    let config = serde_json::to_value(config).unwrap_or_default();
    let namespaces = config.get("chains").and_then(Value::as_object).into_iter().flatten();
    namespaces
        .filter_map(|(namespace, chains)| chains.as_object().map(|chains| (namespace, chains)))
        .flat_map(|(namespace, chains)| chains.keys().map(move |id| format!("{namespace}:{id}")))
        .collect()
}
