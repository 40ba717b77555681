//! What to bid for a transaction: EIP-1559 fees from the head and the fee history, a plain gas price where there is no base fee,
//! replacements, and the hard caps of the configuration.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use wavs_types::EvmChainConfig;

use crate::chain::endpoint::Fault;
use crate::chain::evm::{EvmChain, Rpc};
use crate::chain::wire::Head;

/// Blocks of fee history looked at.
const HISTORY_BLOCKS: u64 = 4;
/// Percentile of the tips paid in them.
const HISTORY_PERCENTILE: f64 = 50.0;
/// Life of a tip or gas price read from the chain; the base fee comes with each head.
const FRESH: Duration = Duration::from_secs(10);
/// Life of it where many transactions are to be outbid at once.
const MOMENT: Duration = Duration::from_secs(1);
/// Tip where the history shows none: a tenth of the base fee, at most 1 gwei.
const TIP_FALLBACK_MAX: u128 = GWEI;
const GWEI: u128 = 1_000_000_000;
/// Wei of a whole coin.
const COIN: f64 = 1e18;
/// Gas estimates grow by a quarter: state may change before the transaction is mined.
const GAS_MARGIN: (u64, u64) = (5, 4);
/// A replacement bids a quarter more; nodes ask for at least a tenth.
const BUMP: (u128, u128) = (5, 4);
const BUMP_LEAST: (u128, u128) = (11, 10);

/// The state of the fee market at one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chain) struct FeeQuote {
    /// Base fee of the head in wei; absent on chains without EIP-1559.
    base: Option<u128>,
    /// Usual tip, or the whole gas price without a base fee; in wei.
    price: u128,
}

/// The fees of one transaction, in wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chain) struct Bid {
    /// The most that is paid; the gas price of a legacy transaction.
    pub(super) max_fee: u128,
    /// The tip; absent for a legacy transaction.
    pub(super) priority: Option<u128>,
}

/// The last tip or gas price read.
#[derive(Default)]
pub(in crate::chain) struct FeeCache {
    price: Mutex<Option<(u128, Instant)>>,
}

/// Hard limits of one chain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Caps {
    /// Wei per gas.
    pub(super) fee: Option<u128>,
    /// Wei per transaction.
    pub(super) per_tx: Option<U256>,
    /// Wei per day.
    pub(super) per_day: Option<U256>,
    /// Gas per transaction.
    pub(super) gas: u64,
    /// Wei below which the balance is critical.
    pub(super) alert: Option<U256>,
}

impl FeeQuote {
    /// The market at `head`. Asks the chain only when the cached tip is old.
    pub(in crate::chain) async fn read(chain: &EvmChain, rpc: &Rpc, head: &Head) -> Result<Self, Fault> {
        let base = head.base_fee_per_gas.map(|fee| fee.to::<u128>());
        if let Some(price) = chain.fees.fresh() {
            return Ok(Self { base, price });
        }
        let price = match base {
            None => rpc.gas_price().await?,
            Some(base) => tip(rpc, base).await?,
        };
        chain.fees.keep(price);
        Ok(Self { base, price })
    }

    /// A first bid. `hint` is a wished price per gas and only raises the bid. `None` when the cap does not even cover the base fee.
    pub(super) fn bid(&self, hint: Option<u128>, cap: Option<u128>) -> Option<Bid> {
        let cap = cap.unwrap_or(u128::MAX);
        let hint = hint.unwrap_or(0);
        match self.base {
            Some(base) => {
                let tip = self.price.max(hint.saturating_sub(base));
                let max_fee = base.saturating_mul(2).saturating_add(tip).min(cap);
                (max_fee > base).then(|| Bid {
                    max_fee,
                    priority: Some(tip.min(max_fee - base)),
                })
            }
            None => (self.price <= cap).then(|| Bid {
                max_fee: self.price.max(hint).min(cap),
                priority: None,
            }),
        }
    }

