//! The envelope: the bytes that operators sign and that the handler contract receives. It contains no chain, handler or
//! reference block, so a signature is valid wherever the same operator set is known.

use std::{fmt, str::FromStr};

use alloy_primitives::keccak256;
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

use crate::{
    B256, Bytes, abi,
    event_id::EventId,
    signature_kind::SignatureKind,
    text::{ParseHexError, parse_hex, serde_as_text},
};

/// What operators sign. The JSON form has camelCase keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Identity of the result.
    pub event_id: EventId,
    /// Position that the component gave it.
    pub ordering: EnvelopeOrdering,
    /// The component's output, unchanged.
    pub payload: Bytes,
}

/// 12 bytes: a big-endian u64 and four zero bytes. No ordering and ordering 0 are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvelopeOrdering([u8; 12]);

impl Envelope {
    /// Builds the envelope of one response.
    #[must_use]
    pub fn new(event_id: EventId, ordering: Option<u64>, payload: Bytes) -> Self {
        Self {
            event_id,
            ordering: ordering.into(),
            payload,
        }
    }

    /// The Solidity struct.
    #[must_use]
    pub fn to_abi(&self) -> abi::Envelope {
        abi::Envelope {
            eventId: (*self.event_id.as_bytes()).into(),
            ordering: self.ordering.0.into(),
            payload: self.payload.clone(),
        }
    }

    /// `abi.encode(envelope)`: one dynamic tuple, hence with the leading offset word.
    #[must_use]
    pub fn abi_encode(&self) -> Vec<u8> {
        self.to_abi().abi_encode()
    }

    /// `keccak256(abi.encode(envelope))`.
    #[must_use]
    pub fn digest(&self) -> B256 {
        keccak256(self.abi_encode())
    }

    /// The hash that goes into the signature algorithm.
    #[must_use]
    pub fn signing_hash(&self, kind: SignatureKind) -> B256 {
        kind.signing_hash(self.digest())
    }
}

impl EnvelopeOrdering {
    /// Wraps raw bytes, also those that no component could have produced.
    #[must_use]
    pub const fn new(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl From<Option<u64>> for EnvelopeOrdering {
    fn from(ordering: Option<u64>) -> Self {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&ordering.unwrap_or(0).to_be_bytes());
        Self(bytes)
    }
}

impl FromStr for EnvelopeOrdering {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for EnvelopeOrdering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

serde_as_text!(EnvelopeOrdering);
