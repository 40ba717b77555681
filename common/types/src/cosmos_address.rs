//! A bech32 account or contract address. The text is what chains, components and documents see; the data bytes are what
//! identity is computed from.

use std::{fmt, str::FromStr};

use bech32::{Bech32, primitives::decode::CheckedHrpstring};

use crate::text::serde_as_text;

/// A valid bech32 address in lower case. Upper-case input is accepted and lowered, mixed case is refused.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CosmosAddress {
    text: String,
    prefix_len: u32,
}

/// A text that is not a bech32 address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCosmosAddressError {
    /// The text has no valid prefix, alphabet or checksum.
    #[error("`{text}` is not a bech32 address: {reason}")]
    Bech32 {
        /// The text as given.
        text: String,
        /// What the decoder complains about.
        reason: String,
    },
    /// The address decodes to no bytes at all.
    #[error("`{text}` is a bech32 string without data, so it names no account")]
    Empty {
        /// The text as given.
        text: String,
    },
}

impl CosmosAddress {
    /// The whole lower-case text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The human-readable part, such as `neutron`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.text.get(..self.prefix_len as usize).unwrap_or_default()
    }

    /// Length of the human-readable part in bytes.
    #[must_use]
    pub fn prefix_len(&self) -> u32 {
        self.prefix_len
    }

    /// The decoded data bytes: 20 for accounts, 32 for most contracts.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        CheckedHrpstring::new::<Bech32>(&self.text)
            .map(|parsed| parsed.byte_iter().collect())
            .unwrap_or_default()
    }

    /// An address that was not checked, for vectors that use placeholders.
    #[cfg(test)]
    pub(crate) fn unchecked(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            prefix_len: 0,
        }
    }
}

impl FromStr for CosmosAddress {
    type Err = ParseCosmosAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = CheckedHrpstring::new::<Bech32>(text).map_err(|error| ParseCosmosAddressError::Bech32 {
            text: text.to_owned(),
            reason: error.to_string(),
        })?;
        if parsed.byte_iter().next().is_none() {
            return Err(ParseCosmosAddressError::Empty { text: text.to_owned() });
        }
        // The bech32 code allows at most 83 bytes of prefix, so the conversion cannot fail.
        let prefix_len = u32::try_from(parsed.hrp().len()).unwrap_or(u32::MAX);
        Ok(Self {
            text: text.to_ascii_lowercase(),
            prefix_len,
        })
    }
}

impl fmt::Display for CosmosAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CosmosAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosmosAddress({self})")
    }
}

serde_as_text!(CosmosAddress);

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2";

    #[test]
    fn lowers_upper_case_and_refuses_mixed() {
        let address: CosmosAddress = LAYER.to_uppercase().parse().unwrap();
        assert_eq!(
            (address.as_str(), address.prefix(), address.prefix_len()),
            (LAYER, "layer", 5)
        );
        assert_eq!(address.bytes(), [0x22; 20]);
        assert!(LAYER.replacen('y', "Y", 1).parse::<CosmosAddress>().is_err());
    }

    #[test]
    fn checks_the_checksum() {
        for text in [
            "layer1abc",
            &LAYER.replacen("yg3", "yg4", 1),
            "",
            "0x1111111111111111111111111111111111111111",
        ] {
            assert!(text.parse::<CosmosAddress>().is_err(), "{text}");
        }
    }
}
