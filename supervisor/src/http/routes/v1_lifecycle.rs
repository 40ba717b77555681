//! `/v1/services/{id}/pause`, `/resume`, `/refresh` and DELETE: what an operator decides about a registered service.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use wavs_ipc::contract::registry::PauseMode;
use wavs_types::ServiceId;

use super::v1_services::view;
use super::{service_ref, service_status};
use crate::http::api::{Api, LIFECYCLE, READ};
use crate::http::body::JsonBody;
use crate::http::page;
use crate::http::problem::Problem;

/// Body of a pause.
#[derive(Debug, Default, Deserialize)]
pub struct Pause {
    #[serde(default)]
    reason: String,
    mode: Option<String>,
}

/// Query of a removal.
#[derive(Debug, Default, Deserialize)]
pub struct Remove {
    #[serde(default)]
    purge: bool,
}

/// Stops the service on this node alone, until it is resumed; restarts do not resume it.
pub async fn pause(
    State(api): State<Api>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<Pause>,
) -> Result<Json<Value>, Problem> {
    let mode = page::one_of("mode", body.mode.as_deref(), &["drop", "hold"], PauseMode::parse)?;
    set(&api, &id, mode.or(Some(PauseMode::Drop)), body.reason).await
}

/// Lets the service run again.
pub async fn resume(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    set(&api, &id, None, String::new()).await
}

/// Reads the service URI on chain again and updates the service if its document changed.
pub async fn refresh(State(api): State<Api>, Path(id): Path<String>) -> Result<(StatusCode, Json<Value>), Problem> {
    let id = known(&api, &id).await?;
    let summary = api
        .registry(LIFECYCLE, async |client, context| {
            client.refresh_service(context, id).await
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(view(&summary))))
}

/// Removes a service. With `purge` what its guests stored goes too; that can be asked for again when it failed, also after the
/// service is gone.
pub async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(form): Query<Remove>,
) -> Result<StatusCode, Problem> {
    let id: ServiceId = service_ref::parse("service id", &id)?;
    match service_ref::service(&api, id).await {
        Ok(found) => {
            let manager = found.summary.manager;
            api.registry(READ, async |client, context| {
                client.remove_service(context, manager, form.purge).await
            })
            .await?;
        }
        Err(problem) if form.purge && problem.code == "service-not-found" => {}
        Err(problem) => return Err(problem),
    }
    if form.purge {
        api.engine(READ, async move |client, context| {
            client.erase_service(context, id).await
        })
        .await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn set(api: &Api, id: &str, mode: Option<PauseMode>, reason: String) -> Result<Json<Value>, Problem> {
    let id = known(api, id).await?;
    api.registry(READ, async |client, context| {
        client.pause_service(context, id, mode, reason.clone()).await
    })
    .await?;
    Ok(Json(service_status::of_service(api, id).await?))
}

async fn known(api: &Api, id: &str) -> Result<ServiceId, Problem> {
    let id = service_ref::parse("service id", id)?;
    service_ref::service(api, id).await.map(|_| id)
}
