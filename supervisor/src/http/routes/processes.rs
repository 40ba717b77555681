//! `/v1/processes`: the five processes, as the supervisor sees them and as they describe themselves.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use wavs_ipc::contract::lifecycle::{Health, ProcessStatus};
use wavs_service::ProcessName;

use crate::http::api::Api;
use crate::http::problem::Problem;
use crate::http::time::{rfc3339, rfc3339_ms};
use crate::proc_stats::ProcStats;
use crate::supervise::exit::Exit;
use crate::supervise::snapshot::{ProcessState, Snapshot};

/// A process that does not answer so quickly is shown without its own words.
pub(super) const STATUS: Duration = Duration::from_millis(1500);

/// All processes, the supervisor first.
pub async fn list(State(api): State<Api>) -> Json<Value> {
    let mut items = vec![supervisor()];
    let asked = ProcessName::ALL.map(|process| one(&api, process));
    items.extend(futures::future::join_all(asked).await);
    Json(json!({"items": items, "next_cursor": null}))
}

/// One process.
pub async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    if name == "supervisor" {
        return Ok(Json(supervisor()));
    }
    match ProcessName::ALL.into_iter().find(|process| process.full() == name) {
        Some(process) => Ok(Json(one(&api, process).await)),
        None => Err(unknown(&name)),
    }
}

/// There is no process of this name.
pub(super) fn unknown(name: &str) -> Problem {
    let names = ProcessName::ALL.map(ProcessName::full).join(", ");
    Problem::missing(
        "not-found",
        format!("The process {name} was not found; there are supervisor, {names}"),
    )
}

async fn one(api: &Api, process: ProcessName) -> Value {
    let said = api
        .lifecycle(process, STATUS, async |client, context| client.status(context).await)
        .await
        .ok();
    let snapshot = api
        .processes()
        .into_iter()
        .find(|snapshot| snapshot.name == process.full());
    snapshot.map_or_else(
        || json!({"name": process.full(), "state": ProcessState::Disabled.as_str(), "pid": null, "restarts": 0}),
        |snapshot| view(&snapshot, said.as_ref()),
    )
}

fn view(snapshot: &Snapshot, said: Option<&ProcessStatus>) -> Value {
    let stats = snapshot.pid.and_then(ProcStats::of);
    let (health, reasons) = match said.map(|status| &status.health) {
        None => (None, Vec::new()),
        Some(Health::Running) => (Some("running"), Vec::new()),
        Some(Health::Degraded { reasons }) => (Some("degraded"), reasons.clone()),
        Some(Health::Draining) => (Some("draining"), Vec::new()),
    };
    let state = match (snapshot.state, health) {
        (ProcessState::Running, Some("degraded")) => ProcessState::Degraded,
        (state, _) => state,
    };
    let last_exit = snapshot.last_exit.map(|last| {
        json!({
            "at": rfc3339(last.at),
            "code": last.exit.code(),
            "signal": last.exit.signal(),
            "cause": last.cause.as_str(),
            "detail": (last.exit == Exit::NotStarted).then_some("the program could not be started"),
        })
    });
    let queues = said.map(|status| {
        let queues = status.queues.iter();
        queues
            .map(|queue| json!({"name": queue.name, "depth": queue.depth, "capacity": queue.capacity}))
            .collect::<Vec<_>>()
    });
    json!({
        "name": snapshot.name,
        "state": state.as_str(),
        "health": health,
        "reasons": reasons,
        "status": snapshot.status,
        "pid": snapshot.pid,
        "version": said.map(|status| status.version.as_str()),
        "started_at": snapshot.started_at.map(rfc3339),
        "uptime_s": snapshot.started_at.and_then(uptime),
        "ready_at": said.map(|status| rfc3339_ms(status.started_at_ms)),
        "restarts": snapshot.restarts,
        "last_exit": last_exit,
        "heartbeat_age_ms": snapshot.heartbeat.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
        "rss_bytes": stats.map(|stats| stats.rss_bytes),
        "cpu_seconds": stats.map(|stats| stats.cpu_seconds),
        "open_fds": stats.and_then(|stats| stats.open_fds),
        "queues": queues.unwrap_or_default(),
        "sandbox": said.map(|status| status.sandbox.clone()).unwrap_or_default(),
        "log_lines_dropped": snapshot.log_lines_dropped,
    })
}

fn supervisor() -> Value {
    let pid = std::process::id();
    let stats = ProcStats::of(pid);
    let started_at = crate::proc_stats::started_at();
    json!({
        "name": "supervisor",
        "state": ProcessState::Running.as_str(),
        "health": "running",
        "reasons": [],
        "pid": pid,
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": rfc3339(started_at),
        "uptime_s": uptime(started_at),
        "restarts": 0,
        "last_exit": null,
        "heartbeat_age_ms": 0,
        "rss_bytes": stats.map(|stats| stats.rss_bytes),
        "cpu_seconds": stats.map(|stats| stats.cpu_seconds),
        "open_fds": stats.and_then(|stats| stats.open_fds),
        "queues": [],
        "sandbox": wavs_service::protections::in_force(),
    })
}

fn uptime(since: SystemTime) -> Option<u64> {
    since.elapsed().ok().map(|elapsed| elapsed.as_secs())
}
