//! Connections to EVM endpoints, with deadlines and texts that show no keys.

pub(crate) mod refusal;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy::eips::BlockNumberOrTag;
use alloy::network::Ethereum;
use alloy::providers::{Provider, RootProvider};
use alloy::pubsub::{ConnectionHandle, PubSubConnect};
use alloy::rpc::client::RpcClient;
use alloy::transports::ws::WsConnect;
use alloy::transports::{RpcError, TransportErrorKind, TransportResult};
use serde::Deserialize;
use wavs_types::{B256, EvmChainConfig, redacted_url};

use refusal::Refusal;

/// Notifications that wait for this process; a subscription that falls further behind is treated as a gap and scanned.
const NOTIFICATION_CAPACITY: usize = 4_096;

/// A failed exchange with an endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainError {
    /// No answer in time.
    #[error("{endpoint}: {what}: no answer within {limit:?}")]
    TimedOut {
        /// The endpoint, redacted.
        endpoint: String,
        /// The request.
        what: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// The endpoint answered with an error, or the connection failed.
    #[error("{endpoint}: {what}: {cause}")]
    Rpc {
        /// The endpoint, redacted.
        endpoint: String,
        /// The request.
        what: &'static str,
        /// Why.
        cause: String,
        /// What the endpoint means, when it answered.
        refusal: Option<Refusal>,
    },
    /// The endpoint serves another chain.
    #[error(
        "{endpoint}: serves chain id {actual}, but {expected} is configured; correct the endpoint or the chain key"
    )]
    WrongChain {
        /// The endpoint, redacted.
        endpoint: String,
        /// From the configuration.
        expected: String,
        /// From `eth_chainId`.
        actual: u64,
    },
    /// The server ended the connection or the subscription.
    #[error("{endpoint}: the connection was closed")]
    Closed {
        /// The endpoint, redacted.
        endpoint: String,
    },
    /// The endpoint has no such block.
    #[error(
        "{endpoint}: has no block {block}; for a tag, set `finality` to one that the chain has, or use another endpoint"
    )]
    NoBlock {
        /// The endpoint, redacted.
        endpoint: String,
        /// Number or tag.
        block: String,
    },
    /// No block for longer than the configured time although the chain moves on.
    #[error("{endpoint}: no new head for {silence:?} while the chain moves on")]
    Stalled {
        /// The endpoint, redacted.
        endpoint: String,
        /// How long.
        silence: Duration,
    },
}

/// How much less to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Less {
    /// First and last block that the provider proposes, if it does.
    pub proposed: Option<(u64, u64)>,
}

impl ChainError {
    /// Whether the same question with less in it may succeed.
    pub(crate) fn asks_for_less(&self) -> Option<Less> {
        match self {
            Self::TimedOut { .. } => Some(Less { proposed: None }),
            Self::Rpc {
                refusal: Some(Refusal::TooMuch { proposed }),
                ..
            } => Some(Less { proposed: *proposed }),
            _ => None,
        }
    }

    /// Whether the same question may succeed later.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Rpc {
                refusal: Some(Refusal::Busy),
                ..
            }
        )
    }
}

/// A block as far as it matters here. Chains differ in what else their headers have, so nothing else is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlockHead {
    /// Height.
    #[serde(with = "alloy::serde::quantity")]
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Hash of the block before it.
    pub parent_hash: B256,
    /// Seconds since the Unix epoch.
    #[serde(with = "alloy::serde::quantity")]
    pub timestamp: u64,
}

/// An endpoint with its deadline.
#[derive(Debug, Clone)]
pub(crate) struct ChainRpc {
    provider: RootProvider<Ethereum>,
    endpoint: String,
    limit: Duration,
    /// How long the last answer took, in microseconds. Clones share it.
    latency_us: Arc<AtomicU64>,
}

/// A WebSocket that is never silently replaced: a reconnect would hide the gap that must be scanned.
#[derive(Debug, Clone)]
struct OneConnection(WsConnect);

impl PubSubConnect for OneConnection {
    fn is_local(&self) -> bool {
        self.0.is_local()
    }

    async fn connect(&self) -> TransportResult<ConnectionHandle> {
        self.0.connect().await
    }

    async fn try_reconnect(&self) -> TransportResult<ConnectionHandle> {
        Err(TransportErrorKind::backend_gone())
    }
}

impl ChainRpc {
    /// Opens a WebSocket and checks the chain id.
    ///
    /// # Errors
    /// Any [`ChainError`].
    pub(crate) async fn connect_ws(url: &str, config: &EvmChainConfig) -> Result<Self, ChainError> {
        let endpoint = redacted_url(url);
        let limit = Duration::from_secs(config.connect_timeout_secs);
        let connect = OneConnection(
            WsConnect::new(url).with_keepalive_interval(Duration::from_secs(config.ping_interval_secs.max(1))),
        );
        let what = "connect";
        let client = tokio::time::timeout(limit, RpcClient::connect_pubsub(connect))
            .await
            .map_err(|_| ChainError::TimedOut {
                endpoint: endpoint.clone(),
                what,
                limit,
            })?
            .map_err(|cause| rpc_error(&endpoint, what, cause))?;
        if let Some(frontend) = client.pubsub_frontend() {
            frontend.set_channel_size(NOTIFICATION_CAPACITY);
        }
        Self::checked(RootProvider::new(client), endpoint, config).await
    }

