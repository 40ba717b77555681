//! `/dev/services`: documents without a chain, for tests and development.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use wavs_ipc::contract::registry::{AddService, AddSource, Document};
use wavs_types::ServiceDigest;

use super::service_ref;
use super::services::tagged;
use crate::http::api::{Api, LIFECYCLE, READ};
use crate::http::body::JsonText;
use crate::http::problem::Problem;

/// Stores a document without registering it.
pub async fn put(State(api): State<Api>, JsonText(text): JsonText) -> Result<Json<Value>, Problem> {
    let document = Document(text.to_vec());
    let hash = api
        .registry(READ, async |client, context| {
            client.put_document(context, document).await
        })
        .await?;
    Ok(Json(json!({"hash": hash.to_string()})))
}

/// A stored document in canonical form.
pub async fn show(State(api): State<Api>, Path(hash): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let hash: ServiceDigest = service_ref::parse("service hash", &hash)?;
    let document = api
        .registry(READ, async move |client, context| client.document(context, hash).await)
        .await
        .map_err(|error| error.or_missing("service-hash-not-found", unknown(hash)))?;
    Ok(tagged(document.0, &hash.to_string(), &headers))
}

/// Registers a stored document without reading the chain.
pub async fn register(State(api): State<Api>, Path(hash): Path<String>) -> Result<StatusCode, Problem> {
    let hash: ServiceDigest = service_ref::parse("service hash", &hash)?;
    let request = AddService {
        source: AddSource::Document(hash),
        hd_index: None,
    };
    api.registry(LIFECYCLE, async |client, context| {
        client.add_service(context, request).await
    })
    .await
    .map_err(|error| error.or_missing("service-hash-not-found", unknown(hash)))?;
    Ok(StatusCode::NO_CONTENT)
}

fn unknown(hash: ServiceDigest) -> String {
    format!("Service Hash {hash} has not been set on the http server")
}
