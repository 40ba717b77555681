//! What a service has its operators sign, and with which algorithm.

use alloy_primitives::eip191_hash_message;
use serde::{Deserialize, Serialize};

use crate::B256;

/// Algorithm and prefix of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignatureKind {
    /// The algorithm.
    pub algorithm: SignatureAlgorithm,
    /// What is put in front of the digest before it is hashed again; absent means that the digest itself is signed.
    pub prefix: Option<SignaturePrefix>,
}

/// The signature algorithms that services can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureAlgorithm {
    /// ECDSA over secp256k1 with recoverable signatures.
    Secp256k1,
}

/// The prefixes that services can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignaturePrefix {
    /// `"\x19Ethereum Signed Message:\n32"`, as in EIP-191 version 0x45.
    Eip191,
}

impl SignatureKind {
    /// What standard service managers on EVM chains verify.
    pub const EIP191: Self = Self {
        algorithm: SignatureAlgorithm::Secp256k1,
        prefix: Some(SignaturePrefix::Eip191),
    };
    /// The envelope digest signed as it is.
    pub const RAW: Self = Self {
        algorithm: SignatureAlgorithm::Secp256k1,
        prefix: None,
    };

    /// The hash that goes into the signature algorithm for an envelope's digest.
    #[must_use]
    pub fn signing_hash(self, digest: B256) -> B256 {
        match self.prefix {
            Some(SignaturePrefix::Eip191) => eip191_hash_message(digest),
            None => digest,
        }
    }
}
