//! `/v1/components`: what engine-svc has stored, and which workflows use it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use wavs_ipc::ErrorCode;
use wavs_ipc::contract::engine::StoredComponent;
use wavs_types::{ComponentDigest, ServiceDocument};

use super::service_ref;
use super::services::resource;
use crate::http::api::{Api, READ};
use crate::http::page::{self, Page};
use crate::http::problem::Problem;

/// Documents that are asked for at a time; the rest follows as answers come.
const DOCUMENTS_IN_FLIGHT: usize = 16;

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
pub struct Part {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Who uses each component.
type Users = BTreeMap<ComponentDigest, Vec<Value>>;

/// A page of components, ascending by digest.
pub async fn list(State(api): State<Api>, Query(part): Query<Part>) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(part.limit)?;
    let after: Option<ComponentDigest> = page::optional("cursor", part.cursor.as_deref())?;
    let (stored, users) = tokio::try_join!(stored(&api), users(&api))?;
    let wanted = stored
        .into_iter()
        .filter(|component| after.is_none_or(|after| component.digest > after))
        .take(limit as usize + 1);
    let page = Page::cut(wanted.collect(), limit, |component: &StoredComponent| {
        component.digest.to_string()
    });
    Ok(Json(page.map(|component| view(&component, &users))))
}

/// One component.
pub async fn show(State(api): State<Api>, Path(digest): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let digest = service_ref::parse("component digest", &digest)?;
    let component = find(&api, digest).await?;
    Ok(resource(&view(&component, &users(&api).await?), &headers))
}

/// Removes a component that nothing uses.
pub async fn remove(State(api): State<Api>, Path(digest): Path<String>) -> Result<StatusCode, Problem> {
    let digest = service_ref::parse("component digest", &digest)?;
    find(&api, digest).await?;
    if let Some(user) = users(&api).await?.get(&digest).and_then(|users| users.first()) {
        let [service, workflow] = ["service_id", "workflow_id"].map(|name| user[name].as_str().unwrap_or_default());
        let detail = format!("The component {digest} is in use by workflow {workflow} of service {service}");
        return Err(Problem::new(StatusCode::CONFLICT, "in-use", detail));
    }
    api.engine(READ, async |client, context| {
        client.remove_component(context, digest).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn stored(api: &Api) -> Result<Vec<StoredComponent>, Problem> {
    let stored = api
        .engine(READ, async |client, context| client.components(context).await)
        .await?;
    Ok(stored)
}

async fn find(api: &Api, digest: ComponentDigest) -> Result<StoredComponent, Problem> {
    let missing = || Problem::missing("not-found", format!("The component {digest} was not found"));
    stored(api)
        .await?
        .into_iter()
        .find(|component| component.digest == digest)
        .ok_or_else(missing)
}

/// The uses of components in the documents in force.
async fn users(api: &Api) -> Result<Users, Problem> {
    let summaries = api
        .registry(READ, async |client, context| client.services(context).await)
        .await?;
    let documents = futures::stream::iter(summaries)
        .map(|summary| summary.service_id)
        .map(async |id| {
            let found = api
                .registry(READ, async move |client, context| client.service(context, id).await)
                .await;
            match found {
                Ok(view) => Ok(ServiceDocument::parse(&view.document.0).ok()),
                // Removed since the list was made.
                Err(error) if error.error().code == ErrorCode::NotFound => Ok(None),
                Err(error) => Err(Problem::from(error)),
            }
        })
        .buffered(DOCUMENTS_IN_FLIGHT)
        .try_filter_map(|found| async { Ok(found) })
        .try_collect::<Vec<_>>()
        .await?;
    let mut users = Users::new();
    for document in &documents {
        let service = document.service();
        for (id, workflow) in &service.workflows {
            let aggregator = workflow.aggregator().map(|submit| &submit.component);
            let uses = [("operator", Some(&workflow.component)), ("aggregator", aggregator)];
            for (kind, component) in uses {
                let Some(component) = component else { continue };
                users.entry(component.source.digest()).or_default().push(json!({
                    "service_id": service.id().to_string(),
                    "service": service.name,
                    "workflow_id": id.as_str(),
                    "kind": kind,
                }));
            }
        }
    }
    Ok(users)
}

fn view(component: &StoredComponent, users: &Users) -> Value {
    json!({
        "digest": component.digest.to_string(),
        "size": component.bytes,
        "used_by": users.get(&component.digest).cloned().unwrap_or_default(),
    })
}
