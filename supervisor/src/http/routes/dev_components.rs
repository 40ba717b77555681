//! `POST /dev/components`: a component, streamed to a file that engine-svc takes over.

use std::path::PathBuf;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::http::api::{Api, LIFECYCLE};
use crate::http::body;
use crate::http::problem::Problem;

/// Stores a component and answers its digest. The same bytes give the same answer.
pub async fn upload(State(api): State<Api>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    let name = Ulid::generate().to_string();
    let file = Upload(api.uploads().join(&name));
    body::save(&headers, body, api.settings().max_body, &file.0).await?;
    let stored = api
        .engine(LIFECYCLE, async |client, context| {
            client.store_component(context, name).await
        })
        .await?;
    Ok(Json(json!({"digest": stored.digest.to_string()})))
}

/// The file of an upload, which does not outlive its request.
struct Upload(PathBuf);

impl Drop for Upload {
    fn drop(&mut self) {
        // Usually engine-svc has taken it already.
        let _ = std::fs::remove_file(&self.0);
    }
}
