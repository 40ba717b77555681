//! `/v1/quorums`: events that collect signatures or did so recently, newest first.

use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use wavs_ipc::contract::records::{BucketView, MAX_ROWS, QuorumQuery, QuorumTarget, QuorumView};
use wavs_types::EvmAddress;

use crate::http::api::{Api, READ};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time::rfc3339_ms;

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    service_id: Option<String>,
    state: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A page of events.
pub async fn list(State(api): State<Api>, Query(filter): Query<Filter>) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(filter.limit)?.min(MAX_ROWS - 1);
    let query = QuorumQuery {
        service_id: page::optional("service_id", filter.service_id.as_deref())?,
        state: filter.state,
        before: page::position(filter.cursor.as_deref())?,
        max: limit + 1,
    };
    let quorums = api
        .records(READ, async |client, context| client.quorums(context, query).await)
        .await?;
    Ok(Json(
        Page::cut(quorums, limit, |quorum| quorum.id.to_string()).map(view),
    ))
}

fn view(quorum: QuorumView) -> Value {
    // A clock that was set back makes nothing younger than new.
    let age = (UNIX_EPOCH + Duration::from_millis(quorum.created_at_ms))
        .elapsed()
        .unwrap_or_default();
    json!({
        "service_id": quorum.service_id.to_string(),
        "workflow_id": quorum.workflow_id.as_str(),
        "event_id": quorum.event_id.to_string(),
        "state": quorum.state,
        "error": quorum.error,
        "created_at": rfc3339_ms(quorum.created_at_ms),
        "updated_at": rfc3339_ms(quorum.updated_at_ms),
        "deadline_at": rfc3339_ms(quorum.deadline_ms),
        "age_s": age.as_secs(),
        "buckets": quorum.buckets.into_iter().map(bucket).collect::<Vec<_>>(),
        "targets": quorum.targets.into_iter().map(target).collect::<Vec<_>>(),
    })
}

fn bucket(bucket: BucketView) -> Value {
    let signers = bucket.signers.into_iter();
    let signers = signers.map(|(address, status)| json!({"address": address_text(address), "status": status}));
    json!({
        "digest": format!("0x{}", hex::encode(bucket.digest)),
        "own": bucket.own,
        "signers": signers.collect::<Vec<_>>(),
    })
}

fn target(target: QuorumTarget) -> Value {
    json!({
        "chain": target.chain.as_str(),
        "handler": target.handler,
        "state": target.state,
        "weight": target.weight,
        "threshold": target.threshold,
        "tx": target.tx,
        "error": target.error,
    })
}

/// An address as the API shows those of chains: lower case with `0x`.
pub(super) fn address_text(address: [u8; 20]) -> String {
    format!("{:#x}", EvmAddress::from(address))
}
