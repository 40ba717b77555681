//! EVM chains: contract events and service URI announcements.
//!
//! One task per chain goes from endpoint to endpoint; each [`session`] is one connection. No error of one chain reaches
//! another: the task ends only when the chain is no longer watched.

mod canonical;
mod endpoints;
mod headers;
mod horizon;
mod occurrence;
mod scan;
mod scout;
mod session;
mod state;
mod subscriptions;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};
use wavs_types::{ChainKey, EvmChainConfig};

use crate::chain_rpc::ChainRpc;
use crate::metrics::Metrics;
use crate::sources::block_interval::{BlockIntervals, IntervalOptions};
use crate::spool::Spool;
use crate::watch::EvmView;
use endpoints::{Endpoint, EndpointKind, Endpoints};
use headers::Headers;
pub(crate) use occurrence::MinedLog;
use scout::scout;
use session::{Connection, Session, SessionError};
use state::EvmState;
pub(super) use state::{SharedState, idle_status};

/// How long a source waits when its chain has no endpoint at all; the configuration must change before anything else can.
const NO_ENDPOINT_PAUSE: Duration = Duration::from_secs(30);

/// Pause after the spool failed.
const SPOOL_PAUSE: Duration = Duration::from_secs(1);

/// Watches one EVM chain.
pub(super) struct EvmSource {
    /// The chain.
    pub chain: ChainKey,
    /// How to reach it.
    pub config: EvmChainConfig,
    /// What it is watched for.
    pub views: watch::Receiver<Option<Arc<EvmView>>>,
    /// Where what was seen goes.
    pub spool: Spool,
    /// What is known about the source.
    pub state: SharedState,
    /// Counters.
    pub metrics: Metrics,
    /// The switches of block intervals.
    pub intervals: IntervalOptions,
    /// Time between two looks at endpoints that are not in use.
    pub scout_pause: Duration,
}

impl EvmSource {
    /// Watches until the task is cancelled or the chain is no longer watched.
    pub(super) async fn run(self) {
        let mut endpoints = Endpoints::new(&self.config);
        *self.state.lock() = EvmState::new(endpoints.urls());
        let span = AtomicU64::new(self.config.max_getlogs_range);
        loop {
            let Some((index, wait)) = endpoints.pick(Instant::now()) else {
                self.state.lock().last_error =
                    Some("the chain has no endpoint; configure ws_endpoints or http_endpoint".to_owned());
                tokio::time::sleep(NO_ENDPOINT_PAUSE).await;
                continue;
            };
            tokio::time::sleep(wait).await;
            self.state.lock().connecting(index);
            if endpoints.get(index).fallback {
                warn!(chain = %self.chain, "no WebSocket endpoint works; the chain is polled over HTTP until one is back");
            }
            let started = Instant::now();
            let candidates = endpoints.candidates(index);
            let error = tokio::select! {
                error = self.session(endpoints.get(index), &span) => error,
                reason = scout(&candidates, &self.config, &self.state, self.scout_pause) => reason,
            };
            self.metrics.connected(&self.chain, false);
            self.state.lock().disconnected();
            match error {
                SessionError::Unwatched => return,
                SessionError::Preferred(index) => {
                    info!(chain = %self.chain, "a better endpoint is back");
                    endpoints.prefer(index);
                }
                // The endpoint is not to blame.
                SessionError::Spool(error) => {
                    error!(chain = %self.chain, %error, "the chain stands still until the spool works again");
                    self.state.lock().last_error = Some(error.to_string());
                    tokio::time::sleep(SPOOL_PAUSE).await;
                }
                error => {
                    warn!(chain = %self.chain, %error, "lost the chain; trying the next endpoint");
                    self.metrics.reconnect(&self.chain);
                    self.state
                        .lock()
                        .failed(index, error.endpoint_state(), error.to_string());
                    endpoints.failed(index, Instant::now(), started.elapsed(), rand::random());
                }
            }
        }
    }

    async fn session(&self, endpoint: &Endpoint, span: &AtomicU64) -> SessionError {
        let connected = match endpoint.kind {
            EndpointKind::WebSocket => ChainRpc::connect_ws(&endpoint.url, &self.config).await,
            EndpointKind::Http => ChainRpc::connect_http(&endpoint.url, &self.config).await,
        };
        let rpc = match connected {
            Ok(rpc) => rpc,
            Err(error) => return error.into(),
        };
        let session = Session::new(Connection {
            chain: &self.chain,
            rpc,
            spool: &self.spool,
            state: &self.state,
            metrics: &self.metrics,
            views: self.views.clone(),
            headers: Headers::new(self.config.block_timestamp),
            intervals: BlockIntervals::new(&self.chain, self.intervals),
            span,
        });
        let ended = match (session, endpoint.kind) {
            (Ok(session), EndpointKind::WebSocket) => session.follow().await,
            (Ok(session), EndpointKind::Http) => session.poll().await,
            (Err(error), _) => Err(error),
        };
        match ended {
            Err(error) => error,
        }
    }
}
