//! `/healthz` and `/readyz`: whether the API is alive, and whether the node can do its work. No probe reaches a chain.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wavs_ipc::contract::lifecycle::Health;
use wavs_service::ProcessName;

use super::processes::STATUS;
use crate::http::access::{self, Peer};
use crate::http::api::Api;
use crate::supervise::snapshot::ProcessState;

/// One condition of readiness.
struct Check {
    name: String,
    ok: bool,
    detail: Option<String>,
}

/// The API answers.
pub async fn alive() -> &'static str {
    "ok"
}

/// 200 when every process runs and none of them says that something is missing.
pub async fn ready(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let snapshots = api.processes();
    let checks = futures::future::join_all(
        snapshots
            .iter()
            .map(|snapshot| check(&api, snapshot.name, snapshot.state)),
    )
    .await;
    let ready = !checks.is_empty() && checks.iter().all(|check| check.ok);
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
        .map(|check| json!({"name": check.name, "ok": check.ok, "detail": check.detail}))
        .collect();
    (status, Json(json!({"ready": ready, "checks": checks})))
}

async fn check(api: &Api, name: &'static str, state: ProcessState) -> Check {
    let check = |ok: bool, detail: Option<String>| Check {
        name: format!("process:{name}"),
        ok,
        detail,
    };
    if state != ProcessState::Running {
        return check(false, Some(state.as_str().to_owned()));
    }
    let Some(process) = ProcessName::ALL.into_iter().find(|process| process.full() == name) else {
        return check(true, None);
    };
    match api
        .lifecycle(process, STATUS, async |client, context| client.status(context).await)
        .await
    {
        Err(error) => check(false, Some(error.error().detail.clone())),
        Ok(status) => match status.health {
            Health::Running => check(true, None),
            Health::Degraded { reasons } => check(false, Some(reasons.join("; "))),
            Health::Draining => check(false, Some("draining".into())),
        },
    }
}
