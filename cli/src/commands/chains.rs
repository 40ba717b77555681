//! `chains`: the node's chains, how they are followed, and what the posting account has there.

use alloy::primitives::U256;
use alloy::primitives::utils::format_ether;
use serde_json::Value;

use super::deploy::text;
use super::services::items;
use crate::failure::Failure;
use crate::output::lines;
use crate::session::Session;

pub(super) async fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let page = session.node()?.get(&["v1", "chains"], &[]).await?;
    session.result(&page, |style| {
        let mut table = style.table(&[
            "chain",
            "state",
            "head",
            "lag",
            "endpoint",
            "reconnects",
            "balance",
            "error",
        ]);
        for item in items(&page) {
            let [chain, head, lag, reconnects] =
                ["chain", "head", "lag", "reconnects"].map(|field| text(item, field).into());
            let error = item.get("last_error").and_then(Value::as_str).unwrap_or_default();
            // An error that is over is history, not news.
            let error = if state(item) == "connected" { "" } else { error };
            table.add_row(vec![
                chain,
                style.state(state(item)),
                head,
                lag,
                endpoint(item).into(),
                reconnects,
                balance(item).into(),
                error.into(),
            ]);
        }
        lines(&table)
    })
}

/// What the posting account has in the unit of the chain, and what is wrong with that.
fn balance(chain: &Value) -> String {
    let wei = chain.get("balance").and_then(Value::as_str);
    let Some(wei) = wei.and_then(|wei| wei.parse::<U256>().ok()) else {
        return "-".to_owned();
    };
    let amount = format_ether(wei);
    let amount = amount.trim_end_matches('0').trim_end_matches('.');
    match chain.pointer("/account/funds").and_then(Value::as_str) {
        None | Some("ok" | "unknown") => amount.to_owned(),
        Some(fault) => format!("{amount} ({fault})"),
    }
}

fn state(chain: &Value) -> &'static str {
    let is = |name: &str| chain.get(name).and_then(Value::as_bool).unwrap_or(false);
    match (is("followed"), is("connected")) {
        (_, true) => "connected",
        (true, false) => "disconnected",
        (false, false) => "idle",
    }
}

/// The endpoint in use, else the preferred one.
fn endpoint(chain: &Value) -> String {
    let endpoints = || chain.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    let active = endpoints().find(|endpoint| text(endpoint, "state") == "active");
    let shown = active.or_else(|| endpoints().next());
    shown.map_or_else(|| "-".to_owned(), |endpoint| text(endpoint, "url"))
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
