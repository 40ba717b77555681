//! What a contract reverted with, decoded as far as its data tells, and what the known selectors mean for a signature set.

use std::fmt;

use alloy::primitives::{Bytes, U256};
use alloy::sol_types::{SolInterface, SolValue};

use super::contracts::ManagerErrors::ManagerErrorsErrors;

/// Longest text of a revert shown to users, in characters; the rest is cut.
const TEXT_MAX: usize = 300;
/// `Error(string)`.
const ERROR_STRING: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// `Panic(uint256)`.
const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// A revert of a contract call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    /// The bytes as returned; empty for a bare revert, an invalid opcode or out of gas.
    pub data: Bytes,
    /// Text of the endpoint where there is no data (for example `out of gas`), redacted.
    pub message: Option<String>,
}

/// What a revert of `validate` means; the groups that call for different reactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevertClass {
    /// Not enough weight yet: keep collecting.
    BelowQuorum,
    /// The manager knows no weight at all.
    NoOperators,
    /// A signer must go.
    BadSigner,
    /// The set was built wrongly: a defect of ours.
    Bug,
    /// The reference block does not suit.
    ReferenceBlock,
    /// The registry contradicts itself.
    Inconsistent,
    /// Not an error of a manager.
    Other,
}

impl Revert {
    /// A revert with data.
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self {
            data: data.into(),
            message: None,
        }
    }

    /// The first four bytes, where there are four.
    pub fn selector(&self) -> Option<[u8; 4]> {
        self.data.get(..4)?.try_into().ok()
    }

    /// The selector as a metric label: a known name, `error_string`, `panic`, `none` or `other`.
    pub fn label(&self) -> &'static str {
        match self.selector() {
            None => "none",
            Some(ERROR_STRING) => "error_string",
            Some(PANIC) => "panic",
            Some(_) => self.known().map_or("other", |error| error_name(&error)),
        }
    }

    /// What the revert means for a signature set.
    pub fn class(&self) -> RevertClass {
        use ManagerErrorsErrors as E;
        match self.known() {
            None | Some(E::InvalidQuorumParameters(_) | E::InvalidTriggerId(_)) => RevertClass::Other,
            Some(E::InsufficientQuorum(_) | E::InsufficientSignedStake(_)) => RevertClass::BelowQuorum,
            Some(E::InsufficientQuorumZero(_)) => RevertClass::NoOperators,
            Some(E::SignerNotRegistered(_) | E::InvalidSignature(_)) => RevertClass::BadSigner,
            Some(
                E::NotSorted(_)
                | E::InvalidSignatureOrder(_)
                | E::InvalidSignatureLength(_)
                | E::LengthMismatch(_)
                | E::InvalidLength(_),
            ) => RevertClass::Bug,
            Some(E::InvalidSignatureBlock(_) | E::InvalidReferenceBlock(_)) => RevertClass::ReferenceBlock,
            Some(E::InvalidSignedWeight(_)) => RevertClass::Inconsistent,
        }
    }

    /// The words of `InsufficientQuorum`: signed weight, threshold as that manager counts it, total weight.
    pub fn insufficient_quorum(&self) -> Option<(U256, U256, U256)> {
        match self.known()? {
            ManagerErrorsErrors::InsufficientQuorum(e) => Some((e.signerWeight, e.thresholdWeight, e.totalWeight)),
            _ => None,
        }
    }

    fn known(&self) -> Option<ManagerErrorsErrors> {
        ManagerErrorsErrors::abi_decode(&self.data).ok()
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(selector) = self.selector() else {
            return match &self.message {
                Some(message) => write!(f, "{message} (no revert data)"),
                None => write!(f, "no revert data"),
            };
        };
        let arguments = &self.data[4..];
        match selector {
            ERROR_STRING => match String::abi_decode(arguments) {
                Ok(text) => write!(f, "\"{}\"", printable(&text)),
                Err(_) => write!(f, "Error(string) with undecodable data {}", hex_cut(&self.data)),
            },
            PANIC => match U256::abi_decode(arguments) {
                Ok(code) => write!(f, "Panic(0x{code:02x}): {}", panic_text(code)),
                Err(_) => write!(f, "Panic with undecodable data {}", hex_cut(&self.data)),
            },
            _ => match self.known() {
                Some(ManagerErrorsErrors::InsufficientQuorum(e)) => write!(
                    f,
                    "InsufficientQuorum: weight {} < threshold {} (total weight: {})",
                    e.signerWeight, e.thresholdWeight, e.totalWeight
                ),
                Some(ManagerErrorsErrors::InvalidTriggerId(e)) => write!(f, "InvalidTriggerId({})", e.triggerId),
                Some(error) => write!(f, "{}()", error_name(&error)),
                None => write!(f, "custom error {}", hex_cut(&self.data)),
            },
        }
    }
}

