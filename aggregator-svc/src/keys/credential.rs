//! A credential as configured: a BIP-39 phrase or one raw key. Derivation follows BIP-32 on the path of BIP-44 for Ethereum.

use alloy::signers::local::PrivateKeySigner;
use coins_bip32::prelude::{Parent, XPriv};
use coins_bip39::{English, Mnemonic};
use zeroize::Zeroizing;

/// The path above the index: `m/44'/60'/0'/0`.
const ACCOUNT_PATH: &str = "m/44'/60'/0'/0";

/// Why a credential cannot be used. The texts never contain any of it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Neither a phrase nor a key.
    #[error("the credential is no BIP-39 English phrase: check the number, spelling and order of its words")]
    Phrase,
    /// It starts with `0x` but is no key.
    #[error("the credential starts with 0x but is no secp256k1 key: expected 0x and 64 hex digits")]
    RawKey,
    /// One raw key for many services.
    #[error("one raw key (0x…) has index 0 only, and services start at index 1: configure a BIP-39 phrase")]
    RawSigning,
    /// One raw key under an index.
    #[error(
        "the credential is one raw key (0x…), which has index 0 only, but index {0} is asked for: set aggregator.hd_index to 0 or configure a phrase"
    )]
    RawIndex(u32),
    /// BIP-32 has no key there.
    #[error("no key can be derived at index {0}: choose another index below 2147483648")]
    Derive(u32),
}

/// A credential, ready to derive keys. No `Debug`, no serde; its keys wipe themselves.
pub struct Credential(Form);

enum Form {
    /// The key at [`ACCOUNT_PATH`]; the phrase itself is forgotten.
    Account(XPriv),
    Raw(PrivateKeySigner),
}

impl Credential {
    /// Reads a phrase (empty passphrase), or `0x` and 64 hex digits.
    ///
    /// # Errors
    /// When `text` is neither.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let text = text.trim();
        if let Some(hex) = text.strip_prefix("0x") {
            let mut bytes = Zeroizing::new([0_u8; 32]);
            hex::decode_to_slice(hex, bytes.as_mut_slice()).map_err(|_| CredentialError::RawKey)?;
            let signer = PrivateKeySigner::from_slice(bytes.as_slice()).map_err(|_| CredentialError::RawKey)?;
            return Ok(Self(Form::Raw(signer)));
        }
        // Any white space between the words is fine; the standard's own form has single blanks.
        let phrase = Zeroizing::new(text.split_whitespace().collect::<Vec<_>>().join(" "));
        let mnemonic = Mnemonic::<English>::new_from_phrase(&phrase).map_err(|_| CredentialError::Phrase)?;
        let seed = Zeroizing::new(mnemonic.to_seed(None).map_err(|_| CredentialError::Phrase)?);
        let account = XPriv::root_from_seed(seed.as_slice(), None)
            .and_then(|root| root.derive_path(ACCOUNT_PATH))
            .map_err(|_| CredentialError::Phrase)?;
        Ok(Self(Form::Account(account)))
    }

    /// Whether it is one raw key.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        matches!(self.0, Form::Raw(_))
    }

    /// The key at `index`.
    ///
    /// # Errors
    /// When a raw key is asked for an index above 0, or there is no key at `index`.
    pub(super) fn derive(&self, index: u32) -> Result<PrivateKeySigner, CredentialError> {
        match &self.0 {
            Form::Raw(signer) if index == 0 => Ok(signer.clone()),
            Form::Raw(_) => Err(CredentialError::RawIndex(index)),
            Form::Account(_) if index >= coins_bip32::BIP32_HARDEN => Err(CredentialError::Derive(index)),
            Form::Account(account) => {
                let child = account
                    .derive_child(index)
                    .map_err(|_| CredentialError::Derive(index))?;
                let key: &coins_bip32::ecdsa::SigningKey = child.as_ref();
                Ok(PrivateKeySigner::from_signing_key(key.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHRASE: &str = "test test test test test test test test test test test junk";

    #[test]
    fn indices_derive_the_published_addresses() {
        let credential = Credential::parse(&PHRASE.replace(' ', "  ")).ok().unwrap();
        let addresses: Vec<_> = (0..3)
            .map(|index| credential.derive(index).unwrap().address().to_string())
            .collect();
        assert_eq!(
            addresses,
            [
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
            ]
        );
        assert!(matches!(credential.derive(1 << 31), Err(CredentialError::Derive(_))));
    }

    #[test]
    fn a_raw_key_has_index_0_only() {
        let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let credential = Credential::parse(key).ok().unwrap();
        assert!(credential.is_raw());
        assert_eq!(
            credential.derive(0).unwrap().address().to_string(),
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
        );
        assert!(matches!(credential.derive(1), Err(CredentialError::RawIndex(1))));
    }

    #[test]
    fn a_broken_credential_is_refused_without_repeating_it() {
        for text in [
            "",
            "test test",
            &PHRASE.replace("junk", "test"),
            "0x12",
            &format!("0x{}", "0".repeat(64)),
            "0xzz",
        ] {
            let error = Credential::parse(text).err().unwrap().to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
