//! Serde for values whose only external form is a string: they are written with `Display` and read with `FromStr`, so the
//! rules of a text form live in one place and hold for JSON, TOML and the wire alike.

/// Implements `Serialize` by `Display` and `Deserialize` by `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use serde_as_text;

/// Decodes exactly `N` bytes of hex, in any case, with or without `0x`.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() != 2 * N {
        return Err(ParseHexError::Length {
            expected: 2 * N,
            found: digits.chars().count(),
        });
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| ParseHexError::Digit {
        text: digits.to_owned(),
    })?;
    Ok(bytes)
}

/// Why a text is not a hex identifier of the expected length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseHexError {
    /// Too few or too many digits.
    #[error("expected {expected} hex digits, with or without 0x in front, found {found} characters")]
    Length {
        /// Digits needed.
        expected: usize,
        /// Characters found after an optional `0x`.
        found: usize,
    },
    /// The length is right but a character is no hex digit.
    #[error("`{text}` contains a character that is not a hex digit")]
    Digit {
        /// The offending text without its prefix.
        text: String,
    },
}
