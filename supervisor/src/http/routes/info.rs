//! `GET /info`: a sign of life that needs no other process.

use axum::Json;
use serde_json::{Value, json};

/// The name and version of the node.
pub async fn show() -> Json<Value> {
    Json(json!({
        "message": "WAVS node is running",
        "name": "wavs",
        "version": env!("CARGO_PKG_VERSION"),
        "api_versions": ["v1"],
    }))
}