    /// A replacement of `old`: a quarter more in both fields, at least the market's price, within the cap. `None` when the cap leaves
    /// no room for a bid that nodes would take as a replacement.
    pub(super) fn outbid(&self, old: Bid, cap: Option<u128>) -> Option<Bid> {
        let fresh = self.bid(None, cap);
        let more = |old: u128, fresh: u128| ceil(old, BUMP).max(fresh);
        let cap = cap.unwrap_or(u128::MAX);
        let max_fee = more(old.max_fee, fresh.map_or(0, |bid| bid.max_fee)).min(cap);
        let priority = old
            .priority
            .map(|old| more(old, fresh.and_then(|bid| bid.priority).unwrap_or(0)).min(max_fee));
        let enough = max_fee >= ceil(old.max_fee, BUMP_LEAST)
            && priority.unwrap_or(u128::MAX) >= old.priority.map_or(0, |old| ceil(old, BUMP_LEAST));
        enough.then_some(Bid { max_fee, priority })
    }

    /// Whether the market is well above a bid.
    pub(super) fn is_above(&self, bid: Bid) -> bool {
        self.bid(None, None)
            .is_some_and(|fresh| fresh.max_fee >= ceil(bid.max_fee, BUMP_LEAST))
    }
}

impl FeeCache {
    fn fresh(&self) -> Option<u128> {
        let cached = self.price.lock().unwrap_or_else(PoisonError::into_inner);
        cached
            .filter(|(_, read_at)| read_at.elapsed() < FRESH)
            .map(|(price, _)| price)
    }

    fn keep(&self, price: u128) {
        *self.price.lock().unwrap_or_else(PoisonError::into_inner) = Some((price, Instant::now()));
    }

    /// The next quote asks the chain, unless others did so a moment ago.
    pub(super) fn forget(&self) {
        let mut price = self.price.lock().unwrap_or_else(PoisonError::into_inner);
        *price = price.filter(|(_, read_at)| read_at.elapsed() < MOMENT);
    }
}

impl Caps {
    pub(super) fn of(config: &EvmChainConfig) -> Self {
        Self {
            fee: config.max_fee_gwei.map(|gwei| saturate(gwei * 1e9)),
            per_tx: config.max_cost_per_tx.map(|coins| U256::from(saturate(coins * COIN))),
            per_day: config.max_cost_per_day.map(|coins| U256::from(saturate(coins * COIN))),
            gas: config.max_gas,
            alert: config.min_balance_alert.map(|coins| U256::from(saturate(coins * COIN))),
        }
    }

    /// The highest fee per gas that both the fee cap and the cost cap of a transaction leave.
    pub(super) fn fee_for(&self, gas: u64) -> Option<u128> {
        let by_cost = self
            .per_tx
            .map(|cost| u128::try_from(cost / U256::from(gas.max(1))).unwrap_or(u128::MAX));
        [self.fee, by_cost].into_iter().flatten().min()
    }

    /// The gas limit for an estimate; `None` when the estimate alone is above the cap.
    pub(super) fn gas_limit(&self, estimate: u64) -> Option<u64> {
        let padded = estimate.saturating_mul(GAS_MARGIN.0) / GAS_MARGIN.1;
        (estimate <= self.gas).then(|| padded.min(self.gas))
    }
}

/// The most that a transaction can cost, in wei.
pub(super) fn worst_cost(gas: u64, bid: Bid) -> U256 {
    U256::from(gas) * U256::from(bid.max_fee)
}

/// The median tip of the newest blocks.
async fn tip(rpc: &Rpc, base: u128) -> Result<u128, Fault> {
    let rewards = match rpc.fee_history(HISTORY_BLOCKS, HISTORY_PERCENTILE).await {
        Ok(history) => history.reward.unwrap_or_default(),
        // Some chains have a base fee but no history.
        Err(Fault::Rpc { .. }) => Vec::new(),
        Err(fault) => return Err(fault),
    };
    let mut tips: Vec<u128> = rewards
        .iter()
        .flatten()
        .filter_map(|tip| u128::try_from(*tip).ok())
        .collect();
    tips.sort_unstable();
    let median = tips.get(tips.len() / 2).copied().unwrap_or(0);
    Ok(if median > 0 {
        median
    } else {
        (base / 10).clamp(1, TIP_FALLBACK_MAX)
    })
}

