//! The routes, one file per group. Paths under `/dev` and their aliases exist only while dev endpoints are on.

pub mod admin;
pub mod alerts;
pub mod chains;
pub mod components;
pub mod config;
pub mod dead_letters;
pub mod dev_chains;
pub mod dev_components;
pub mod dev_kv;
pub mod dev_services;
pub mod dev_triggers;
pub mod executions;
pub mod health;
pub mod info;
pub mod jobs;
pub mod metrics;
pub mod p2p;
pub mod processes;
pub mod quorums;
pub mod ready;
pub mod service_ref;
pub mod service_status;
pub mod services;
pub mod signer;
pub mod signers;
pub mod transactions;
pub mod v1_lifecycle;
pub mod v1_node;
pub mod v1_services;

use axum::Router;
use axum::routing::{get, post};

use super::api::Api;
use super::openapi;
use super::problem::Problem;

/// Every route.
pub fn all(dev_endpoints: bool) -> Router<Api> {
    let router = Router::new()
        .route("/info", get(info::show))
        .route("/health", get(health::show))
        .route("/healthz", get(ready::alive))
        .route("/readyz", get(ready::ready))
        .route("/metrics", get(metrics::show))
        .route("/config", get(config::show))
        .route("/p2p/status", get(p2p::status))
        .route("/v1/p2p/peers", get(p2p::peers))
        .route(
            "/services",
            get(services::list).post(services::add).delete(services::remove),
        )
        .route("/services/signer", post(signer::show))
        .route("/services/{chain}/{address}", get(services::show))
        .route("/v1/processes", get(processes::list))
        .route("/v1/processes/{name}", get(processes::show))
        .route("/v1/processes/{name}/restart", post(admin::restart))
        .route("/v1/config/reload", post(admin::reload))
        .route("/v1/logs", get(admin::logs))
        .route("/v1/alerts", get(alerts::list))
        .route("/v1/services", get(v1_services::list))
        .route("/v1/services/{id}", get(v1_services::show).delete(v1_lifecycle::remove))
        .route("/v1/services/{id}/status", get(service_status::show))
        .route("/v1/services/{id}/history", get(service_status::history))
        .route("/v1/services/{id}/logs", get(v1_services::logs))
        .route("/v1/services/{id}/pause", post(v1_lifecycle::pause))
        .route("/v1/services/{id}/resume", post(v1_lifecycle::resume))
        .route("/v1/services/{id}/refresh", post(v1_lifecycle::refresh))
        .route("/v1/signers", get(signers::list))
        .route("/v1/signers/{id}/rotate", post(signers::rotate))
        .route("/v1/signers/accept-empty-history", post(signers::accept_empty_history))
        .route("/v1/signers/history", get(signers::export).post(signers::import))
        .route("/v1/node", get(v1_node::show))
        .route("/v1/components", get(components::list))
        .route(
            "/v1/components/{digest}",
            get(components::show).delete(components::remove),
        )
        .route("/v1/jobs", get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/executions", get(executions::list))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/retry", post(dead_letters::retry_many))
        .route(
            "/v1/dead-letters/{job_id}",
            get(dead_letters::show).delete(dead_letters::drop_one),
        )
        .route("/v1/dead-letters/{job_id}/retry", post(dead_letters::retry))
        .route("/v1/chains", get(chains::list))
        .route("/v1/chains/{chain}", get(chains::show))
        .route("/v1/quorums", get(quorums::list))
        .route("/v1/transactions", get(transactions::list))
        .route("/api-docs/openapi.json", get(openapi::show))
        .route("/swagger-ui/", get(openapi::page))
        .route("/swagger-ui", get(openapi::to_page));
    let router = if dev_endpoints { router.merge(dev()) } else { router };
    router.fallback(async || Problem::not_found())
}

fn dev() -> Router<Api> {
    Router::new()
        .route("/dev/services", post(dev_services::put))
        .route(
            "/dev/services/{hash}",
            get(dev_services::show).post(dev_services::register),
        )
        .route("/dev/components", post(dev_components::upload))
        .route("/components", post(dev_components::upload))
        .route("/upload", post(dev_components::upload))
        .route("/dev/chains", post(dev_chains::add))
        .route("/dev/triggers", post(dev_triggers::inject))
        .route("/dev/trigger-streams", get(dev_triggers::streams))
        .route("/dev/kv/{service_id}/{bucket}/{key}", get(dev_kv::read))
}
