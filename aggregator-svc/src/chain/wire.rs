//! The JSON-RPC answers that are read here, reduced to the fields in use, so that chains with extra block, receipt or
//! transaction types are understood as well. Source: Ethereum execution API.

use alloy::primitives::{Address, B256, Bytes, U64, U128, U256};
use serde::{Deserialize, Serialize};

/// A block header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) number: U64,
    pub(super) hash: B256,
    /// Seconds since the Unix epoch.
    pub(super) timestamp: U64,
    /// Absent before EIP-1559.
    #[serde(default)]
    pub(super) base_fee_per_gas: Option<U128>,
}

/// A block with whole transactions.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FullBlock {
    pub(super) transactions: Vec<TxInfo>,
}

/// A transaction as the chain knows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TxInfo {
    pub(super) hash: B256,
    #[serde(default)]
    pub(super) to: Option<Address>,
    #[serde(default)]
    pub(super) input: Bytes,
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    pub(super) transaction_hash: B256,
    pub(super) block_hash: B256,
    pub(super) block_number: U64,
    /// Absent before Byzantium; such a receipt counts as a success.
    #[serde(default)]
    pub(super) status: Option<U64>,
    pub(super) gas_used: U128,
    #[serde(default)]
    pub(super) effective_gas_price: Option<U128>,
}

impl Receipt {
    /// Whether the transaction had its effect.
    pub(super) fn succeeded(&self) -> bool {
        self.status.is_none_or(|status| !status.is_zero())
    }

    /// Gas used times price paid, in wei.
    pub(super) fn cost(&self) -> U256 {
        U256::from(self.gas_used) * U256::from(self.effective_gas_price.unwrap_or_default())
    }
}

/// A log, reduced to where it came from and its topics.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogPlace {
    pub(super) transaction_hash: Option<B256>,
    #[serde(default)]
    pub(super) topics: Vec<B256>,
}

/// The part of `eth_feeHistory` in use.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FeeHistory {
    /// Priority fees paid, per block and percentile.
    #[serde(default)]
    pub(super) reward: Option<Vec<Vec<U256>>>,
}

/// Parameters of `eth_call` and `eth_estimateGas`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CallRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Address>,
    /// Under the name that every node knows; `input` is newer.
    pub(super) data: Bytes,
}

/// The block that a read is pinned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// One block by hash (EIP-1898).
    Hash(B256),
    /// One block by number, for endpoints without EIP-1898.
    Number(u64),
}

impl Serialize for At {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ByHash {
            block_hash: B256,
            require_canonical: bool,
        }
        match self {
            Self::Hash(block_hash) => ByHash {
                block_hash: *block_hash,
                require_canonical: true,
            }
            .serialize(serializer),
            Self::Number(number) => U64::from(*number).serialize(serializer),
        }
    }
}
