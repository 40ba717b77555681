//! The HTTP API of the node.
//!
//! A request passes the [`frame`] (request id, access log, rendering of errors), CORS, the [`access`] rules and a time limit,
//! then a route of [`routes`], which asks the owning process through [`api::Api`]. Nothing is kept here but short caches:
//! while a process is down its routes answer 503 and all others go on. [`server`] owns the listeners.

pub mod access;
pub mod api;
pub mod body;
pub mod frame;
pub mod metrics;
pub mod openapi;
pub mod page;
pub mod pattern;
pub mod problem;
pub mod routes;
pub mod server;
pub mod settings;
pub mod time;
pub mod wire;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware;
use tower_http::cors::{AllowOrigin, CorsLayer};

use api::Api;
use settings::REQUEST_ID;

/// How long a browser may remember the answer to a preflight request.
const PREFLIGHT_AGE: std::time::Duration = std::time::Duration::from_secs(600);

/// The whole API, ready for [`server::serve`].
pub fn router(api: Api) -> Router {
    routes::all(api.settings().dev_endpoints)
        .layer(middleware::from_fn_with_state(api.clone(), frame::limit_time))
        .layer(middleware::from_fn_with_state(api.clone(), frame::guard))
        .layer(cors(api.clone()))
        .layer(middleware::from_fn_with_state(api.clone(), frame::frame))
        .with_state(api)
}

/// `/metrics` alone, for a listener of its own (`telemetry.metrics_listen`).
pub fn metrics_router(api: Api) -> Router {
    Router::new()
        .route("/metrics", axum::routing::get(routes::metrics::show))
        .with_state(api)
}

/// Answers preflight requests; origins that are not allowed get an answer without permission, which browsers take for a no.
fn cors(api: Api) -> CorsLayer {
    let allowed = move |origin: &HeaderValue, _: &_| {
        let settings = api.settings();
        let patterns = &settings.cors_allowed_origins;
        origin
            .to_str()
            .is_ok_and(|origin| patterns.iter().any(|pattern| pattern.matches(origin)))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("last-event-id"),
            REQUEST_ID,
        ])
        .expose_headers([header::ETAG, REQUEST_ID, header::RETRY_AFTER, header::LOCATION])
        .max_age(PREFLIGHT_AGE)
}
