//! `/v1/chains`: how each chain is followed, by which endpoints, how far this node is on it, and what its account there has.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use wavs_ipc::contract::registry::{ChainAccount, ChainEndpoint};
use wavs_ipc::contract::trigger_admin::{ChainStatus, EndpointState, EndpointStatus};
use wavs_types::{ChainKey, EvmAddress};

use super::service_ref;
use super::services::resource;
use crate::http::api::{Api, CallError, READ};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time::optional_ms;

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Part {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A page of chains, ascending by key.
pub async fn list(State(api): State<Api>, Query(part): Query<Part>) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(part.limit)?;
    let after: Option<ChainKey> = page::optional("cursor", part.cursor.as_deref())?;
    let rows = rows(&api).await?;
    let wanted = rows
        .into_iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
        .take(limit as usize + 1);
    let page = Page::cut(wanted.collect(), limit, |(key, _): &(ChainKey, Value)| key.to_string());
    Ok(Json(page.map(|(_, row)| row)))
}

/// One chain.
pub async fn show(State(api): State<Api>, Path(chain): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let key: ChainKey = service_ref::parse("chain key", &chain)?;
    let row = rows(&api).await?.remove(&key);
    let missing = || Problem::missing("chain-not-configured", format!("missing chain config for {key}"));
    Ok(resource(&row.ok_or_else(missing)?, &headers))
}

/// The chains of the node; of what a process cannot tell now there are no figures.
async fn rows(api: &Api) -> Result<BTreeMap<ChainKey, Value>, Problem> {
    let (configured, accounts, followed) = tokio::join!(
        api.registry(READ, async |client, context| client.chains(context).await),
        api.registry(READ, async |client, context| client.chain_accounts(context).await),
        api.triggers(READ, async |client, context| client.chains(context).await),
    );
    let followed = by_chain(followed, |status| &status.chain);
    let accounts = by_chain(accounts, |account| &account.chain);
    let mut keys: BTreeSet<ChainKey> = configured?.into_iter().map(|(key, _)| key).collect();
    keys.extend(followed.keys().cloned());
    Ok(keys
        .into_iter()
        .map(|key| {
            let row = view(&key, followed.get(&key), accounts.get(&key));
            (key, row)
        })
        .collect())
}

fn by_chain<T>(said: Result<Vec<T>, CallError>, chain: impl Fn(&T) -> &ChainKey) -> BTreeMap<ChainKey, T> {
    let rows = said.unwrap_or_else(|error| {
        tracing::debug!(error = %error.error(), "chains are shown without what one process knows");
        Vec::new()
    });
    rows.into_iter().map(|row| (chain(&row).clone(), row)).collect()
}

fn view(key: &ChainKey, status: Option<&ChainStatus>, account: Option<&ChainAccount>) -> Value {
    let gaps = status.map(|status| {
        let gaps = status.gaps.iter();
        gaps.map(|gap| json!({"from": gap.from, "to": gap.to, "reason": gap.reason}))
            .collect::<Vec<_>>()
    });
    json!({
        "chain": key.as_str(),
        "followed": status.is_some_and(|status| status.followed),
        "connected": status.is_some_and(|status| status.connected),
        "finality": status.map(|status| status.finality.as_str()),
        "head": status.and_then(|status| status.head),
        "processed": status.and_then(|status| status.processed),
        "lag": status.and_then(|status| status.lag),
        "last_event_at": optional_ms(status.and_then(|status| status.last_event_at_ms)),
        "reconnects": status.map(|status| status.reconnects),
        "gaps": gaps.unwrap_or_default(),
        "last_error": status.and_then(|status| status.last_error.as_deref()),
        "endpoints": status.map(|status| status.endpoints.iter().map(endpoint).collect::<Vec<_>>()).unwrap_or_default(),
        "balance": account.and_then(|account| account.balance.as_deref()),
        "account": account.map(posting),
    })
}

/// The account that posts to a chain, and the endpoints that it is posted through. Amounts are in wei.
fn posting(account: &ChainAccount) -> Value {
    json!({
        "address": account.account.map(|address| EvmAddress::from(address).to_checksum(None)),
        "balance": account.balance,
        "typical_cost": account.typical_cost,
        "funds": account.funds,
        "pending": account.pending,
        "nonce_gap": account.nonce_gap,
        "endpoints": account.endpoints.iter().map(posting_endpoint).collect::<Vec<_>>(),
    })
}

fn posting_endpoint(endpoint: &ChainEndpoint) -> Value {
    json!({
        "endpoint": endpoint.endpoint,
        "state": endpoint.state,
        "latency_ms": endpoint.latency_us.map(in_ms),
        "head": endpoint.head,
        "last_error": endpoint.last_fault,
        "failures": endpoint.faults,
    })
}

fn endpoint(endpoint: &EndpointStatus) -> Value {
    json!({
        "url": endpoint.url,
        "state": state(endpoint.state),
        "latency_ms": endpoint.latency_us.map(in_ms),
        "head": endpoint.head,
        "last_error": endpoint.last_error,
        "last_error_at": optional_ms(endpoint.last_error_at_ms),
        "failures": endpoint.failures,
    })
}

fn in_ms(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64() * 1_000.0
}

fn state(state: EndpointState) -> &'static str {
    match state {
        EndpointState::Idle => "idle",
        EndpointState::Connecting => "connecting",
        EndpointState::Active => "active",
        EndpointState::Backoff => "backoff",
        EndpointState::WrongChain => "wrong_chain",
    }
}
