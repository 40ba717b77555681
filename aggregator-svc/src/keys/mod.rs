//! The only keys of the node: one signing key per service, and one posting key for all chains.
//!
//! A [`Credential`] is read once from the configuration; a [`Keyring`] derives the services' keys from it, a
//! [`PostingKey`] pays for transactions. Key types have no `Debug` and no serde, wipe themselves, and never hand key
//! bytes out; what leaves this module is an address or a signature. Which index belongs to which service is decided by
//! [`pins`], that nothing is signed twice by [`sign_once`], and whether that can be known at all by [`history`].

mod credential;
pub mod history;
pub mod pins;
mod posting;
pub mod sign_once;
mod signer;

pub use credential::{Credential, CredentialError};
pub use posting::PostingKey;
pub use signer::{Keyring, ServiceSigner};

#[cfg(test)]
mod vectors;
