//! The name by which a document, a trigger or the configuration refers to a chain. It is compared as a whole string:
//! `evm:31337` and `dev:local` are two chains, even when both lead to the same node.

use std::{fmt, str::FromStr};

use crate::text::serde_as_text;

/// Longest namespace and longest id, in characters.
const MAX_PART: usize = 32;

/// `namespace:id`, matching `^[-a-z0-9]{1,32}:[-_a-zA-Z0-9]{1,32}$`. Never normalised; the case of the id matters.
///
/// For `evm` and `cosmos` the id is the chain id. A `dev` id is an alias whose chain id is in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainKey(String);

/// A text that is not a chain key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a chain key: expected namespace:id, such as evm:31337, with 1 to 32 of [-a-z0-9] and 1 to 32 of [-_a-zA-Z0-9]"
)]
pub struct ParseChainKeyError {
    text: String,
}

impl ChainKey {
    /// The part in front of the colon: `evm`, `cosmos`, `dev` or a namespace without configuration.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.split().0
    }

    /// The part behind the colon.
    #[must_use]
    pub fn id(&self) -> &str {
        self.split().1
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn split(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or((&self.0, ""))
    }
}

impl FromStr for ChainKey {
    type Err = ParseChainKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sized = |part: &str| (1..=MAX_PART).contains(&part.len());
        let valid = text.split_once(':').is_some_and(|(namespace, id)| {
            sized(namespace)
                && sized(id)
                && namespace.bytes().all(|b| matches!(b, b'-' | b'a'..=b'z' | b'0'..=b'9'))
                && id
                    .bytes()
                    .all(|b| matches!(b, b'-' | b'_') || b.is_ascii_alphanumeric())
        });
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseChainKeyError { text: text.to_owned() })
        }
    }
}

impl fmt::Display for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(ChainKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_exactly_the_pattern() {
        for text in [
            "evm:31337",
            "cosmos:Layer_Local-1",
            "dev:local",
            "-:-",
            &format!("{}:{}", "a".repeat(32), "Z".repeat(32)),
        ] {
            assert_eq!(text.parse::<ChainKey>().map(|k| k.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "EVM:1",
            "a_b:1",
            "a:b:c",
            ":x",
            "x:",
            "",
            ":",
            "evm",
            "evm:1 ",
            "evm:\u{661}",
            &"a".repeat(33),
            &format!("a:{}", "b".repeat(33)),
        ] {
            assert!(text.parse::<ChainKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn splits_into_its_parts() {
        let key: ChainKey = "cosmos:Layer_Local-1".parse().unwrap();
        assert_eq!((key.namespace(), key.id()), ("cosmos", "Layer_Local-1"));
    }
}
