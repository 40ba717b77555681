//! `/v1/processes/{name}/restart`, `/v1/config/reload` and `/v1/logs`: for the admin socket only.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use wavs_service::ProcessName;

use super::processes;
use crate::control::RestartError;
use crate::http::api::Api;
use crate::http::body::JsonBody;
use crate::http::problem::Problem;
use crate::reload::Report;

/// Body of a restart.
#[derive(Debug, Default, Deserialize)]
pub struct Restart {
    #[serde(default)]
    mode: Mode,
}

/// How the running incarnation ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// It finishes what runs.
    #[default]
    Drain,
    /// At once.
    Kill,
}

/// Starts another incarnation of a process.
pub async fn restart(
    State(api): State<Api>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<Restart>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if name == "supervisor" {
        let detail = "The supervisor cannot restart itself; stop the node and start it again, or restart its unit";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", detail));
    }
    let process = ProcessName::ALL
        .into_iter()
        .find(|process| process.full() == name)
        .ok_or_else(|| processes::unknown(&name))?;
    api.control()
        .restart(process, body.mode == Mode::Kill)
        .await
        .map_err(problem)?;
    let body = json!({"name": process.full(), "mode": if body.mode == Mode::Kill { "kill" } else { "drain" }});
    Ok((StatusCode::ACCEPTED, Json(body)))
}

/// Reads the configuration again and says what became of it.
pub async fn reload(State(api): State<Api>) -> Json<Report> {
    Json(api.control().reload().await)
}

/// What to show of the log.
#[derive(Debug, Deserialize)]
pub struct Tail {
    process: Option<String>,
    level: Option<String>,
    /// First line number.
    #[serde(default)]
    since: u64,
    #[serde(default = "usual_lines")]
    limit: usize,
}

/// Lines of one answer, unless asked otherwise.
fn usual_lines() -> usize {
    200
}

/// Most lines of one answer.
const MOST_LINES: usize = 1_000;

/// The end of the log of the processes. `next_since` continues behind it.
pub async fn logs(State(api): State<Api>, Query(query): Query<Tail>) -> Result<Json<Value>, Problem> {
    let Some(tail) = api.tail() else {
        let detail = "systemd keeps the log: journalctl -u 'wavs-*' -o cat";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", detail));
    };
    let limit = query.limit.clamp(1, MOST_LINES);
    let lines = tail.lines(query.process.as_deref(), query.level.as_deref(), query.since, limit);
    let next = lines.last().map_or(query.since, |line| line.seq + 1);
    let items = lines.into_iter().map(|line| {
        // A panic or the like is text.
        let event: Value = serde_json::from_str(&line.text).unwrap_or_else(|_| json!({"message": line.text}));
        json!({"seq": line.seq, "process": line.process, "event": event})
    });
    Ok(Json(json!({"items": items.collect::<Vec<_>>(), "next_since": next})))
}

fn problem(error: RestartError) -> Problem {
    match &error {
        RestartError::Disabled(_) | RestartError::OwnedBySystemd(_) => {
            Problem::new(StatusCode::CONFLICT, "conflict", error.to_string())
        }
        RestartError::Silent { process, detail } => Problem::process_down(process.full(), detail.clone()),
        RestartError::Stopping => Problem::process_down("supervisor", error.to_string()),
    }
}
