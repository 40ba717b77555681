//! Whether a posting account can pay: its balance against what a transaction usually costs there.

use alloy::primitives::{Address, U256};
use wavs_types::ChainKey;

/// Below so many usual transactions the balance is low.
const LOW: U256 = U256::from_limbs([50, 0, 0, 0]);
/// Below so many it is critical, unless the configuration names an amount.
const CRITICAL: U256 = U256::from_limbs([10, 0, 0, 0]);
/// Gas of a usual transaction until one of ours was mined: a handler that verifies a few signatures and stores a result.
const USUAL_GAS: U256 = U256::from_limbs([200_000, 0, 0, 0]);

/// How well an account is funded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Funds {
    /// The chain has not told the balance yet.
    Unknown,
    /// Enough.
    Ok,
    /// Below 50 usual transactions.
    Low,
    /// Below 10 usual transactions, or below `min_balance_alert`.
    Critical,
    /// A transaction waits because the account cannot pay for it.
    Unfunded,
}

/// A posting account on one chain, for status, metrics and the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountState {
    /// The chain.
    pub chain: ChainKey,
    /// The account.
    pub account: Address,
    /// Wei at the last look.
    pub balance: Option<U256>,
    /// Wei that a transaction usually costs.
    pub usual_cost: Option<U256>,
    /// How well it is funded.
    pub funds: Funds,
    /// Transactions that are in no block yet.
    pub pending: u32,
    /// Nonces below own pending transactions that nobody uses.
    pub nonce_gap: u32,
}

impl Funds {
    /// Judges a balance. `alert` is the configured amount below which it is critical.
    pub(super) fn judge(
        balance: Option<U256>,
        usual_cost: Option<U256>,
        alert: Option<U256>,
        transaction_waits: bool,
    ) -> Self {
        if transaction_waits {
            return Self::Unfunded;
        }
        let Some(balance) = balance else { return Self::Unknown };
        let usual = usual_cost.unwrap_or_default();
        let critical = alert.unwrap_or_else(|| usual.saturating_mul(CRITICAL));
        if balance.is_zero() || balance < critical {
            Self::Critical
        } else if balance < usual.saturating_mul(LOW) {
            Self::Low
        } else {
            Self::Ok
        }
    }

    /// The name in status and API; a closed set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Low => "low",
            Self::Critical => "critical",
            Self::Unfunded => "unfunded",
        }
    }

    /// The value of the metric: 0 while all is well, higher when it is worse.
    pub(super) fn level(self) -> i64 {
        match self {
            Self::Unknown | Self::Ok => 0,
            Self::Low => 1,
            Self::Critical => 2,
            Self::Unfunded => 3,
        }
    }
}

/// What a transaction usually costs at `gas_price` wei while none was mined yet.
pub(super) fn cost_unseen(gas_price: u128) -> U256 {
    USUAL_GAS.saturating_mul(U256::from(gas_price))
}

/// The usual cost after another transaction.
pub(super) fn cost_seen(usual: Option<U256>, cost: U256) -> U256 {
    usual.map_or(cost, |usual| {
        (usual.saturating_mul(U256::from(7)).saturating_add(cost)) / U256::from(8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_counted_in_usual_transactions() {
        let wei = |n: u64| Some(U256::from(n));
        let table = [
            (None, wei(2), None, false, Funds::Unknown),
            (wei(100), wei(2), None, false, Funds::Ok),
            (wei(99), wei(2), None, false, Funds::Low),
            (wei(20), wei(2), None, false, Funds::Low),
            (wei(19), wei(2), None, false, Funds::Critical),
            (wei(0), None, None, false, Funds::Critical),
            (wei(1), None, None, false, Funds::Ok),
            (wei(99), wei(2), wei(100), false, Funds::Critical),
            (wei(99), wei(2), wei(5), false, Funds::Low),
            (wei(4), wei(2), wei(5), false, Funds::Critical),
            (wei(1_000), wei(2), None, true, Funds::Unfunded),
            (wei(1_000), Some(U256::MAX), None, false, Funds::Critical),
        ];
        for (balance, usual, alert, waits, expect) in table {
            assert_eq!(
                Funds::judge(balance, usual, alert, waits),
                expect,
                "{balance:?} {usual:?} {alert:?}"
            );
        }
    }

    #[test]
    fn the_usual_cost_follows_what_was_paid() {
        assert_eq!(cost_seen(None, U256::from(80)), U256::from(80));
        assert_eq!(cost_seen(Some(U256::from(80)), U256::from(160)), U256::from(90));
        assert_eq!(cost_unseen(2), U256::from(400_000));
    }
}
