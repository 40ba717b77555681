//! `/services`: register, list, show and remove.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use wavs_ipc::ErrorCode;
use wavs_ipc::contract::registry::{AddService, AddSource};
use wavs_types::ServiceManager;

use super::service_ref;
use crate::http::api::{Api, LIFECYCLE, READ};
use crate::http::body::JsonBody;
use crate::http::problem::Problem;

/// Documents that are asked for at a time; the rest follows as answers come.
const DOCUMENTS_IN_FLIGHT: usize = 16;

/// Body of `POST /services`.
#[derive(Debug, Deserialize)]
pub struct Add {
    service_manager: ServiceManager,
    hd_index: Option<u32>,
}

/// Body of `DELETE /services`.
#[derive(Debug, Deserialize)]
pub struct Remove {
    service_managers: Vec<ServiceManager>,
}

/// Registers the service that a manager contract points to.
pub async fn add(State(api): State<Api>, JsonBody(body): JsonBody<Add>) -> Result<StatusCode, Problem> {
    if body.hd_index == Some(0) {
        let detail = "/hd_index must be above 0; 0 is never used for services";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-shape", detail));
    }
    let request = AddService {
        source: AddSource::Manager(body.service_manager),
        hd_index: body.hd_index,
    };
    api.registry(LIFECYCLE, async |client, context| {
        client.add_service(context, request).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes services; unknown ones are not an error. All are tried before the first failure is reported.
pub async fn remove(State(api): State<Api>, JsonBody(body): JsonBody<Remove>) -> Result<StatusCode, Problem> {
    let mut failed = None;
    for manager in body.service_managers {
        let removed = api
            .registry(READ, async |client, context| {
                client.remove_service(context, manager, false).await
            })
            .await;
        if let Err(error) = removed {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(StatusCode::NO_CONTENT), |error| Err(error.into()))
}

/// All services with their documents, ascending by id, and the digests of all stored components.
pub async fn list(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
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
                Ok(view) => Ok(Some((id, view.document.0))),
                // Removed since the list was made.
                Err(error) if error.error().code == ErrorCode::NotFound => Ok(None),
                Err(error) => Err(Problem::from(error)),
            }
        })
        .buffered(DOCUMENTS_IN_FLIGHT)
        .try_filter_map(|found| async { Ok(found) })
        .try_collect::<Vec<_>>()
        .await?;
    let components = api
        .engine(READ, async |client, context| client.components(context).await)
        .await?;

    // The documents are JSON already; parsing them would only lose the order of their members.
    let mut text = br#"{"services":["#.to_vec();
    for (index, (_, document)) in documents.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(document);
    }
    let ids: Vec<String> = documents.iter().map(|(id, _)| id.to_string()).collect();
    let digests: Vec<String> = components
        .iter()
        .map(|component| component.digest.to_string())
        .collect();
    text.extend_from_slice(
        format!(
            r#"],"service_ids":{},"component_digests":{}}}"#,
            serde_json::json!(ids),
            serde_json::json!(digests)
        )
        .as_bytes(),
    );
    let tag = hex::encode(Sha256::digest(&text));
    Ok(tagged(text, &tag, &headers))
}

/// One service's document.
pub async fn show(
    State(api): State<Api>,
    Path((chain, address)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let manager = service_ref::manager(&api, &chain, &address).await?;
    let view = service_ref::of_manager(&api, &manager).await?;
    Ok(tagged(view.document.0, &view.summary.digest.to_string(), &headers))
}

/// One resource as JSON, tagged by its content.
pub(super) fn resource(value: &serde_json::Value, request: &HeaderMap) -> Response {
    let text = value.to_string().into_bytes();
    let tag = hex::encode(Sha256::digest(&text));
    tagged(text, &tag, request)
}

/// JSON text with a strong `ETag`, or 304 when the client has it.
pub(super) fn tagged(text: Vec<u8>, tag: &str, request: &HeaderMap) -> Response {
    let tag = format!("\"{tag}\"");
    let known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| matches!(value.trim().trim_start_matches("W/"), known if known == tag || known == "*"));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