fn error_name(error: &ManagerErrorsErrors) -> &'static str {
    use ManagerErrorsErrors as E;
    match error {
        E::InsufficientQuorum(_) => "InsufficientQuorum",
        E::InsufficientSignedStake(_) => "InsufficientSignedStake",
        E::InsufficientQuorumZero(_) => "InsufficientQuorumZero",
        E::SignerNotRegistered(_) => "SignerNotRegistered",
        E::InvalidSignature(_) => "InvalidSignature",
        E::NotSorted(_) => "NotSorted",
        E::InvalidSignatureOrder(_) => "InvalidSignatureOrder",
        E::InvalidSignatureLength(_) => "InvalidSignatureLength",
        E::LengthMismatch(_) => "LengthMismatch",
        E::InvalidLength(_) => "InvalidLength",
        E::InvalidSignatureBlock(_) => "InvalidSignatureBlock",
        E::InvalidReferenceBlock(_) => "InvalidReferenceBlock",
        E::InvalidSignedWeight(_) => "InvalidSignedWeight",
        E::InvalidQuorumParameters(_) => "InvalidQuorumParameters",
        E::InvalidTriggerId(_) => "InvalidTriggerId",
    }
}

/// Meanings of Solidity's panic codes.
fn panic_text(code: U256) -> &'static str {
    match u8::try_from(code).unwrap_or(0) {
        0x01 => "assertion failed",
        0x11 => "arithmetic overflow",
        0x12 => "division by zero",
        0x21 => "bad enum value",
        0x31 => "pop of an empty array",
        0x32 => "array index out of bounds",
        0x41 => "out of memory",
        0x51 => "call of an uninitialised function",
        _ => "unknown panic",
    }
}

/// A contract's own text may hold anything; control characters would disturb logs and terminals.
fn printable(text: &str) -> String {
    text.chars()
        .take(TEXT_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn hex_cut(data: &[u8]) -> String {
    let full = hex::encode(data);
    match full.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("0x{}… ({} bytes)", &full[..at], data.len()),
        None => format!("0x{full}"),
    }
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolError;
    use proptest::prelude::*;

    use super::*;
    use crate::chain::contracts::ManagerErrors;

    #[test]
    fn every_selector_has_its_class() {
        use RevertClass as C;
        let table: [(u32, C); 14] = [
            (0xe121_632f, C::BelowQuorum),
            (0x2f41_f79b, C::NoOperators),
            (0x3dda_1739, C::BadSigner),
            (0x8baa_579f, C::BadSigner),
            (0xba50_f911, C::Bug),
            (0x139f_3c92, C::Bug),
            (0x4be6_321b, C::Bug),
            (0xff63_3a38, C::Bug),
            (0x947d_5a84, C::Bug),
            (0x898d_eb1d, C::ReferenceBlock),
            (0xe64f_180f, C::ReferenceBlock),
            (0x960b_41ee, C::Inconsistent),
            (0xcc0d_6871, C::Other),
            (0x1234_5678, C::Other),
        ];
        for (selector, class) in table {
            assert_eq!(
                Revert::new(selector.to_be_bytes().to_vec()).class(),
                class,
                "{selector:08x}"
            );
        }
        let below = ManagerErrors::InsufficientQuorum {
            signerWeight: U256::from(1),
            thresholdWeight: U256::from(2),
            totalWeight: U256::from(3),
        };
        let revert = Revert::new(below.abi_encode());
        assert_eq!(revert.class(), C::BelowQuorum);
        assert_eq!(
            revert.to_string(),
            "InsufficientQuorum: weight 1 < threshold 2 (total weight: 3)"
        );
    }

    #[test]
    fn texts_of_solidity_reverts() {
        let mut data = ERROR_STRING.to_vec();
        data.extend("already\nstored".to_string().abi_encode());
        assert_eq!(Revert::new(data).to_string(), "\"already stored\"");
        let mut data = PANIC.to_vec();
        data.extend(U256::from(0x11).abi_encode());
        assert_eq!(Revert::new(data).to_string(), "Panic(0x11): arithmetic overflow");
        assert_eq!(
            Revert::new(vec![0xde, 0xad, 0xbe, 0xef]).to_string(),
            "custom error 0xdeadbeef"
        );
        assert_eq!(Revert::new(Vec::new()).to_string(), "no revert data");
    }

    proptest! {
        #[test]
        fn any_data_has_a_bounded_text(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let text = Revert::new(data).to_string();
            prop_assert!(text.chars().count() <= TEXT_MAX + 60);
        }
    }
}
