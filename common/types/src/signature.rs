//! Recoverable secp256k1 signatures in the one form that contracts accept. Anything that arrives is brought into that form
//! before it is stored, compared or forwarded, so a mangled copy of a signature is the same signature.

use alloy_primitives::{Signature, U256, uint};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{B256, EvmAddress};

/// Order of the secp256k1 group (SEC 2, section 2.4.1).
const ORDER: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
/// Half of it, rounded down: the largest `s` of a canonical signature.
const HALF_ORDER: U256 = uint!(0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0_U256);

/// `r || s || v` with r and s in range, low s, and v 27 or 28. JSON: an array of 65 integers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalSignature([u8; 65]);

/// Why some bytes are not a usable signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The length differs from 65.
    #[error("a signature has 65 bytes (r, s, v), got {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// r or s is zero or not below the group order.
    #[error("the signature's {part} is zero or not below the order of secp256k1")]
    Range {
        /// `r` or `s`.
        part: &'static str,
    },
    /// v is none of 0, 1, 27, 28, 35 and above.
    #[error("the signature's v is {v}, expected 27 or 28 (0, 1 and values from 35 are also understood)")]
    RecoveryId {
        /// The last byte.
        v: u8,
    },
    /// No public key belongs to this signature and hash.
    #[error("no signer can be recovered from the signature: it was not made by any key for {hash}")]
    Recovery {
        /// The hash that should have been signed.
        hash: B256,
    },
}

impl CanonicalSignature {
    /// Checks a signature in any understood form and brings it into the canonical one. Idempotent.
    ///
    /// # Errors
    /// A wrong length, r or s out of range, or a v that names no recovery id.
    pub fn canonicalise(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes: [u8; 65] = bytes
            .try_into()
            .map_err(|_| SignatureError::Length { found: bytes.len() })?;
        let r = scalar(&bytes, 0, "r")?;
        let s = scalar(&bytes, 32, "s")?;
        let mut odd_y = y_parity(bytes[64])?;
        let low = if s > HALF_ORDER {
            odd_y = !odd_y;
            ORDER - s
        } else {
            s
        };
        let mut canonical = [0; 65];
        canonical[..32].copy_from_slice(&r.to_be_bytes::<32>());
        canonical[32..64].copy_from_slice(&low.to_be_bytes::<32>());
        canonical[64] = 27 + u8::from(odd_y);
        Ok(Self(canonical))
    }

    /// The 65 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// The address whose key signed `hash`.
    ///
    /// # Errors
    /// The signature belongs to no key.
    pub fn recover(&self, hash: B256) -> Result<EvmAddress, SignatureError> {
        Signature::from_raw_array(&self.0)
            .and_then(|signature| signature.recover_address_from_prehash(&hash))
            .map_err(|_| SignatureError::Recovery { hash })
    }
}

impl TryFrom<&[u8]> for CanonicalSignature {
    type Error = SignatureError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        Self::canonicalise(bytes)
    }
}

impl std::fmt::Debug for CanonicalSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CanonicalSignature({})", hex::encode(self.0))
    }
}

impl Serialize for CanonicalSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CanonicalSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        Self::canonicalise(&bytes).map_err(de::Error::custom)
    }
}

fn scalar(bytes: &[u8; 65], start: usize, part: &'static str) -> Result<U256, SignatureError> {
    let value = U256::from_be_slice(&bytes[start..start + 32]);
    if value.is_zero() || value >= ORDER {
        Err(SignatureError::Range { part })
    } else {
        Ok(value)
    }
}

/// Whether y of the nonce point is odd: v is 0/1, 27/28 (Bitcoin's offset), or 35 + 2 * chain id + parity (EIP-155).
fn y_parity(v: u8) -> Result<bool, SignatureError> {
    match v {
        0 | 27 => Ok(false),
        1 | 28 => Ok(true),
        35.. => Ok(v.is_multiple_of(2)),
        _ => Err(SignatureError::RecoveryId { v }),
    }
}
