//! A Cosmos chain.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SubmitConfirmations, fmt_json};
use crate::redact::redacted_url;

/// Endpoints of a Cosmos chain and this node's behaviour on it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CosmosChainConfig {
    /// The network name that endpoints must report.
    pub chain_id: String,
    /// Human-readable part of the chain's addresses.
    pub bech32_prefix: String,
    /// CometBFT RPC; triggers need it.
    pub rpc_endpoint: Option<String>,
    /// gRPC endpoint for calls.
    pub grpc_endpoint: Option<String>,
    /// Price of one gas in `gas_denom`.
    pub gas_price: f32,
    /// The coin that fees are paid in.
    pub gas_denom: String,
    /// Where test tools ask for coins; the node itself never does.
    pub faucet_endpoint: Option<String>,
    /// Further RPC endpoints for rotation.
    pub rpc_endpoints: Vec<String>,
    /// Deliver `finalize_block_events` too, numbered after the others.
    pub cosmos_finalize_block_events: bool,
    /// Longest gap that is filled; a longer one is cut and reported.
    pub max_backfill_blocks: u64,
    /// Seconds until a connect attempt is given up.
    pub connect_timeout_secs: u64,
    /// Seconds without a new block until the endpoint is probed.
    pub head_timeout_secs: u64,
    /// Seconds until a request is given up, for reading and sending.
    pub request_timeout_secs: u64,
    /// Milliseconds between two looks at the height.
    pub poll_interval_ms: u64,
    /// Blocks between the height a contract sees and the reference block, for endpoints behind a load balancer.
    pub reference_block_lag: u64,
    /// Seconds per submission stage; absent means two block times, at least 2 s.
    pub stage_secs: Option<u64>,
    /// When a transaction counts as final.
    pub submit_confirmations: SubmitConfirmations,
    /// Seconds until a transaction that is in no block is looked at again; absent means six blocks, at least 30 s.
    pub receipt_deadline_secs: Option<u64>,
    /// Most gas one transaction may ask for.
    pub max_gas: u64,
    /// Highest cost of one transaction in `gas_denom`; above it the node waits.
    pub max_cost_per_tx: Option<f64>,
    /// Highest cost of one day in `gas_denom`; above it the node waits.
    pub max_cost_per_day: Option<f64>,
    /// Balance in `gas_denom` below which the alarm is critical; absent means ten typical transactions.
    pub min_balance_alert: Option<f64>,
}

impl CosmosChainConfig {
    /// A copy whose endpoints are safe to show.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self {
            rpc_endpoint: self.rpc_endpoint.as_deref().map(redacted_url),
            grpc_endpoint: self.grpc_endpoint.as_deref().map(redacted_url),
            faucet_endpoint: self.faucet_endpoint.as_deref().map(redacted_url),
            rpc_endpoints: self.rpc_endpoints.iter().map(|url| redacted_url(url)).collect(),
            ..self.clone()
        }
    }
}

impl Default for CosmosChainConfig {
    fn default() -> Self {
        Self {
            chain_id: String::new(),
            bech32_prefix: String::new(),
            rpc_endpoint: None,
            grpc_endpoint: None,
            gas_price: 0.0,
            gas_denom: String::new(),
            faucet_endpoint: None,
            rpc_endpoints: Vec::new(),
            cosmos_finalize_block_events: false,
            max_backfill_blocks: 10_000,
            connect_timeout_secs: 10,
            head_timeout_secs: 60,
            request_timeout_secs: 10,
            poll_interval_ms: 1_000,
            reference_block_lag: 0,
            stage_secs: None,
            submit_confirmations: SubmitConfirmations::default(),
            receipt_deadline_secs: None,
            max_gas: 30_000_000,
            max_cost_per_tx: None,
            max_cost_per_day: None,
            min_balance_alert: None,
        }
    }
}

impl fmt::Debug for CosmosChainConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_json(&self.redacted(), f)
    }
}
