//! The local quorum gate and the choice of the smallest sufficient set of signers: pure arithmetic over weights.
//!
//! The gate only saves calls; the manager's `validate` at the pinned block is the judge.

use alloy::primitives::{Address, U256, U512};

/// How a manager compares the signed weight with the quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuorumRule {
    /// `signed >= floor(total * numerator / denominator)`: the stake-weighted form, and the most lenient of the known ones, so
    /// it also stands for unknown managers.
    Floor,
    /// `signed * denominator >= numerator * total`: the proof-of-authority form.
    Cross,
}

/// The numbers that a quorum is decided by; absent where the manager does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Weight of the distinct operators that signed.
    pub signed: U256,
    /// Weight of all operators at the reference block.
    pub total: Option<U256>,
    /// Numerator and denominator of the needed share.
    pub share: Option<(U256, U256)>,
    /// A weight that is needed whatever the share.
    pub absolute: Option<U256>,
    /// How signed weight and share are compared.
    pub rule: QuorumRule,
}

/// A signer with what counts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorView {
    /// Address of the signing key.
    pub signer: Address,
    /// The operator whose key it is.
    pub operator: Address,
    /// The operator's weight at the reference block.
    pub weight: U256,
}

impl Quorum {
    /// Whether the signed weight suffices as far as the numbers tell. Without totals any positive weight passes.
    pub fn passes(&self) -> bool {
        self.suffices(self.signed)
    }

    /// Whether there is a total and it is zero: nobody can reach quorum.
    pub fn nobody(&self) -> bool {
        self.total == Some(U256::ZERO)
    }

    /// The weight that the share asks for, where it is known.
    pub fn threshold(&self) -> Option<U256> {
        let (total, (numerator, denominator)) = (self.total?, self.share?);
        if denominator.is_zero() {
            return None;
        }
        let product = U512::from(total) * U512::from(numerator);
        let share = match self.rule {
            QuorumRule::Floor => product / U512::from(denominator),
            QuorumRule::Cross => product.div_ceil(U512::from(denominator)),
        };
        // A share above 1 of a huge total may not fit; such a quorum is out of reach either way.
        let share = if share > U512::from(U256::MAX) {
            U256::MAX
        } else {
            U256::from(share)
        };
        Some(share.max(self.absolute.unwrap_or_default()))
    }

    /// The text that aggregator components receive when the weight does not suffice.
    pub fn insufficient_text(&self) -> String {
        let show = |value: Option<U256>| value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
        format!(
            "Insufficient Quorum: weight {} < threshold {} (total weight: {})",
            self.signed,
            show(self.threshold()),
            show(self.total)
        )
    }

    fn suffices(&self, signed: U256) -> bool {
        if signed.is_zero() {
            return false;
        }
        match self.threshold() {
            Some(threshold) => signed >= threshold && !self.nobody(),
            None => self.absolute.is_none_or(|absolute| signed >= absolute),
        }
    }
}

/// The smallest set of `signers` that passes the gate, ascending by signer address as contracts want it; all weighted signers
/// where none passes. `quorum.signed` is ignored.
pub(super) fn smallest_subset(signers: &[OperatorView], quorum: &Quorum) -> Vec<OperatorView> {
    let mut ranked = distinct(signers);
    ranked.sort_by(|a, b| b.weight.cmp(&a.weight).then(a.signer.cmp(&b.signer)));
    let mut signed = U256::ZERO;
    let mut chosen = Vec::new();
    for view in ranked {
        signed = signed.saturating_add(view.weight);
        chosen.push(view);
        if quorum.suffices(signed) {
            break;
        }
    }
    chosen.sort_by_key(|view| view.signer);
    chosen
}

/// Weighted signers, one per operator (the lowest address of several).
pub(super) fn distinct(signers: &[OperatorView]) -> Vec<OperatorView> {
    let mut views: Vec<_> = signers.iter().copied().filter(|view| !view.weight.is_zero()).collect();
    views.sort_by_key(|view| (view.operator, view.signer));
    views.dedup_by_key(|view| view.operator);
    views
}