fn ceil(value: u128, (numerator, denominator): (u128, u128)) -> u128 {
    value.saturating_mul(numerator).div_ceil(denominator)
}

/// Negative and nonsensical limits become zero, which stops posting instead of making it free of limits.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn saturate(value: f64) -> u128 {
    value as u128
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DYNAMIC: FeeQuote = FeeQuote {
        base: Some(10 * GWEI),
        price: GWEI,
    };
    const LEGACY: FeeQuote = FeeQuote {
        base: None,
        price: 5 * GWEI,
    };

    #[test]
    fn first_bids() {
        let gwei = |max, tip: Option<u128>| {
            Some(Bid {
                max_fee: max * GWEI,
                priority: tip.map(|tip| tip * GWEI),
            })
        };
        assert_eq!(DYNAMIC.bid(None, None), gwei(21, Some(1)));
        assert_eq!(
            DYNAMIC.bid(Some(15 * GWEI), None),
            gwei(25, Some(5)),
            "a hint raises the tip"
        );
        assert_eq!(
            DYNAMIC.bid(Some(3 * GWEI), None),
            gwei(21, Some(1)),
            "a low hint changes nothing"
        );
        assert_eq!(DYNAMIC.bid(None, Some(12 * GWEI)), gwei(12, Some(1)));
        assert_eq!(DYNAMIC.bid(None, Some(10 * GWEI)), None, "the cap must leave a tip");
        assert_eq!(LEGACY.bid(None, None), gwei(5, None));
        assert_eq!(LEGACY.bid(Some(9 * GWEI), Some(8 * GWEI)), gwei(8, None));
        assert_eq!(LEGACY.bid(None, Some(4 * GWEI)), None);
    }

    #[test]
    fn replacements_rise_by_a_quarter_until_the_cap() {
        let old = Bid {
            max_fee: 100,
            priority: Some(10),
        };
        let calm = FeeQuote {
            base: Some(1),
            price: 1,
        };
        assert_eq!(
            calm.outbid(old, None),
            Some(Bid {
                max_fee: 125,
                priority: Some(13)
            })
        );
        assert_eq!(
            calm.outbid(old, Some(110)),
            Some(Bid {
                max_fee: 110,
                priority: Some(13)
            })
        );
        assert_eq!(calm.outbid(old, Some(109)), None);
        assert!(DYNAMIC.is_above(old));
        assert!(!calm.is_above(old));
    }

    #[test]
    fn gas_limits() {
        let caps = Caps::of(&EvmChainConfig {
            max_gas: 1000,
            max_fee_gwei: Some(-1.0),
            ..EvmChainConfig::default()
        });
        assert_eq!(caps.gas_limit(100), Some(125));
        assert_eq!(caps.gas_limit(900), Some(1000));
        assert_eq!(caps.gas_limit(1001), None);
        assert_eq!(caps.fee, Some(0));
        let caps = Caps {
            fee: Some(7),
            per_tx: Some(U256::from(1000)),
            ..caps
        };
        assert_eq!((caps.fee_for(100), caps.fee_for(200)), (Some(7), Some(5)));
        assert_eq!(
            Caps {
                fee: None,
                per_tx: None,
                ..caps
            }
            .fee_for(1),
            None
        );
    }

    proptest! {
        #[test]
        fn bids_are_valid_transactions(base in 0u128..1 << 90, price in 0u128..1 << 90, hint in 0u128..1 << 90, cap in 1u128..1 << 91) {
            let quote = FeeQuote { base: Some(base), price };
            if let Some(bid) = quote.bid(Some(hint), Some(cap)) {
                prop_assert!(bid.max_fee <= cap && bid.max_fee > base);
                prop_assert!(bid.priority.unwrap() <= bid.max_fee);
                if let Some(next) = quote.outbid(bid, Some(cap)) {
                    prop_assert!(next.max_fee <= cap && next.max_fee * 10 >= bid.max_fee * 11);
                    prop_assert!(next.priority.unwrap() * 10 >= bid.priority.unwrap() * 11);
                    prop_assert!(next.priority.unwrap() <= next.max_fee);
                }
            }
        }
    }
}
