//! `/v1/services`: the registered services with what this node knows about them.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use wavs_ipc::contract::registry::{PauseMode, ServiceSummary};
use wavs_types::{EvmAddress, ServiceId};

use super::service_ref;
use super::services::tagged;
use crate::http::api::{Api, READ};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;
use crate::http::time::rfc3339_ms;

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Filter {
    state: Option<String>,
    chain: Option<String>,
    q: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Query of one service.
#[derive(Debug, Default, Deserialize)]
pub struct Form {
    #[serde(default)]
    raw: bool,
}

/// Query of the logs.
#[derive(Debug, Default, Deserialize)]
pub struct LogFilter {
    workflow_id: Option<String>,
    level: Option<String>,
    limit: Option<u32>,
    cursor: Option<u64>,
}

/// A page of services, ascending by id.
pub async fn list(State(api): State<Api>, Query(filter): Query<Filter>) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(filter.limit)?;
    let after: Option<ServiceId> = page::optional("cursor", filter.cursor.as_deref())?;
    let summaries = api
        .registry(READ, async |client, context| client.services(context).await)
        .await?;
    let wanted = summaries
        .into_iter()
        .filter(|summary| after.is_none_or(|after| summary.service_id > after) && filter.fits(summary))
        .take(limit as usize + 1);
    let page = Page::cut(wanted.collect(), limit, |summary| summary.service_id.to_string());
    Ok(Json(Page {
        items: page.items.iter().map(view).collect(),
        next_cursor: page.next_cursor,
    }))
}

/// One service: its document with what the node knows, or the bytes as fetched.
pub async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(form): Query<Form>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = service_ref::service(&api, service_ref::parse("service id", &id)?).await?;
    if form.raw {
        return Ok(([(header::CONTENT_TYPE, "application/json")], found.raw.0).into_response());
    }
    let mut text = view(&found.summary).to_string();
    // The document is JSON already and keeps its order of members.
    text.pop();
    text.push_str(",\"document\":");
    text.push_str(&String::from_utf8_lossy(&found.document.0));
    text.push('}');
    Ok(tagged(
        text.into_bytes(),
        &format!("{}-{}", found.summary.digest, found.summary.updated_at_ms),
        &headers,
    ))
}

/// Lines that the service's guests wrote, oldest first.
pub async fn logs(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(filter): Query<LogFilter>,
) -> Result<Json<Page<Value>>, Problem> {
    let id: ServiceId = service_ref::parse("service id", &id)?;
    let limit = page::limit(filter.limit)?;
    let after = filter.cursor.unwrap_or(0);
    service_ref::service(&api, id).await?;
    let lines = api
        .engine(READ, async |client, context| {
            client.guest_logs(context, id, after, limit).await
        })
        .await?;
    // The cursor goes on behind the lines that were looked at, also when the filter left none of them.
    let next_cursor = lines
        .last()
        .filter(|_| lines.len() >= limit as usize)
        .map(|line| line.seq.to_string());
    let items = lines
        .into_iter()
        .filter(|line| {
            filter
                .workflow_id
                .as_deref()
                .is_none_or(|wanted| wanted == line.workflow_id.as_str())
        })
        .filter(|line| filter.level.as_deref().is_none_or(|wanted| wanted == line.stream))
        .map(|line| {
            json!({
                "seq": line.seq,
                "at": rfc3339_ms(line.at_ms),
                "workflow_id": line.workflow_id.as_str(),
                "stream": line.stream,
                "line": line.line,
            })
        });
    Ok(Json(Page {
        items: items.collect(),
        next_cursor,
    }))
}

impl Filter {
    fn fits(&self, summary: &ServiceSummary) -> bool {
        self.state.as_deref().is_none_or(|state| state == summary.state)
            && self
                .chain
                .as_deref()
                .is_none_or(|chain| chain == summary.manager.chain().as_str())
            && self
                .q
                .as_deref()
                .is_none_or(|text| summary.name.contains(text) || summary.service_id.to_string().starts_with(text))
    }
}

/// A service without its document, as all routes under `/v1` show it.
pub(super) fn view(summary: &ServiceSummary) -> Value {
    json!({
        "service_id": summary.service_id.to_string(),
        "name": summary.name,
        "manager": summary.manager,
        "state": summary.state,
        "reason": summary.reason,
        "operator_paused": summary.paused.is_some(),
        "pause_mode": summary.paused.map(PauseMode::as_str),
        "hash": summary.digest.to_string(),
        "uri": summary.uri,
        "hd_index": summary.hd_index,
        "signer": EvmAddress::from(summary.signer).to_checksum(None),
        "workflows": summary.workflows,
        "updated_at": rfc3339_ms(summary.updated_at_ms),
    })
}
