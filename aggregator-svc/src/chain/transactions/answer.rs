//! What a node's answer to a raw transaction means.
//!
//! The JSON-RPC codes do not tell these cases apart, so texts decide; each is matched from its start with the wordings that
//! geth, erigon, nethermind, besu, reth and anvil use, never by a word somewhere inside.

use alloy::primitives::B256;

use crate::chain::endpoint::Fault;

/// The answer of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is in the pool now, or was before.
    Accepted,
    /// Its nonce is in a block already, by one of our versions or by a foreign transaction.
    NonceTooLow,
    /// Another version with that nonce is in the pool and this one does not outbid it.
    Underpriced,
    /// The node does not take so low a fee.
    FeeTooLow,
    /// The account cannot pay for it.
    Unfunded(String),
    /// The node holds as many transactions, of the account or at all, as it takes.
    Full(String),
    /// It may or may not have arrived.
    Ambiguous(String),
    /// It can never be mined as it is.
    Refused(String),
}

const KNOWN: [&str; 7] = [
    "already known",
    "alreadyknown",
    "already imported",
    "known transaction",
    "transaction already imported",
    "transaction with the same hash was already imported",
    "transaction already in mempool",
];
const NONCE_TOO_LOW: [&str; 5] = [
    "nonce too low",
    "nonce is too low",
    "oldnonce",
    "transaction nonce is too low",
    "nonce below current nonce",
];
const UNDERPRICED: [&str; 5] = [
    "replacement transaction underpriced",
    "could not replace existing tx",
    "replacementnotallowed",
    "transaction gas price too low to replace",
    "insufficient gas price to replace existing transaction",
];
const FEE_TOO_LOW: [&str; 8] = [
    "transaction underpriced",
    "max fee per gas less than block base fee",
    "fee cap less than block base fee",
    "feetoolow",
    "fee too low",
    "gas price below configured minimum gas price",
    "gas price too low",
    "max priority fee per gas too low",
];
const UNFUNDED: [&str; 5] = [
    "insufficient funds",
    "insufficientfunds",
    "insufficient balance",
    "upfront cost exceeds account balance",
    "sender doesn't have enough funds",
];
/// The limit of the node's whole pool has the same text as that of one account in some nodes, and the same cure: send fewer.
const FULL: [&str; 4] = [
    "txpool is full",
    "transaction pool is full",
    "account limit exceeded",
    "in-flight transaction limit reached",
];
/// Put in front of the reason by some nodes.
const PREFIXES: [&str; 4] = ["err: ", "error: ", "invalid transaction: ", "rlp: "];
/// Limits of the node itself, which another moment or endpoint may not have.
const BUSY: [&str; 1] = ["already reserved"];

impl Answer {
    /// Sorts one answer.
    pub(super) fn of(result: Result<B256, Fault>) -> Self {
        match result {
            Ok(_) => Self::Accepted,
            Err(Fault::Transport(text) | Fault::Shape(text)) => Self::Ambiguous(text),
            Err(Fault::Revert(revert)) => Self::Refused(revert.to_string()),
            Err(Fault::Rpc { message, .. }) => Self::of_text(message),
        }
    }

    fn of_text(message: String) -> Self {
        let lower = message.to_lowercase();
        let text = PREFIXES
            .iter()
            .fold(lower.as_str(), |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
        let is = |list: &[&str]| list.iter().any(|start| text.starts_with(start));
        if is(&KNOWN) {
            Self::Accepted
        } else if is(&NONCE_TOO_LOW) {
            Self::NonceTooLow
        } else if is(&UNDERPRICED) {
            Self::Underpriced
        } else if is(&FEE_TOO_LOW) {
            Self::FeeTooLow
        } else if is(&UNFUNDED) {
            Self::Unfunded(message)
        } else if is(&FULL) {
            Self::Full(message)
        } else if is(&BUSY) {
            Self::Ambiguous(message)
        } else {
            Self::Refused(message)
        }
    }

    /// The answer that tells most when several endpoints gave one.
    pub(super) fn better(self, other: Self) -> Self {
        if self.rank() <= other.rank() { self } else { other }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::NonceTooLow => 1,
            Self::Underpriced => 2,
            Self::FeeTooLow => 3,
            Self::Unfunded(_) => 4,
            Self::Full(_) => 5,
            Self::Refused(_) => 6,
            Self::Ambiguous(_) => 7,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings_of_nodes() {
        let table = [
            ("already known", Answer::Accepted),
            ("AlreadyKnown", Answer::Accepted),
            ("transaction already imported", Answer::Accepted),
            ("nonce too low: next nonce 5, tx nonce 4", Answer::NonceTooLow),
            ("OldNonce", Answer::NonceTooLow),
            ("replacement transaction underpriced", Answer::Underpriced),
            ("transaction underpriced: tip needed 1", Answer::FeeTooLow),
            (
                "max fee per gas less than block base fee: address 0x…",
                Answer::FeeTooLow,
            ),
            ("err: max fee per gas less than block base fee", Answer::FeeTooLow),
            ("txpool is full", Answer::Full("txpool is full".into())),
        ];
        for (text, expect) in table {
            let fault = Fault::Rpc {
                code: -32000,
                message: text.into(),
            };
            assert_eq!(Answer::of(Err(fault)), expect, "{text}");
        }
        let unfunded = Fault::Rpc {
            code: -32003,
            message: "Insufficient funds for gas * price + value".into(),
        };
        assert!(matches!(Answer::of(Err(unfunded)), Answer::Unfunded(_)));
    }

    #[test]
    fn a_word_inside_a_text_decides_nothing() {
        for text in [
            "the nonce too low text in a quote",
            "contract says: already known",
            "intrinsic gas too low",
        ] {
            let fault = Fault::Rpc {
                code: -32000,
                message: text.into(),
            };
            assert!(matches!(Answer::of(Err(fault)), Answer::Refused(_)), "{text}");
        }
    }

    #[test]
    fn acceptance_by_one_endpoint_counts() {
        let ambiguous = Answer::Ambiguous("timeout".into());
        assert_eq!(ambiguous.clone().better(Answer::Accepted), Answer::Accepted);
        assert_eq!(Answer::NonceTooLow.better(ambiguous), Answer::NonceTooLow);
    }
}
