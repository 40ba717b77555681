//! Why a call was not submitted. Nothing was reserved or sent in any of these cases.

use alloy::primitives::{Address, U256};
use wavs_store::StoreError;

use super::signer::SignRefused;
use crate::chain::error::{ChainError, Retry};

/// A submission that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is no posting key.
    #[error("this node has no posting key; set the aggregator credential to submit results")]
    NoPostingKey,
    /// The call was not simulated or would revert.
    #[error("the call was not simulated successfully; judge it again with a posting account")]
    NotSimulated,
    /// The call waited for room so long that its reference block may be too old, or it ended while it was looked up.
    #[error("the call is out of date; judge it again")]
    Stale,
    /// The call needs more gas than the cap allows.
    #[error(
        "the call needs {estimate} gas, above the cap of {cap}; raise max_gas of the chain or make the handler cheaper"
    )]
    GasAboveCap {
        /// Gas estimate.
        estimate: u64,
        /// `max_gas`.
        cap: u64,
    },
    /// The market is above the cap on fees.
    #[error("the chain's fees are above max_fee_gwei; waiting for them to fall (or raise the cap)")]
    FeeAboveCap,
    /// The transaction could cost more than the cap.
    #[error(
        "the transaction may cost {cost} wei, above the cap of {cap} wei; waiting for lower fees (or raise max_cost_per_tx)"
    )]
    CostAboveCap {
        /// Worst cost in wei.
        cost: U256,
        /// `max_cost_per_tx` in wei.
        cap: U256,
    },
    /// The budget of the day is used up.
    #[error("{spent} wei are spent or reserved of today's budget of {cap} wei; waiting (or raise max_cost_per_day)")]
    DayAboveCap {
        /// Wei spent and reserved within a day.
        spent: U256,
        /// `max_cost_per_day` in wei.
        cap: U256,
    },
    /// The account cannot pay.
    #[error(
        "the posting account {account} has {balance} wei and needs {needed} wei; send funds to it, submission resumes by itself"
    )]
    Unfunded {
        /// The account.
        account: Address,
        /// Its balance at the last look.
        balance: U256,
        /// What the waiting transaction needs.
        needed: U256,
    },
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignRefused),
    /// The ledger did not store it.
    #[error("the transaction could not be stored and was not sent: {0}")]
    Store(#[from] StoreError),
    /// The chain could not be asked.
    #[error(transparent)]
    Chain(ChainError),
}

impl SubmitError {
    /// When the same submission may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            Self::NoPostingKey => Retry::Never,
            Self::Chain(error) => error.retry(),
            _ => Retry::Backoff,
        }
    }

    /// Metric label of the class; a closed set.
    pub fn class(&self) -> &'static str {
        match self {
            Self::NoPostingKey => "no_posting_key",
            Self::NotSimulated => "not_simulated",
            Self::Stale => "stale",
            Self::GasAboveCap { .. } => "gas_cap",
            Self::FeeAboveCap => "fee_cap",
            Self::CostAboveCap { .. } => "cost_cap",
            Self::DayAboveCap { .. } => "day_cap",
            Self::Unfunded { .. } => "unfunded",
            Self::Sign(_) => "sign",
            Self::Store(_) => "store",
            Self::Chain(error) => error.class(),
        }
    }
}

impl From<rusqlite::Error> for SubmitError {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Store(cause.into())
    }
}
