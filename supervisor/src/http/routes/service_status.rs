//! `/v1/services/{id}/status` and `/history`: how a service is doing, and what was decided about it.
//!
//! The counters come from the ledger of aggregator-svc and survive restarts; how its chains are followed comes from
//! trigger-svc and is left out while that is down.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ulid::Ulid;
use wavs_ipc::contract::records::{Counters, HistoryEntry, MAX_ROWS, ServiceProgress, WorkflowProgress};
use wavs_ipc::contract::registry::ServiceView;
use wavs_ipc::contract::trigger_admin::ChainStatus;
use wavs_types::{ChainKey, ServiceDocument, ServiceId, Trigger};

use super::service_ref;
use super::services::resource;
use super::v1_services::view;
use crate::http::api::{Api, READ};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time::rfc3339_ms;

/// Query of the history.
#[derive(Debug, Default, Deserialize)]
pub struct Part {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// How a service is doing.
pub async fn show(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let id = service_ref::parse("service id", &id)?;
    Ok(resource(&of_service(&api, id).await?, &headers))
}

/// The status of a service, as all routes that answer one show it.
pub(super) async fn of_service(api: &Api, id: ServiceId) -> Result<Value, Problem> {
    let found = service_ref::service(api, id).await?;
    let (progress, chains, streams) = tokio::join!(
        api.records(READ, async move |client, context| client.progress(context, id).await),
        api.triggers(READ, async |client, context| client.chains(context).await),
        api.triggers(READ, async |client, context| client.streams(context).await),
    );
    let next = streams.ok().and_then(|streams| streams.decode().ok());
    let next = next.map(|streams| next_slots(&streams, &id)).unwrap_or_default();
    let progress = progress.map_err(|error| error.or_missing("service-not-found", service_ref::unknown(id)))?;
    Ok(status(&found, &progress, chains.ok(), &next))
}

/// What was decided about a service, newest first; also of one that was removed.
pub async fn history(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Value>>, Problem> {
    let id: ServiceId = service_ref::parse("service id", &id)?;
    let limit = page::limit(part.limit)?.min(MAX_ROWS - 1);
    let before = page::position(part.cursor.as_deref())?;
    let entries = api
        .records(READ, async |client, context| {
            client.history(context, id, before, limit + 1).await
        })
        .await?;
    if entries.is_empty() && before.is_none() {
        // Nothing was ever decided about it: nobody knows it.
        service_ref::service(&api, id).await?;
    }
    Ok(Json(
        Page::cut(entries, limit, |entry| entry.id.to_string()).map(|entry| history_entry(&entry)),
    ))
}

/// When each scheduled workflow of a service fires next, in milliseconds since the Unix epoch.
type NextSlots = BTreeMap<String, u64>;

/// Reads them from the listing of live sources, where times are nanoseconds.
fn next_slots(streams: &Value, id: &ServiceId) -> NextSlots {
    let id = id.to_string();
    let routes = streams["cron"]["routes"].as_array().into_iter().flatten();
    let own = routes.filter(|route| route["service_id"] == id.as_str());
    let next = own.filter_map(|route| {
        let workflow = route["workflow_id"].as_str()?.to_owned();
        Some((workflow, route["next"].as_u64()? / 1_000_000))
    });
    next.collect()
}

fn status(
    found: &ServiceView,
    progress: &ServiceProgress,
    chains: Option<Vec<ChainStatus>>,
    next: &NextSlots,
) -> Value {
    let triggers = triggers(&found.document.0);
    let chains: Option<BTreeMap<ChainKey, ChainStatus>> =
        chains.map(|chains| chains.into_iter().map(|chain| (chain.chain.clone(), chain)).collect());
    let used = triggers.iter().filter_map(|(_, trigger)| trigger.chain());
    let lag: Map<String, Value> = used
        .filter_map(|key| Some((key.to_string(), lag(chains.as_ref()?.get(key)?))))
        .collect();
    let last = |time: fn(&WorkflowProgress) -> Option<u64>| {
        let newest = progress.workflows.iter().filter_map(time).max();
        newest.map(|us| rfc3339_ms(us / 1_000))
    };
    let newest_error = progress
        .workflows
        .iter()
        .max_by_key(|workflow| workflow.last_error.as_ref().map(|error| error.at_us));
    let document: Value = serde_json::from_slice(&found.document.0).unwrap_or_default();
    let warnings = found.summary.warnings.iter();
    let warnings = warnings.map(|(pointer, text)| json!({"pointer": pointer, "detail": text}));
    let more = json!({
        "document_status": document.get("status").cloned().unwrap_or_default(),
        "warnings": warnings.collect::<Vec<_>>(),
        "last_update": progress.last_update.as_ref().map(last_update),
        "counters": counters(&total(&progress.workflows)),
        "queue": {"pending": progress.pending, "running": progress.running, "held": progress.held},
        "last_trigger_at": last(|workflow| workflow.last_trigger_us),
        "last_execution_at": last(|workflow| workflow.last_execution_us),
        "last_final_at": last(|workflow| workflow.last_final_us),
        "last_error": newest_error.and_then(last_error),
        "lag": lag,
        "workflows": workflows(&triggers, &progress.workflows, chains.as_ref(), next),
    });
    let mut status = view(&found.summary);
    if let (Some(status), Value::Object(more)) = (status.as_object_mut(), more) {
        status.extend(more);
    }
    status
}

/// The workflows of a document with their triggers, ascending by id.
fn triggers(document: &[u8]) -> Vec<(String, Trigger)> {
    let Ok(document) = ServiceDocument::parse(document) else {
        return Vec::new();
    };
    let workflows = document.service().workflows.iter();
    workflows
        .map(|(id, workflow)| (id.as_str().to_owned(), workflow.trigger.clone()))
        .collect()
}

/// The workflows of the document, each with what it did; a removed one only counts in the totals.
fn workflows(
    triggers: &[(String, Trigger)],
    progress: &[WorkflowProgress],
    chains: Option<&BTreeMap<ChainKey, ChainStatus>>,
    next: &NextSlots,
) -> Vec<Value> {
    let entry = |(id, trigger): &(String, Trigger)| {
        let done = progress.iter().find(|done| done.workflow_id.as_str() == id);
        let source = trigger.chain().zip(chains).map(|(key, chains)| {
            let chain = chains.get(key);
            match chain {
                Some(chain) if chain.connected => "connected",
                Some(_) => "disconnected",
                None => "not_followed",
            }
        });
        json!({
            "workflow_id": id,
            "trigger": trigger.kind(),
            "source_state": source,
            "next_fire_at": next.get(id).map(|ms| rfc3339_ms(*ms)),
            "counters": counters(&done.map(|done| done.counters).unwrap_or_default()),
            "last_error": done.and_then(last_error),
        })
    };
    triggers.iter().map(entry).collect()
}

fn total(workflows: &[WorkflowProgress]) -> Counters {
    workflows.iter().fold(Counters::default(), |sum, workflow| {
        let more = workflow.counters;
        Counters {
            triggers: sum.triggers + more.triggers,
            triggers_dropped: sum.triggers_dropped + more.triggers_dropped,
            executions_ok: sum.executions_ok + more.executions_ok,
            executions_failed: sum.executions_failed + more.executions_failed,
            no_output: sum.no_output + more.no_output,
            signed: sum.signed + more.signed,
            submitted: sum.submitted + more.submitted,
            finals: sum.finals + more.finals,
            landed: sum.landed + more.landed,
            reverted: sum.reverted + more.reverted,
            failed: sum.failed + more.failed,
        }
    })
}

fn counters(counters: &Counters) -> Value {
    json!({
        "triggers": counters.triggers,
        "triggers_dropped": counters.triggers_dropped,
        "executions_ok": counters.executions_ok,
        "executions_failed": counters.executions_failed,
        "no_output": counters.no_output,
        "signed": counters.signed,
        "submitted": counters.submitted,
        "final": counters.finals,
        "landed": counters.landed,
        "reverted": counters.reverted,
        "failed": counters.failed,
    })
}

fn last_error(workflow: &WorkflowProgress) -> Option<Value> {
    let error = workflow.last_error.as_ref()?;
    let (code, detail) = error.error.split_once(": ").unwrap_or((error.error.as_str(), ""));
    Some(json!({
        "at": rfc3339_ms(error.at_us / 1_000),
        "stage": error.stage,
        "workflow_id": workflow.workflow_id.as_str(),
        "code": code,
        "detail": detail,
        "job_id": error.job.map(|job| Ulid(job).to_string()),
    }))
}

fn lag(chain: &ChainStatus) -> Value {
    json!({
        "head": chain.head,
        "processed": chain.processed,
        "blocks": chain.lag,
        "seconds": chain.lag_seconds,
    })
}

fn last_update(entry: &HistoryEntry) -> Value {
    let failed = entry.what == "update-failed";
    json!({
        "at": rfc3339_ms(entry.at_ms),
        "result": if failed { "failed" } else { "ok" },
        "error": failed.then_some(&entry.cause),
    })
}

fn history_entry(entry: &HistoryEntry) -> Value {
    json!({
        "at": rfc3339_ms(entry.at_ms),
        "what": entry.what,
        "actor": entry.actor,
        "uri": entry.uri,
        "old_hash": entry.old_digest.map(|digest| digest.to_string()),
        "new_hash": entry.new_digest.map(|digest| digest.to_string()),
        "cause": entry.cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_slots_are_those_of_the_service() {
        let (own, other) = ("11".repeat(32), "22".repeat(32));
        let route =
            |id: &str, workflow: &str, next: Value| json!({"service_id": id, "workflow_id": workflow, "next": next});
        let streams = json!({"cron": {"routes": [
            route(&own, "hourly", json!(1_700_000_000_000_000_000_u64)),
            route(&own, "never", Value::Null),
            route(&other, "daily", json!(1_u64)),
        ]}});
        let next = next_slots(&streams, &own.parse().unwrap());
        assert_eq!(next, NextSlots::from([("hourly".to_owned(), 1_700_000_000_000)]));
        assert_eq!(next_slots(&json!({}), &own.parse().unwrap()), NextSlots::new());
    }
}
