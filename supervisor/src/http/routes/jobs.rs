//! `/v1/jobs`: one job per occurrence of a trigger, newest first.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use ulid::Ulid;
use wavs_ipc::contract::registry::{EventView, JobQuery, JobView, MAX_JOB_ROWS, TargetView};

use super::service_ref;
use super::services::resource;
use crate::http::api::{Api, READ};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time::{self, rfc3339_ms};

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    service_id: Option<String>,
    workflow_id: Option<String>,
    state: Option<String>,
    event_id: Option<String>,
    trigger_type: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A page of jobs.
pub async fn list(State(api): State<Api>, Query(filter): Query<Filter>) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(filter.limit)?.min(MAX_JOB_ROWS - 1);
    let query = JobQuery {
        job: None,
        service_id: page::optional("service_id", filter.service_id.as_deref())?,
        workflow_id: page::optional("workflow_id", filter.workflow_id.as_deref())?,
        state: filter.state,
        event_id: page::optional("event_id", filter.event_id.as_deref())?,
        trigger_kind: filter.trigger_type,
        since_ms: time::parse("since", filter.since.as_deref())?,
        until_ms: time::parse("until", filter.until.as_deref())?,
        before: filter.cursor.as_deref().map(job_id).transpose()?,
        max: limit + 1,
    };
    let jobs = api
        .registry(READ, async |client, context| client.jobs(context, query).await)
        .await?;
    Ok(Json(Page::cut(jobs, limit, |job| Ulid(job.job).to_string()).map(view)))
}

/// One job with its timeline.
pub async fn show(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let query = JobQuery {
        job: Some(job_id(&id)?),
        max: 1,
        ..JobQuery::default()
    };
    let jobs = api
        .registry(READ, async |client, context| client.jobs(context, query).await)
        .await?;
    let missing = || Problem::missing("not-found", format!("The job {id} was not found"));
    let job = jobs.into_iter().next().ok_or_else(missing)?;
    Ok(resource(&view(job), &headers))
}

/// A job id of a path or a query.
pub(super) fn job_id(text: &str) -> Result<u128, Problem> {
    service_ref::parse::<Ulid>("job id", text).map(|id| id.0)
}

/// A job as all routes under `/v1` show it.
pub(super) fn view(job: JobView) -> Value {
    let event_ids: Vec<String> = job.events.iter().map(|event| event.event_id.to_string()).collect();
    let timeline: Vec<Value> = job
        .timeline
        .into_iter()
        .map(|(step, at_us)| json!({"step": step, "at": rfc3339_ms(at_us / 1000), "at_us": at_us}))
        .collect();
    json!({
        "job_id": Ulid(job.job).to_string(),
        "service_id": job.service_id.to_string(),
        "workflow_id": job.workflow_id.as_str(),
        "trigger_type": job.trigger_kind,
        "source": job.source_key,
        "event_ids": event_ids,
        "service_hash": job.service_digest.to_string(),
        "attempts": job.attempts,
        "state": job.state,
        "created_at": rfc3339_ms(job.created_at_ms),
        "updated_at": rfc3339_ms(job.updated_at_ms),
        "error": job.error,
        "events": job.events.into_iter().map(event).collect::<Vec<_>>(),
        "timeline": timeline,
    })
}

fn event(event: EventView) -> Value {
    json!({
        "event_id": event.event_id.to_string(),
        "state": event.state,
        "digest": format!("0x{}", hex::encode(event.digest)),
        "error": event.error,
        "targets": event.targets.into_iter().map(target).collect::<Vec<_>>(),
    })
}

fn target(target: TargetView) -> Value {
    json!({
        "chain": target.chain.as_str(),
        "handler": target.handler,
        "state": target.state,
        "tx": target.tx,
        "error": target.error,
    })
}
