//! Why a chain could not be read or written, and when it is worth trying again.
//!
//! Texts are safe to show to users: they name the chain and the host of the endpoint, never its path, query or credentials.

use std::time::Duration;

use wavs_types::ChainKey;

use super::revert::Revert;

/// When the same request may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not without a change of configuration or of the request.
    Never,
    /// After a back-off: the fault is outside and may pass.
    Backoff,
}

/// A chain request that gave no usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChainError {
    /// The key names no configured chain.
    #[error("chain {0} is not configured; add it to the chain table or with the chains API")]
    Unknown(ChainKey),
    /// The chain is of a family whose submissions this version does not do.
    #[error("chain {0}: Cosmos targets are not served by this version; submit to an EVM chain")]
    CosmosNotServed(ChainKey),
    /// The chain has neither an HTTP nor a WebSocket endpoint.
    #[error("chain {0} has no endpoint; set http_endpoint or ws_endpoints")]
    NoEndpoint(ChainKey),
    /// The endpoint serves another chain.
    #[error(
        "chain {chain}: endpoint {endpoint} reports chain id {found}, expected {expected}; correct the endpoint or the key"
    )]
    WrongChainId {
        /// The chain as configured.
        chain: ChainKey,
        /// Redacted endpoint.
        endpoint: String,
        /// The id that was configured.
        expected: u64,
        /// The id that the endpoint reports.
        found: u64,
    },
    /// No endpoint answered in time.
    #[error("chain {chain}: {method} got no answer from any endpoint; last fault: {fault}")]
    Unreachable {
        /// The chain.
        chain: ChainKey,
        /// JSON-RPC method.
        method: &'static str,
        /// The last fault, redacted.
        fault: String,
    },
    /// The endpoint answered with a JSON-RPC error that is no contract revert.
    #[error("chain {chain}: {method} was refused (code {code}): {message}")]
    Refused {
        /// The chain.
        chain: ChainKey,
        /// JSON-RPC method.
        method: &'static str,
        /// JSON-RPC error code.
        code: i64,
        /// The endpoint's text, redacted and cut.
        message: String,
    },
    /// A contract call reverted.
    #[error("chain {chain}: {call} reverted: {revert}")]
    Reverted {
        /// The chain.
        chain: ChainKey,
        /// Which call, for example `getServiceManager() of 0x…`.
        call: String,
        /// What it reverted with.
        revert: Revert,
    },
    /// An answer that does not have the promised shape.
    #[error(
        "chain {chain}: {what} could not be understood: {detail}; check that the address is the right contract and the endpoint is sound"
    )]
    Malformed {
        /// The chain.
        chain: ChainKey,
        /// What was read.
        what: String,
        /// Why not.
        detail: String,
    },
    /// The handler names no manager.
    #[error("chain {chain}: handler {handler} names no service manager (zero address); deploy it with one")]
    NoManager {
        /// The chain.
        chain: ChainKey,
        /// The handler.
        handler: wavs_types::EvmAddress,
    },
    /// Nothing is deployed at an address that should be a contract.
    #[error("chain {chain}: there is no contract at {address}; correct the address or deploy the contract")]
    NoCode {
        /// The chain.
        chain: ChainKey,
        /// The address.
        address: wavs_types::EvmAddress,
    },
}

impl ChainError {
    /// When the same request may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unknown(_) | Self::CosmosNotServed(_) | Self::NoEndpoint(_) => Retry::Never,
            _ => Retry::Backoff,
        }
    }

    /// Metric label of the class; a closed set.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_chain",
            Self::CosmosNotServed(_) => "not_served",
            Self::NoEndpoint(_) => "no_endpoint",
            Self::WrongChainId { .. } => "wrong_chain_id",
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
            Self::Reverted { .. } => "reverted",
            Self::Malformed { .. } => "malformed",
            Self::NoManager { .. } => "no_manager",
            Self::NoCode { .. } => "no_code",
        }
    }
}

/// First delay of the back-off that [`Retry::Backoff`] asks for; doubled up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Largest delay of the back-off.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
