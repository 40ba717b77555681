//! `/v1/executions`: each run of a guest with its outcome and what it cost, newest first.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use ulid::Ulid;
use wavs_ipc::contract::records::{ExecutionQuery, ExecutionView, GuestKind, MAX_ROWS};

use super::jobs::job_id;
use crate::http::api::{Api, READ};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time::rfc3339_ms;

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    job_id: Option<String>,
    service_id: Option<String>,
    kind: Option<String>,
    outcome: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A page of runs.
pub async fn list(State(api): State<Api>, Query(filter): Query<Filter>) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(filter.limit)?.min(MAX_ROWS - 1);
    let query = ExecutionQuery {
        job: filter.job_id.as_deref().map(job_id).transpose()?,
        service_id: page::optional("service_id", filter.service_id.as_deref())?,
        kind: page::one_of(
            "kind",
            filter.kind.as_deref(),
            &["operator", "aggregator"],
            GuestKind::parse,
        )?,
        outcome: filter.outcome,
        before: page::position(filter.cursor.as_deref())?,
        max: limit + 1,
    };
    let runs = api
        .records(READ, async |client, context| client.executions(context, query).await)
        .await?;
    Ok(Json(Page::cut(runs, limit, |run| run.id.to_string()).map(view)))
}

fn view(run: ExecutionView) -> Value {
    json!({
        "execution_id": run.id,
        "service_id": run.service_id.to_string(),
        "workflow_id": run.workflow_id.as_str(),
        "digest": run.component.to_string(),
        "kind": run.kind.as_str(),
        "call": run.call,
        "job_id": run.job.map(|job| Ulid(job).to_string()),
        "event_id": run.event_id.map(|id| id.to_string()),
        "attempt": run.attempt,
        "outcome": run.outcome,
        "error": run.error,
        "ended_at": rfc3339_ms(run.ended_at_us / 1_000),
        "waited_ms": milliseconds(run.waited_us),
        "duration_ms": run.duration_us.map(milliseconds),
        "fuel": run.fuel.map(|fuel| fuel.to_string()),
        "memory_peak": run.memory_peak,
        "responses": run.responses,
        "response_bytes": run.response_bytes,
    })
}

/// Milliseconds with three decimals: a warm run takes far less than one.
fn milliseconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64() * 1_000.0
}
