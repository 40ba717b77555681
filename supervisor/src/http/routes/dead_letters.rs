//! `/v1/dead-letters`: jobs that ended without doing what they were for, and the ways to try them again or drop them.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use ulid::Ulid;
use wavs_ipc::contract::records::{DeadLetter, DeadLetterQuery, MAX_ROWS, RetryDeadLetters, Stage};
use wavs_types::ServiceId;

use super::jobs::{self, job_id};
use super::services::resource;
use crate::http::api::{Api, READ};
use crate::http::body::JsonBody;
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time;

/// Dead letters that one request retries when it does not say.
const DEFAULT_RETRIED: u32 = 100;

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    service_id: Option<String>,
    stage: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Body of a retry of many.
#[derive(Debug, Default, Deserialize)]
pub struct Retry {
    service_id: Option<ServiceId>,
    stage: Option<String>,
    max: Option<u32>,
}

/// A page of dead letters, newest job first.
pub async fn list(State(api): State<Api>, Query(filter): Query<Filter>) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(filter.limit)?.min(MAX_ROWS - 1);
    let query = DeadLetterQuery {
        job: None,
        service_id: page::optional("service_id", filter.service_id.as_deref())?,
        stage: stage(filter.stage.as_deref())?,
        since_ms: time::parse("since", filter.since.as_deref())?,
        before: filter.cursor.as_deref().map(job_id).transpose()?,
        max: limit + 1,
    };
    let letters = find(&api, query).await?;
    let page = Page::cut(letters, limit, |letter| Ulid(letter.job.job).to_string());
    Ok(Json(page.map(|letter| view(&letter))))
}

/// One dead letter with its job.
pub async fn show(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let query = DeadLetterQuery {
        job: Some(job_id(&id)?),
        max: 1,
        ..DeadLetterQuery::default()
    };
    let Some(letter) = find(&api, query).await?.into_iter().next() else {
        return Err(Problem::missing(
            "not-found",
            format!("The dead letter {id} was not found"),
        ));
    };
    let mut shown = view(&letter);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("job".into(), jobs::view(letter.job));
    }
    Ok(resource(&shown, &headers))
}

/// Tries one again.
pub async fn retry(State(api): State<Api>, Path(id): Path<String>) -> Result<(StatusCode, Json<Value>), Problem> {
    let request = RetryDeadLetters {
        job: Some(job_id(&id)?),
        max: 1,
        ..RetryDeadLetters::default()
    };
    resume(&api, request).await
}

/// Tries many again, the oldest first.
pub async fn retry_many(
    State(api): State<Api>,
    JsonBody(body): JsonBody<Retry>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let max = body.max.unwrap_or(DEFAULT_RETRIED);
    if !(1..=MAX_ROWS).contains(&max) {
        return Err(Problem::parameter(format!("max is {max}; it must be 1 to {MAX_ROWS}")));
    }
    let request = RetryDeadLetters {
        job: None,
        service_id: body.service_id,
        stage: stage(body.stage.as_deref())?,
        max,
    };
    resume(&api, request).await
}

/// Takes one off the list for good.
pub async fn drop_one(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let job = job_id(&id)?;
    api.records(READ, async |client, context| {
        client.drop_dead_letter(context, job).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(api: &Api, query: DeadLetterQuery) -> Result<Vec<DeadLetter>, Problem> {
    let letters = api
        .records(READ, async |client, context| client.dead_letters(context, query).await)
        .await?;
    Ok(letters)
}

async fn resume(api: &Api, request: RetryDeadLetters) -> Result<(StatusCode, Json<Value>), Problem> {
    let accepted = api
        .records(READ, async |client, context| {
            client.retry_dead_letters(context, request).await
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"accepted": accepted}))))
}

fn stage(text: Option<&str>) -> Result<Option<Stage>, Problem> {
    page::one_of("stage", text, &Stage::ALL.map(Stage::as_str), Stage::parse)
}

fn view(letter: &DeadLetter) -> Value {
    let job = &letter.job;
    let event_ids: Vec<String> = job.events.iter().map(|event| event.event_id.to_string()).collect();
    json!({
        "job_id": Ulid(job.job).to_string(),
        "service_id": job.service_id.to_string(),
        "workflow_id": job.workflow_id.as_str(),
        "state": job.state,
        "stage": letter.stage.as_str(),
        "error_class": letter.reason,
        "error": letter.detail,
        "attempts": job.attempts,
        "engine_deaths": letter.deaths,
        "event_ids": event_ids,
        "first_attempt_at": time::rfc3339_ms(job.created_at_ms),
        "last_attempt_at": time::rfc3339_ms(job.updated_at_ms),
        "size": letter.size,
    })
}
