//! The three 32-byte identifiers: service, component and service document. All are SHA-256 values and share one text form,
//! 64 lower-case hex digits without `0x`; reading takes any case and an optional `0x`.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::{
    service::ServiceManager,
    text::{ParseHexError, parse_hex, serde_as_text},
};

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps a value that was computed elsewhere.
            #[must_use]
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        serde_as_text!($name);
    };
}

digest_type! {
    /// Identity of a service: the digest of its manager's kind, chain key and address.
    ServiceId
}

digest_type! {
    /// SHA-256 of a component's wasm file.
    ComponentDigest
}

digest_type! {
    /// SHA-256 of the canonical form of a service document; the service hash.
    ServiceDigest
}

impl ServiceId {
    /// `sha256(kind || chain key || address bytes)`. The kind is the manager variant, also for `dev:` chains; of a Cosmos
    /// address only the data bytes take part, not the bech32 prefix.
    #[must_use]
    pub fn of(manager: &ServiceManager) -> Self {
        let hash = match manager {
            ServiceManager::Evm { chain, address } => Sha256::new()
                .chain_update("evm")
                .chain_update(chain.as_str())
                .chain_update(address),
            ServiceManager::Cosmos { chain, address } => Sha256::new()
                .chain_update("cosmos")
                .chain_update(chain.as_str())
                .chain_update(address.bytes()),
        };
        Self(hash.finalize().into())
    }
}

impl ComponentDigest {
    /// The digest of a wasm file.
    #[must_use]
    pub fn of(wasm: &[u8]) -> Self {
        Self(Sha256::digest(wasm).into())
    }
}

impl ServiceDigest {
    /// The digest of a document that is already in canonical form.
    #[must_use]
    pub fn of_canonical(canonical: &str) -> Self {
        Self(Sha256::digest(canonical).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_any_case_and_writes_one() {
        let lower = "ab".repeat(32);
        for text in [lower.clone(), lower.to_uppercase(), format!("0x{lower}")] {
            assert_eq!(text.parse::<ComponentDigest>().unwrap().to_string(), lower);
        }
        for text in [
            "ab".repeat(31),
            "ab".repeat(33),
            "zz".repeat(32),
            String::new(),
            format!("0x0x{}", "ab".repeat(31)),
        ] {
            assert!(text.parse::<ServiceId>().is_err(), "{text}");
        }
    }
}
