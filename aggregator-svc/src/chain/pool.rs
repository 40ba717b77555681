//! The endpoints of one chain: which to ask first, which to leave out, and the chain id that they must report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy::primitives::U64;
use serde_json::json;
use url::Url;
use wavs_types::{ChainKey, EvmChainConfig};

use super::endpoint::{Endpoint, Fault};
use super::error::ChainError;
use super::health::Identity;
use super::metrics::ChainMetrics;

/// State of one endpoint, for status pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Scheme, host and port.
    pub endpoint: String,
    /// `unused`, `ok`, `failing`, `wrong_chain_id` or `went_back`.
    pub state: &'static str,
    /// Faults since the last answer.
    pub faults: u32,
    /// The last fault, redacted.
    pub last_fault: Option<String>,
    /// Smoothed time of an answer.
    pub latency: Option<Duration>,
    /// The head that it showed last.
    pub head: Option<u64>,
}

/// The endpoints of one chain, in order of preference: HTTP, then WebSocket.
pub(super) struct Pool {
    chain: ChainKey,
    /// The configured id; absent when it is no number, which disables the check.
    expected: Option<u64>,
    endpoints: Vec<Arc<Endpoint>>,
    warned: AtomicBool,
}

impl Pool {
    /// Makes the pool without connecting. Endpoints that are no URLs are left out with a warning.
    pub(super) fn new(chain: ChainKey, config: &EvmChainConfig, metrics: &Arc<ChainMetrics>) -> Self {
        let timeout = Duration::from_secs(config.request_timeout_secs.max(1));
        let connect = Duration::from_secs(config.connect_timeout_secs.max(1));
        let endpoints = config
            .http_endpoint
            .iter()
            .chain(&config.ws_endpoints)
            .filter_map(|text| match text.parse::<Url>() {
                Ok(url) if matches!(url.scheme(), "http" | "https" | "ws" | "wss") => {
                    Some(Arc::new(Endpoint::new(url, timeout, connect, Arc::clone(metrics))))
                }
                _ => {
                    let endpoint = wavs_types::redacted_url(text);
                    tracing::warn!(%chain, endpoint, "not an http, https, ws or wss URL; this endpoint is not used");
                    None
                }
            })
            .collect();
        let expected = config.chain_id.parse().ok();
        Self {
            chain,
            expected,
            endpoints,
            warned: AtomicBool::new(false),
        }
    }

    /// The usable endpoints, best first, without asking them. Those that failed are asked in the background whether they are back, so
    /// that a dead one costs no request its time.
    pub(super) fn usable(&self) -> Vec<Arc<Endpoint>> {
        let right: Vec<_> = self
            .endpoints
            .iter()
            .filter(|e| !e.health().is_wrong())
            .cloned()
            .collect();
        let steady: Vec<_> = right.iter().filter(|e| !e.health().went_back()).cloned().collect();
        let mut ranked = if steady.is_empty() { right } else { steady };
        let best_head = ranked.iter().filter_map(|e| e.health().head).max().unwrap_or(0);
        ranked.sort_by_cached_key(|endpoint| endpoint.health().rank(best_head));
        let best_answers = ranked.first().is_some_and(|best| best.health().faults == 0);
        for endpoint in ranked.iter().filter(|_| best_answers) {
            if endpoint.health().take_probe() {
                let endpoint = Arc::clone(endpoint);
                tokio::spawn(async move { endpoint.probe().await });
            }
        }
        ranked
    }

    /// The chain id to sign for: as configured, else as the endpoints report it.
    pub(super) async fn chain_id(&self) -> Result<u64, ChainError> {
        if let Some(expected) = self.expected {
            return Ok(expected);
        }
        let mut last = self.none_left();
        for endpoint in self.usable() {
            match self.verify(&endpoint).await {
                Ok(id) => return Ok(id),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// All endpoints, for status pages.
    pub(super) fn health(&self) -> Vec<EndpointHealth> {
        let view = |endpoint: &Arc<Endpoint>| {
            let health = endpoint.health().clone();
            let state = match (health.identity, health.faults) {
                (Identity::Wrong { .. }, _) => "wrong_chain_id",
                _ if health.went_back() => "went_back",
                (_, 1..) => "failing",
                (Identity::Unknown, 0) => "unused",
                (Identity::Verified(_), 0) => "ok",
            };
            EndpointHealth {
                endpoint: endpoint.redactor.endpoint().to_owned(),
                state,
                faults: health.faults,
                last_fault: health.last_fault,
                latency: health.latency,
                head: health.head,
            }
        };
        self.endpoints.iter().map(view).collect()
    }

    /// The chain id of an endpoint, which is asked for it once, and again after each fault.
    pub(super) async fn verify(&self, endpoint: &Endpoint) -> Result<u64, ChainError> {
        if let Identity::Verified(id) = endpoint.health().identity {
            return Ok(id);
        }
        let id: U64 = endpoint
            .request("eth_chainId", json!([]))
            .await
            .map_err(|fault| self.error("eth_chainId", fault))?;
        let found = id.to::<u64>();
        match self.expected {
            Some(expected) if expected != found => {
                endpoint.health().is_other_chain(found);
                let error = ChainError::WrongChainId {
                    chain: self.chain.clone(),
                    endpoint: endpoint.redactor.endpoint().to_owned(),
                    expected,
                    found,
                };
                tracing::error!(%error, "endpoint is left out");
                Err(error)
            }
            Some(_) => {
                endpoint.health().identity = Identity::Verified(found);
                Ok(found)
            }
            None => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(chain = %self.chain, reported = found, "the configured chain id is no number and cannot be compared with the endpoint's");
                }
                endpoint.health().identity = Identity::Verified(found);
                Ok(found)
            }
        }
    }

    /// The public form of a fault.
    pub(super) fn error(&self, method: &'static str, fault: Fault) -> ChainError {
        let chain = self.chain.clone();
        match fault {
            Fault::Revert(revert) => ChainError::Reverted {
                chain,
                call: method.to_owned(),
                revert,
            },
            Fault::Rpc { code, message } => ChainError::Refused {
                chain,
                method,
                code,
                message,
            },
            Fault::Transport(fault) | Fault::Shape(fault) => ChainError::Unreachable { chain, method, fault },
        }
    }

    /// Why there is no endpoint to ask.
    pub(super) fn none_left(&self) -> ChainError {
        let wrong = self
            .endpoints
            .iter()
            .find_map(|endpoint| match endpoint.health().identity {
                Identity::Wrong { found, .. } => Some((endpoint.redactor.endpoint().to_owned(), found)),
                _ => None,
            });
        match (wrong, self.expected) {
            (Some((endpoint, found)), Some(expected)) => ChainError::WrongChainId {
                chain: self.chain.clone(),
                endpoint,
                expected,
                found,
            },
            _ => ChainError::NoEndpoint(self.chain.clone()),
        }
    }
}
