//! `GET /health`: whether each chain has a good endpoint.
//!
//! The probe costs requests to chains, so its answer is kept for a while and one probe serves all who ask meanwhile. It is always
//! 200: what is wrong is in the body.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::http::api::Api;

/// How long an answer is given again.
const MAX_AGE: Duration = Duration::from_secs(10);
/// Deadline of the probe; each endpoint has a shorter one of its own.
const PROBE: Duration = Duration::from_secs(20);

/// The last answer. The lock is held during the probe, so there is one at a time.
#[derive(Debug, Default)]
pub struct HealthCache(Mutex<Option<(Instant, Value)>>);

/// The chains and their health.
pub async fn show(State(api): State<Api>) -> Json<Value> {
    let mut cache = api.health().0.lock().await;
    if let Some((_, answer)) = cache.as_ref().filter(|(at, _)| at.elapsed() < MAX_AGE) {
        return Json(answer.clone());
    }
    let (chains, complete) = probe(&api).await;
    let timestamp = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let answer = json!({"timestamp": timestamp, "chains": chains});
    // A failed probe says nothing about the next second.
    *cache = complete.then(|| (Instant::now(), answer.clone()));
    Json(answer)
}

async fn probe(api: &Api) -> (Map<String, Value>, bool) {
    let probed = api
        .triggers(PROBE, async |client, context| client.chain_health(context).await)
        .await;
    match probed {
        Ok(chains) => {
            let state = |error: Option<String>| error.map_or_else(|| json!("healthy"), |error| unhealthy(&error));
            (
                chains
                    .into_iter()
                    .map(|chain| (chain.chain.to_string(), state(chain.error)))
                    .collect(),
                true,
            )
        }
        Err(error) => {
            let text = &error.error().detail;
            (
                super::config::chain_keys(&api.config())
                    .into_iter()
                    .map(|key| (key, unhealthy(text)))
                    .collect(),
                false,
            )
        }
    }
}

fn unhealthy(error: &str) -> Value {
    json!({"unhealthy": {"error": error}})
}
