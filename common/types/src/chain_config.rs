//! How a chain is reached and how this node behaves on it: one entry of the chain table, in the JSON shape of the API.
//! Members that are not known are ignored, absent ones take the defaults written here. Endpoints may contain API keys, so
//! `Debug` masks them; only `Serialize` writes them out.

mod check;
mod cosmos;
mod evm;

use serde::{Deserialize, Serialize};

pub use check::ChainConfigError;
pub use cosmos::CosmosChainConfig;
pub use evm::EvmChainConfig;

/// One configured chain, tagged by `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChainConfig {
    /// An EVM chain.
    Evm(EvmChainConfig),
    /// A Cosmos chain.
    Cosmos(CosmosChainConfig),
}

/// Which block counts as the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finality {
    /// The head, less `confirmations`.
    #[default]
    Latest,
    /// The `safe` tag.
    Safe,
    /// The `finalized` tag.
    Finalized,
}

/// Where the block time of an event comes from. Operators of one service must agree, since its presence is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockTimestamp {
    /// Always present, from the block header if the log lacks it.
    #[default]
    Header,
    /// Whatever the endpoint puts into the log.
    Provider,
    /// Never present.
    None,
}

/// When a transaction counts as final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SubmitConfirmations {
    /// After this many blocks.
    Depth(u64),
    /// When the chain says so.
    Tag(FinalizedTag),
}

/// The only tag that `submit_confirmations` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalizedTag {
    /// The chain's finalized block.
    Finalized,
}

impl ChainConfig {
    /// The chain id that endpoints must report. For `dev` chains it differs from the key's id.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        match self {
            Self::Evm(config) => &config.chain_id,
            Self::Cosmos(config) => &config.chain_id,
        }
    }

    /// The namespace that fits this kind of chain.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::Evm(_) => "evm",
            Self::Cosmos(_) => "cosmos",
        }
    }

    /// The EVM part, if it is an EVM chain.
    #[must_use]
    pub fn as_evm(&self) -> Option<&EvmChainConfig> {
        match self {
            Self::Evm(config) => Some(config),
            Self::Cosmos(_) => None,
        }
    }

    /// The Cosmos part, if it is a Cosmos chain.
    #[must_use]
    pub fn as_cosmos(&self) -> Option<&CosmosChainConfig> {
        match self {
            Self::Cosmos(config) => Some(config),
            Self::Evm(_) => None,
        }
    }

    /// Seconds between two stages of posting; absent means two block times, at least 2 s.
    #[must_use]
    pub fn stage_secs(&self) -> Option<u64> {
        match self {
            Self::Evm(config) => config.stage_secs,
            Self::Cosmos(config) => config.stage_secs,
        }
    }

    /// A copy whose endpoints are safe to show.
    #[must_use]
    pub fn redacted(&self) -> Self {
        match self {
            Self::Evm(config) => Self::Evm(config.redacted()),
            Self::Cosmos(config) => Self::Cosmos(config.redacted()),
        }
    }
}

impl Default for SubmitConfirmations {
    fn default() -> Self {
        Self::Depth(12)
    }
}

/// Writes a configuration the way logs may show it. Serialising plain structs to JSON does not fail.
fn fmt_json(config: &impl Serialize, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    f.write_str(&serde_json::to_string(config).map_err(|_| std::fmt::Error)?)
}
