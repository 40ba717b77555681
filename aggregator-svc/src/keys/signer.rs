//! Signing keys of services: derived when a service is loaded, wiped when it goes.

use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use wavs_types::{CanonicalSignature, Envelope, EvmAddress, Record, SignatureKind, SignedRecord};

use super::credential::{Credential, CredentialError};

/// Derives the keys of services from the signing credential.
pub struct Keyring {
    credential: Credential,
}

impl Keyring {
    /// Takes the signing credential.
    ///
    /// # Errors
    /// [`CredentialError::RawSigning`] for a raw key, because services start at index 1.
    pub fn new(credential: Credential) -> Result<Self, CredentialError> {
        if credential.is_raw() {
            return Err(CredentialError::RawSigning);
        }
        Ok(Self { credential })
    }

    /// The key at `hd_index`.
    ///
    /// # Errors
    /// When there is no key at that index.
    pub fn signer(&self, hd_index: u32) -> Result<ServiceSigner, CredentialError> {
        if hd_index == 0 {
            return Err(CredentialError::Derive(0));
        }
        Ok(ServiceSigner {
            hd_index,
            key: self.credential.derive(hd_index)?,
        })
    }
}

/// The signing key of one service. Signatures of envelopes leave this crate only through [`super::sign_once`]; those of
/// records have a domain of their own, so that none of them is a signature of an envelope.
pub struct ServiceSigner {
    hd_index: u32,
    key: PrivateKeySigner,
}

impl ServiceSigner {
    /// `i` of `m/44'/60'/0'/0/i`.
    #[must_use]
    pub fn hd_index(&self) -> u32 {
        self.hd_index
    }

    /// The address of the key.
    #[must_use]
    pub fn address(&self) -> EvmAddress {
        self.key.address()
    }

    /// Signs a record for the other operators.
    ///
    /// # Errors
    /// When the record would not be accepted by anybody.
    pub(crate) fn sign_record(&self, record: Record) -> Result<SignedRecord, SignRecordError> {
        let signature = self
            .key
            .sign_hash_sync(&record.signing_hash())
            .map_err(|_| SignFailed)?;
        let signature = CanonicalSignature::canonicalise(&signature.as_bytes()).map_err(|_| SignFailed)?;
        Ok(record.sign(signature)?)
    }

    /// Signs an envelope: RFC 6979 nonce, low `s`, `v` 27 or 28, so that signing again gives the same bytes.
    pub(super) fn sign(&self, envelope: &Envelope, kind: SignatureKind) -> Result<CanonicalSignature, SignFailed> {
        let signature = self
            .key
            .sign_hash_sync(&envelope.signing_hash(kind))
            .map_err(|_| SignFailed)?;
        CanonicalSignature::canonicalise(&signature.as_bytes()).map_err(|_| SignFailed)
    }
}

/// Why a record was not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignRecordError {
    /// The key refused.
    #[error(transparent)]
    Sign(#[from] SignFailed),
    /// The record is not one that others would take.
    #[error("the record is not well-formed")]
    Record(#[from] wavs_types::RecordError),
}

/// The key refused to sign, which only a hash of zero can cause.
#[derive(Debug, thiserror::Error)]
#[error("the signing key could not sign the envelope; this is a bug, keep the data directory and report it")]
pub struct SignFailed;
