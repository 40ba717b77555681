//! The posting key: it pays for transactions and signs nothing else.

use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use wavs_types::{B256, EvmAddress};

use super::credential::{Credential, CredentialError};
use crate::chain::{PostingSigner, SignRefused};

/// The account that posts on every EVM chain. No `Debug`, no serde; it wipes itself.
pub struct PostingKey {
    key: PrivateKeySigner,
}

impl PostingKey {
    /// The key of the posting credential at `hd_index`.
    ///
    /// # Errors
    /// When the credential is one raw key and `hd_index` is not 0, or there is no key there.
    pub fn new(credential: &Credential, hd_index: u32) -> Result<Self, CredentialError> {
        Ok(Self {
            key: credential.derive(hd_index)?,
        })
    }
}

impl PostingSigner for PostingKey {
    fn address(&self) -> EvmAddress {
        self.key.address()
    }

    fn sign_hash(&self, hash: &B256) -> Result<alloy::primitives::Signature, SignRefused> {
        self.key
            .sign_hash_sync(hash)
            .map_err(|cause| SignRefused(cause.to_string()))
    }
}