/// The weight of distinct operators among `signers`.
pub(super) fn signed_weight(signers: &[OperatorView]) -> U256 {
    distinct(signers)
        .iter()
        .fold(U256::ZERO, |sum, view| sum.saturating_add(view.weight))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quorum(signed: u64, total: u64, share: (u64, u64), rule: QuorumRule) -> Quorum {
        Quorum {
            signed: U256::from(signed),
            total: Some(U256::from(total)),
            share: Some((U256::from(share.0), U256::from(share.1))),
            absolute: None,
            rule,
        }
    }

    fn view(n: u8, weight: u64) -> OperatorView {
        OperatorView {
            signer: Address::repeat_byte(n),
            operator: Address::repeat_byte(n),
            weight: U256::from(weight),
        }
    }

    #[test]
    fn two_thirds_of_a_hundred() {
        assert!(quorum(66, 100, (2, 3), QuorumRule::Floor).passes());
        assert!(!quorum(65, 100, (2, 3), QuorumRule::Floor).passes());
        assert!(!quorum(66, 100, (2, 3), QuorumRule::Cross).passes());
        assert!(quorum(67, 100, (2, 3), QuorumRule::Cross).passes());
        assert!(!quorum(0, 0, (2, 3), QuorumRule::Floor).passes());
        assert!(
            !quorum(0, 1, (2, 3), QuorumRule::Floor).passes(),
            "no weight never passes, whatever the floor"
        );
    }

    #[test]
    fn absolute_threshold_counts_too() {
        let mut q = quorum(70, 100, (2, 3), QuorumRule::Floor);
        q.absolute = Some(U256::from(71));
        assert!(!q.passes());
        assert_eq!(
            q.insufficient_text(),
            "Insufficient Quorum: weight 70 < threshold 71 (total weight: 100)"
        );
        q.total = None;
        assert!(!q.passes());
        q.absolute = None;
        assert!(q.passes(), "without totals a weighted signer passes");
    }

    #[test]
    fn huge_weights_do_not_overflow() {
        let q = Quorum {
            signed: U256::MAX,
            total: Some(U256::MAX),
            share: Some((U256::MAX, U256::from(1))),
            absolute: None,
            rule: QuorumRule::Floor,
        };
        assert_eq!(q.threshold(), Some(U256::MAX));
    }

    #[test]
    fn heaviest_first_then_ascending() {
        let signers = [view(3, 10), view(1, 50), view(2, 10), view(9, 40)];
        let chosen = smallest_subset(&signers, &quorum(0, 110, (2, 3), QuorumRule::Floor));
        assert_eq!(
            chosen.iter().map(|v| v.signer).collect::<Vec<_>>(),
            [Address::repeat_byte(1), Address::repeat_byte(9)]
        );
    }

    #[test]
    fn ties_go_to_the_lower_address_and_operators_count_once() {
        let mut twin = view(1, 10);
        twin.operator = Address::repeat_byte(2);
        let signers = [view(3, 10), view(2, 10), twin];
        assert_eq!(signed_weight(&signers), U256::from(20));
        let chosen = smallest_subset(&signers, &quorum(0, 30, (1, 3), QuorumRule::Floor));
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0].signer, Address::repeat_byte(1));
    }

    proptest! {
        #[test]
        fn subset_is_sufficient_sorted_and_minimal(
            weights in proptest::collection::vec(0u64..1000, 1..12), numerator in 1u64..=3, rule in any::<bool>()
        ) {
            let signers: Vec<_> = weights.iter().enumerate().map(|(i, w)| view(u8::try_from(i).unwrap() + 1, *w)).collect();
            let rule = if rule { QuorumRule::Floor } else { QuorumRule::Cross };
            let q = quorum(0, weights.iter().sum(), (numerator, 3), rule);
            let chosen = smallest_subset(&signers, &q);
            prop_assert!(chosen.windows(2).all(|pair| pair[0].signer < pair[1].signer));
            let signed = signed_weight(&chosen);
            let with = |signed| Quorum { signed, ..q };
            if with(signed_weight(&signers)).passes() {
                prop_assert!(with(signed).passes());
                let lightest = chosen.iter().map(|v| v.weight).min().unwrap();
                prop_assert!(chosen.len() == 1 || !with(signed - lightest).passes());
            }
        }
    }
}
