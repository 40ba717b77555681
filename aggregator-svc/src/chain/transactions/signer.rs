//! The posting key, as far as this module may see it.

use alloy::primitives::{Address, B256, Signature};

/// Signs transactions of one account. The key stays with the implementor.
pub trait PostingSigner: Send + Sync {
    /// The account.
    fn address(&self) -> Address;

    /// Sign the hash of a transaction (secp256k1, deterministic nonce, low s).
    ///
    /// # Errors
    /// When the key cannot or may not sign now.
    fn sign_hash(&self, hash: &B256) -> Result<Signature, SignRefused>;
}

/// The posting key did not sign.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the posting key did not sign: {0}; check the aggregator credential")]
pub struct SignRefused(pub String);
