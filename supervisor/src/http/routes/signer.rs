//! `POST /services/signer`: the signing key of a service, public side only.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use wavs_types::{EvmAddress, ServiceManager};

use crate::http::api::{Api, READ};
use crate::http::body::JsonBody;
use crate::http::problem::Problem;

/// Body of the request.
#[derive(Debug, Deserialize)]
pub struct GetSigner {
    service_manager: ServiceManager,
}

/// Derivation index and checksummed address (EIP-55).
pub async fn show(State(api): State<Api>, JsonBody(body): JsonBody<GetSigner>) -> Result<Response, Problem> {
    let id = body.service_manager.service_id();
    let signer = api
        .registry(READ, async move |client, context| client.signer(context, id).await)
        .await
        .map_err(|error| error.or_missing("signer-not-found", format!("missing key for service {id}")))?;
    let address = EvmAddress::from(signer.address).to_checksum(None);
    let body = json!({"secp256k1": {"hd_index": signer.hd_index, "evm_address": address}});
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
