//! An EVM chain.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BlockTimestamp, Finality, SubmitConfirmations, fmt_json};
use crate::redact::redacted_url;

/// Endpoints of an EVM chain and this node's behaviour on it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvmChainConfig {
    /// The id that `eth_chainId` must report, in decimal.
    pub chain_id: String,
    /// WebSocket endpoints, in order of preference.
    pub ws_endpoints: Vec<String>,
    /// HTTP endpoint for calls; also polled when there is no WebSocket endpoint.
    pub http_endpoint: Option<String>,
    /// Where test tools ask for coins; the node itself never does.
    pub faucet_endpoint: Option<String>,
    /// Index into `ws_endpoints` of the one to come back to.
    pub ws_priority_endpoint_index: Option<usize>,
    /// Which block counts as the newest.
    pub finality: Finality,
    /// Blocks behind the head; only with [`Finality::Latest`].
    pub confirmations: u64,
    /// Where the block time of an event comes from.
    pub block_timestamp: BlockTimestamp,
    /// Blocks per `eth_getLogs`; halved on errors.
    pub max_getlogs_range: u64,
    /// Longest gap that is filled; a longer one is cut and reported.
    pub max_backfill_blocks: u64,
    /// Addresses per subscription or `eth_getLogs`; more are split.
    pub max_filter_addresses: usize,
    /// Block hashes kept to notice a reorg.
    pub reorg_window: u64,
    /// Seconds until a connect attempt is given up.
    pub connect_timeout_secs: u64,
    /// Seconds between two pings.
    pub ping_interval_secs: u64,
    /// Seconds until a missing pong ends the connection.
    pub pong_timeout_secs: u64,
    /// Seconds without a new head until the endpoint is probed.
    pub head_timeout_secs: u64,
    /// Seconds until a request is given up, for reading and sending.
    pub request_timeout_secs: u64,
    /// Milliseconds between two looks at the head, without WebSocket endpoint.
    pub poll_interval_ms: u64,
    /// Blocks between the height a contract sees and the reference block, for endpoints behind a load balancer.
    pub reference_block_lag: u64,
    /// Seconds per submission stage; absent means two block times, at least 2 s.
    pub stage_secs: Option<u64>,
    /// When a transaction counts as final.
    pub submit_confirmations: SubmitConfirmations,
    /// Seconds until an unmined transaction is looked at again; absent means six blocks, at least 30 s.
    pub receipt_deadline_secs: Option<u64>,
    /// Most gas one transaction may ask for.
    pub max_gas: u64,
    /// Highest fee per gas in gwei; above it the node waits.
    pub max_fee_gwei: Option<f64>,
    /// Highest cost of one transaction in whole coins of the chain; above it the node waits.
    pub max_cost_per_tx: Option<f64>,
    /// Highest cost of one day in whole coins of the chain; above it the node waits.
    pub max_cost_per_day: Option<f64>,
    /// Balance in whole coins of the chain below which the alarm is critical; absent means ten typical transactions.
    pub min_balance_alert: Option<f64>,
}

impl EvmChainConfig {
    /// A copy whose endpoints are safe to show.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self {
            ws_endpoints: self.ws_endpoints.iter().map(|url| redacted_url(url)).collect(),
            http_endpoint: self.http_endpoint.as_deref().map(redacted_url),
            faucet_endpoint: self.faucet_endpoint.as_deref().map(redacted_url),
            ..self.clone()
        }
    }
}

impl Default for EvmChainConfig {
    fn default() -> Self {
        Self {
            chain_id: String::new(),
            ws_endpoints: Vec::new(),
            http_endpoint: None,
            faucet_endpoint: None,
            ws_priority_endpoint_index: None,
            finality: Finality::default(),
            confirmations: 0,
            block_timestamp: BlockTimestamp::default(),
            max_getlogs_range: 2_000,
            max_backfill_blocks: 10_000,
            max_filter_addresses: 500,
            reorg_window: 256,
            connect_timeout_secs: 10,
            ping_interval_secs: 15,
            pong_timeout_secs: 10,
            head_timeout_secs: 60,
            request_timeout_secs: 10,
            poll_interval_ms: 1_000,
            reference_block_lag: 0,
            stage_secs: None,
            submit_confirmations: SubmitConfirmations::default(),
            receipt_deadline_secs: None,
            max_gas: 30_000_000,
            max_fee_gwei: None,
            max_cost_per_tx: None,
            max_cost_per_day: None,
            min_balance_alert: None,
        }
    }
}

impl fmt::Debug for EvmChainConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_json(&self.redacted(), f)
    }
}
