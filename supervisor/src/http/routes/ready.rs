//! `/healthz` and `/readyz`: whether the API is alive, and whether the node can do its work. No probe reaches a chain.
//!
//! A node is ready when every process runs, every part that a process reports on (its store, its keys) works, and every chain that
//! something is watched on has a connection and is not too far behind.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wavs_ipc::contract::lifecycle::{Health, PartCheck};
use wavs_ipc::contract::trigger_admin::ChainStatus;
use wavs_service::ProcessName;

use super::processes::STATUS;
use crate::http::access::{self, Peer};
use crate::http::api::{Api, READ};
use crate::supervise::snapshot::ProcessState;

/// The conditions of readiness by name, each with what is wrong.
type Checks = BTreeMap<String, Option<String>>;

/// The API answers.
pub async fn alive() -> &'static str {
    "ok"
}

/// 200 when the node can do its work.
pub async fn ready(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let checks = checks(&api).await;
    let ready = !checks.is_empty() && checks.values().all(Option::is_none);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if !access::may_read(&api.settings(), peer, &headers) {
        return (status, Json(json!({"ready": ready})));
    }
    let checks: Vec<Value> = checks
        .into_iter()
        .map(|(name, fault)| json!({"name": name, "ok": fault.is_none(), "detail": fault}))
        .collect();
    (status, Json(json!({"ready": ready, "checks": checks})))
}

async fn checks(api: &Api) -> Checks {
    let snapshots = api.processes();
    let processes = snapshots
        .iter()
        .map(|snapshot| process(api, snapshot.name, snapshot.state));
    let (parts, chains) = tokio::join!(futures::future::join_all(processes), followed(api));
    let mut checks: Checks = parts.into_iter().flatten().collect();
    let limit = api.settings().max_lag_blocks;
    // What trigger-svc says of a chain in numbers is more than what it says in its health.
    checks.extend(
        chains
            .iter()
            .map(|chain| (format!("chain:{}", chain.chain), behind(chain, limit))),
    );
    checks
}

/// A process and its parts.
async fn process(api: &Api, name: &'static str, state: ProcessState) -> Vec<(String, Option<String>)> {
    let one = |fault: Option<String>| (format!("process:{name}"), fault);
    if state != ProcessState::Running {
        return vec![one(Some(state.as_str().to_owned()))];
    }
    let Some(process) = ProcessName::ALL.into_iter().find(|process| process.full() == name) else {
        return vec![one(None)];
    };
    let said = api
        .lifecycle(process, STATUS, async |client, context| client.status(context).await)
        .await;
    match said {
        Err(error) => vec![one(Some(error.error().detail.clone()))],
        Ok(status) => {
            let draining = (status.health == Health::Draining).then(|| "draining".to_owned());
            let parts = status.checks.into_iter().map(|PartCheck { name, fault }| (name, fault));
            std::iter::once(one(draining)).chain(parts).collect()
        }
    }
}

/// The chains that something is watched on. When trigger-svc does not answer, that is a check of its own.
async fn followed(api: &Api) -> Vec<ChainStatus> {
    let chains = api
        .triggers(READ, async |client, context| client.chains(context).await)
        .await;
    let mut chains = chains.unwrap_or_default();
    chains.retain(|chain| chain.followed);
    chains
}

/// What keeps a chain from being followed closely.
fn behind(chain: &ChainStatus, limit: u64) -> Option<String> {
    if !chain.connected {
        let why = chain.last_error.as_deref().unwrap_or("not connected yet");
        return Some(format!("no endpoint: {why}"));
    }
    let lag = chain.lag.filter(|lag| *lag > limit)?;
    Some(format!("{lag} blocks behind, more than ready.max_lag_blocks = {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_ready_when_it_is_followed_closely() {
        let mut chain = ChainStatus::idle("evm:1".parse().unwrap(), "latest", std::iter::empty());
        assert_eq!(behind(&chain, 64).unwrap(), "no endpoint: not connected yet");
        chain.last_error = Some("timeout".into());
        assert_eq!(behind(&chain, 64).unwrap(), "no endpoint: timeout");
        chain.connected = true;
        assert_eq!(behind(&chain, 64), None, "nothing is known of the head yet");
        for (lag, ready) in [(0, true), (64, true), (65, false)] {
            chain.lag = Some(lag);
            assert_eq!(behind(&chain, 64).is_none(), ready, "{lag}");
        }
    }
}
