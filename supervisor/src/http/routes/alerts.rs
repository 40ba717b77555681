//! `GET /v1/alerts`: the conditions that hold now.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::http::api::Api;
use crate::http::time::rfc3339;

/// The active alerts.
pub async fn list(State(api): State<Api>) -> Json<Value> {
    let alerts = api.alerts().into_iter().map(|alert| {
        json!({
            "name": alert.name,
            "severity": alert.severity,
            "subject": (!alert.subject.is_empty()).then_some(alert.subject),
            "detail": alert.detail,
            "since": rfc3339(alert.since),
        })
    });
    Json(json!({"items": alerts.collect::<Vec<_>>(), "next_cursor": null}))
}