    /// Uses an HTTP endpoint and checks the chain id.
    ///
    /// # Errors
    /// Any [`ChainError`].
    pub(crate) async fn connect_http(url: &str, config: &EvmChainConfig) -> Result<Self, ChainError> {
        let endpoint = redacted_url(url);
        let parsed = url.parse().map_err(|cause| ChainError::Rpc {
            endpoint: endpoint.clone(),
            what: "read the endpoint",
            cause: format!("{cause}"),
            refusal: None,
        })?;
        Self::checked(RootProvider::new_http(parsed), endpoint, config).await
    }

    async fn checked(
        provider: RootProvider<Ethereum>,
        endpoint: String,
        config: &EvmChainConfig,
    ) -> Result<Self, ChainError> {
        let rpc = Self {
            provider,
            endpoint,
            limit: Duration::from_secs(config.request_timeout_secs.max(1)),
            latency_us: Arc::default(),
        };
        let actual = rpc.ask("eth_chainId", rpc.provider.get_chain_id()).await?;
        // An id that is not a number is an alias of a development chain; there is nothing to compare.
        if config.chain_id.parse::<u64>().is_ok_and(|expected| expected != actual) {
            return Err(ChainError::WrongChain {
                endpoint: rpc.endpoint,
                expected: config.chain_id.clone(),
                actual,
            });
        }
        Ok(rpc)
    }

    /// Sends requests of any kind.
    pub(crate) fn provider(&self) -> &RootProvider<Ethereum> {
        &self.provider
    }

    /// The endpoint as it may be shown.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits for an answer up to the chain's request timeout.
    ///
    /// # Errors
    /// [`ChainError::TimedOut`] or [`ChainError::Rpc`].
    pub(crate) async fn ask<T>(
        &self,
        what: &'static str,
        request: impl IntoFuture<Output = TransportResult<T>>,
    ) -> Result<T, ChainError> {
        self.ask_within(self.limit, what, request.into_future()).await
    }

    /// Waits for an answer up to `limit`.
    ///
    /// # Errors
    /// [`ChainError::TimedOut`] or [`ChainError::Rpc`].
    pub(crate) async fn ask_within<T>(
        &self,
        limit: Duration,
        what: &'static str,
        request: impl Future<Output = TransportResult<T>>,
    ) -> Result<T, ChainError> {
        let asked = Instant::now();
        let answer = tokio::time::timeout(limit, request).await;
        let took = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latency_us.store(took, Ordering::Relaxed);
        answer
            .map_err(|_| ChainError::TimedOut {
                endpoint: self.endpoint.clone(),
                what,
                limit,
            })?
            .map_err(|cause| rpc_error(&self.endpoint, what, cause))
    }

    /// How long the last answer took, in microseconds.
    pub(crate) fn latency_us(&self) -> u64 {
        self.latency_us.load(Ordering::Relaxed)
    }

    /// The number of the newest block.
    ///
    /// # Errors
    /// Any [`ChainError`] of a request.
    pub(crate) async fn head(&self) -> Result<u64, ChainError> {
        self.ask("eth_blockNumber", self.provider.get_block_number()).await
    }

    /// A block by number or tag; `None` when the endpoint has none.
    ///
    /// # Errors
    /// Any [`ChainError`] of a request.
    pub(crate) async fn block(&self, block: BlockNumberOrTag) -> Result<Option<BlockHead>, ChainError> {
        let request = self.provider.raw_request("eth_getBlockByNumber".into(), (block, false));
        self.ask("eth_getBlockByNumber", request).await
    }

    /// The newest block.
    ///
    /// # Errors
    /// Any [`ChainError`] of a request.
    pub(crate) async fn newest_block(&self) -> Result<BlockHead, ChainError> {
        self.tagged_block(BlockNumberOrTag::Latest).await
    }

    /// The block of a tag, which every chain that knows the tag has.
    ///
    /// # Errors
    /// [`ChainError::NoBlock`] when the endpoint does not know the tag, and any [`ChainError`] of a request.
    pub(crate) async fn tagged_block(&self, tag: BlockNumberOrTag) -> Result<BlockHead, ChainError> {
        self.block(tag).await?.ok_or_else(|| ChainError::NoBlock {
            endpoint: self.endpoint.clone(),
            block: tag.to_string(),
        })
    }

    /// That the server ended the connection.
    pub(crate) fn closed(&self) -> ChainError {
        ChainError::Closed {
            endpoint: self.endpoint.clone(),
        }
    }
}

fn rpc_error(endpoint: &str, what: &'static str, cause: RpcError<TransportErrorKind>) -> ChainError {
    let refusal = refusal(&cause);
    // Transport errors of HTTP carry the whole URL, which may hold a key.
    let cause = cause.to_string();
    let cause = cause
        .split_once(" for url ")
        .map_or(cause.as_str(), |(head, _)| head)
        .to_owned();
    ChainError::Rpc {
        endpoint: endpoint.to_owned(),
        what,
        cause,
        refusal,
    }
}

fn refusal(cause: &RpcError<TransportErrorKind>) -> Option<Refusal> {
    match cause {
        RpcError::ErrorResp(error) => Some(Refusal::of_error(error.code, &error.message)),
        RpcError::Transport(
            TransportErrorKind::HttpError(error) | TransportErrorKind::HttpErrorWithRetryAfter { error, .. },
        ) => Refusal::of_status(error.status),
        _ => None,
    }
}
