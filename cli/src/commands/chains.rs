//! `chains`: the node's chains, from its configuration and its health.

use serde::Serialize;
use serde_json::Value;

use super::deploy::text;
use crate::failure::Failure;
use crate::output::lines;
use crate::session::Session;

/// One chain of the node.
#[derive(Debug, Serialize)]
struct Chain {
    chain: String,
    state: &'static str,
    error: Option<String>,
    config: Value,
}

pub(super) async fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let node = session.node()?;
    let (config, health) = tokio::try_join!(node.get(&["config"], &[]), node.get(&["health"], &[]))?;
    let chains = chains(&config, &health);
    session.result(&chains, |style| {
        let mut table = style.table(&["chain", "state", "endpoint", "error"]);
        for chain in &chains {
            let error = chain.error.clone().unwrap_or_default();
            table.add_row(vec![
                chain.chain.clone().into(),
                style.state(chain.state),
                endpoint(&chain.config).into(),
                error.into(),
            ]);
        }
        lines(&table)
    })
}

/// Every chain that the node is configured for; one without a probe yet is `unknown`.
fn chains(config: &Value, health: &Value) -> Vec<Chain> {
    let namespaces = config.get("chains").and_then(Value::as_object).into_iter().flatten();
    let configured = namespaces.flat_map(|(namespace, chains)| {
        let chains = chains.as_object().into_iter().flatten();
        chains.map(move |(id, config)| (format!("{namespace}:{id}"), config.clone()))
    });
    configured
        .map(|(chain, config)| {
            let (state, error) = health_of(health, &chain);
            Chain {
                chain,
                state,
                error,
                config,
            }
        })
        .collect()
}

/// The state of a chain in an answer of `/health`, with what is wrong.
pub(super) fn health_of(health: &Value, chain: &str) -> (&'static str, Option<String>) {
    match health.get("chains").and_then(|chains| chains.get(chain)) {
        None => ("unknown", None),
        Some(Value::String(word)) if word == "healthy" => ("healthy", None),
        Some(other) => (
            "unhealthy",
            Some(
                other
                    .get("unhealthy")
                    .map_or_else(|| other.to_string(), |why| text(why, "error")),
            ),
        ),
    }
}

fn endpoint(config: &Value) -> String {
    let first = config
        .get("ws_endpoints")
        .and_then(Value::as_array)
        .and_then(|endpoints| endpoints.first()?.as_str());
    let other = ["http_endpoint", "rpc_endpoint"]
        .iter()
        .find_map(|name| config.get(name).and_then(Value::as_str));
    first.or(other).unwrap_or("-").to_owned()
}
