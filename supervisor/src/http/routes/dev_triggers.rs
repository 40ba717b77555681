//! `/dev/triggers` and `/dev/trigger-streams`: fire a workflow by hand, and see which sources are live.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use ulid::Ulid;
use wavs_ipc::WireError;
use wavs_ipc::contract::registry::{InjectionProgress, MAX_INJECTION_WAIT_MS, ServiceView};
use wavs_ipc::contract::trigger_admin::{Inject, MAX_INJECTED};
use wavs_types::{Service, ServiceId, Trigger, TriggerConfig, TriggerData, WorkflowId};

use super::service_ref;
use crate::http::api::{Api, READ};
use crate::http::body::JsonBody;
use crate::http::problem::Problem;

/// Longest wait that a request may ask for.
pub const MAX_WAIT: Duration = Duration::from_secs(600);
/// Wait of a request that does not say.
const DEFAULT_WAIT_SECS: u64 = 60;
/// Time that a call may take beyond the wait that it asks for.
const CALL_MARGIN: Duration = Duration::from_secs(5);
/// Pause after a poll that failed because a process restarts; the injection itself is on disk.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Number of jobs that failed among those that were waited for.
const FAILED_JOBS: HeaderName = HeaderName::from_static("wavs-failed-jobs");

/// Body of `POST /dev/triggers`.
#[derive(Debug, Deserialize)]
pub struct Simulated {
    service_id: ServiceId,
    workflow_id: WorkflowId,
    trigger: Trigger,
    data: OneOrMany,
    count: Option<u32>,
    wait_for_completion: bool,
    timeout_secs: Option<u64>,
}

/// What happened, once or several times: one request with a list is much cheaper than a request for each.
#[derive(Debug)]
struct OneOrMany(Vec<TriggerData>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

/// Looks at the first byte, so that an error is about what is wrong inside and not about the choice.
struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("trigger data, or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany, A::Error> {
        TriggerData::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany)
    }
}

/// Fires triggers, past all matching: `count` copies for each of the data.
pub async fn inject(State(api): State<Api>, JsonBody(body): JsonBody<Simulated>) -> Result<Response, Problem> {
    let count = body.count.unwrap_or(1);
    let OneOrMany(data) = body.data;
    let total = u32::try_from(data.len()).unwrap_or(u32::MAX).saturating_mul(count);
    if !(1..=MAX_INJECTED).contains(&total) {
        return Err(Problem::parameter(format!(
            "count is {count} for {} data, {total} triggers in all; there must be 1 to {MAX_INJECTED}",
            data.len()
        )));
    }
    let wait_secs = body.timeout_secs.unwrap_or(DEFAULT_WAIT_SECS);
    if !(1..=MAX_WAIT.as_secs()).contains(&wait_secs) {
        return Err(Problem::parameter(format!(
            "timeout_secs is {wait_secs}; it must be 1 to {}",
            MAX_WAIT.as_secs()
        )));
    }
    let view = service_ref::service(&api, body.service_id).await?;
    check_workflow(&view, &body.workflow_id)?;
    if body.wait_for_completion && is_paused(&view) {
        let detail = "The service is paused: its triggers are discarded, so there is nothing to wait for";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", detail));
    }

    let id = Ulid::generate().0;
    let config = TriggerConfig {
        service_id: body.service_id,
        workflow_id: body.workflow_id,
        trigger: body.trigger,
    };
    let request = encoded(id, &config, &data, count).map_err(|error| Problem::internal(error.detail))?;
    api.triggers(READ, async |client, context| client.inject(context, request).await)
        .await?;
    if !body.wait_for_completion {
        return Ok(StatusCode::OK.into_response());
    }
    let progress = completion(&api, id, total, Duration::from_secs(wait_secs)).await?;
    Ok(([(FAILED_JOBS, HeaderValue::from(progress.failed))], StatusCode::OK).into_response())
}

fn encoded(id: u128, config: &TriggerConfig, data: &[TriggerData], count: u32) -> Result<Inject, WireError> {
    Ok(Inject {
        id,
        config: wavs_ipc::Json::encode(config)?,
        data: data.iter().map(wavs_ipc::Json::encode).collect::<Result<_, _>>()?,
        count,
    })
}

/// The live sources.
pub async fn streams(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let streams = api
        .triggers(READ, async |client, context| client.streams(context).await)
        .await?;
    streams
        .decode()
        .map(Json)
        .map_err(|error| Problem::internal(error.detail))
}

/// Polls until every job is signed or terminal. A process that restarts meanwhile only makes it take longer.
async fn completion(api: &Api, id: u128, count: u32, wait: Duration) -> Result<InjectionProgress, Problem> {
    let until = Instant::now() + wait;
    let mut last = InjectionProgress::default();
    while last.done < count {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let detail = format!(
                "{} of {count} jobs were completed within {} seconds",
                last.done,
                wait.as_secs()
            );
            return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail));
        }
        let poll = left.min(Duration::from_millis(u64::from(MAX_INJECTION_WAIT_MS)));
        let poll_ms = u32::try_from(poll.as_millis()).unwrap_or(MAX_INJECTION_WAIT_MS).max(1);
        let asked = api.registry(poll + CALL_MARGIN, async |client, context| {
            client.injection(context, id, poll_ms).await
        });
        match timeout_at(until + CALL_MARGIN, asked).await {
            Ok(Ok(progress)) => last = progress,
            Ok(Err(error)) if error.error().retry != wavs_ipc::Retry::Never => {
                tokio::time::sleep(RETRY_PAUSE.min(left)).await;
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    if let Some(reason) = &last.first_error {
        tracing::info!(failed = last.failed, reason, "injected triggers failed");
    }
    Ok(last)
}

fn check_workflow(view: &ServiceView, workflow: &WorkflowId) -> Result<(), Problem> {
    let service: Service = serde_json::from_slice(&view.document.0)
        .map_err(|cause| Problem::internal(format!("aggregator-svc gave a document that does not parse: {cause}")))?;
    if service.workflows.contains_key(workflow) {
        return Ok(());
    }
    let detail = format!(
        "The workflow {workflow} was not found in service {}",
        view.summary.service_id
    );
    Err(Problem::missing("not-found", detail))
}

fn is_paused(view: &ServiceView) -> bool {
    view.summary.paused.is_some() || view.summary.state == "paused"
}
