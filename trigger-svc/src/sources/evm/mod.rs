//! EVM chains: contract events and service URI announcements.
//!
//! One task per chain goes from endpoint to endpoint; each [`session`] is one connection. No error of one chain reaches
//! another: the task ends only when the chain is no longer watched.

mod canonical;
mod endpoints;
mod headers;
mod occurrence;
mod scan;
mod session;
mod state;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;
use wavs_types::{ChainKey, EvmChainConfig};

use crate::chain_rpc::ChainRpc;
use crate::metrics::Metrics;
use crate::sources::block_interval::{BlockIntervals, IntervalOptions};
use crate::spool::Spool;
use crate::watch::EvmView;
use endpoints::{EndpointKind, Endpoints};
use headers::Headers;
pub(crate) use occurrence::MinedLog;
use session::{Session, SessionError};
use state::EvmState;
pub(super) use state::{SharedState, idle_status};

/// How long a source waits when its chain has no endpoint at all; the configuration must change before anything else can.
const NO_ENDPOINT_PAUSE: Duration = Duration::from_secs(30);

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
}

impl EvmSource {
    /// Watches until the task is cancelled or the chain is no longer watched.
    pub(super) async fn run(self) {
        let mut endpoints = Endpoints::new(&self.config);
        *self.state.lock() = EvmState::new(endpoints.urls());
        loop {
            let Some((index, wait)) = endpoints.pick(Instant::now()) else {
                self.state.lock().last_error =
                    Some("the chain has no endpoint; configure ws_endpoints or http_endpoint".to_owned());
                tokio::time::sleep(NO_ENDPOINT_PAUSE).await;
                continue;
            };
            tokio::time::sleep(wait).await;
            let (url, kind) = (endpoints.get(index).url.clone(), endpoints.get(index).kind);
            self.state.lock().connecting(index);
            let started = Instant::now();
            let error = match self.session(&url, kind).await {
                SessionError::Unwatched => return,
                error => error,
            };
            warn!(chain = %self.chain, %error, "lost the chain; trying the next endpoint");
            self.metrics.reconnect(&self.chain);
            let mut state = self.state.lock();
            state.disconnected();
            state.failed(index, error.endpoint_state(), error.to_string());
            drop(state);
            endpoints.failed(index, Instant::now(), started.elapsed(), rand::random());
        }
    }

    async fn session(&self, url: &str, kind: EndpointKind) -> SessionError {
        let connected = match kind {
            EndpointKind::WebSocket => ChainRpc::connect_ws(url, &self.config).await,
            EndpointKind::Http => ChainRpc::connect_http(url, &self.config).await,
        };
        let rpc = match connected {
            Ok(rpc) => rpc,
            Err(error) => return error.into(),
        };
        let session = Session {
            chain: &self.chain,
            rpc,
            spool: &self.spool,
            state: &self.state,
            metrics: &self.metrics,
            views: self.views.clone(),
            headers: Headers::new(self.config.block_timestamp),
            intervals: BlockIntervals::new(&self.chain, self.intervals),
        };
        let ended = match kind {
            EndpointKind::WebSocket => session.follow().await,
            EndpointKind::Http => session.poll().await,
        };
        match ended {
            Err(error) => error,
        }
    }
}
