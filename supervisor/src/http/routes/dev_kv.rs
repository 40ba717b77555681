//! `GET /dev/kv/{service_id}/{bucket}/{key}`: what a guest stored.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use wavs_types::ServiceId;

use super::service_ref;
use crate::http::api::{Api, READ};
use crate::http::problem::Problem;

/// The value as it was stored; an absent one is a 404 without a body, as clients that poll expect.
pub async fn read(
    State(api): State<Api>,
    Path((id, bucket, key)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let id: ServiceId = service_ref::parse("service id", &id)?;
    let value = api
        .engine(READ, async move |client, context| {
            client.read_kv(context, id, bucket, key).await
        })
        .await?;
    Ok(match value {
        Some(value) => ([(header::CONTENT_TYPE, "application/octet-stream")], value.0).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}
