//! The name of a workflow inside its service. It is hashed into event ids, so its bytes are never normalised.

use std::{fmt, str::FromStr};

use crate::text::serde_as_text;

/// Shortest and longest id in bytes of UTF-8.
const LENGTH: std::ops::RangeInclusive<usize> = 3..=36;

/// 3 to 36 bytes of UTF-8: `a-z`, `_`, `-` and any Unicode numeric character. The default is `default`.
///
/// New services should keep to ASCII; [`WorkflowId::is_portable`] tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkflowId(String);

/// A text that is not a workflow id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a workflow id: expected 3 to 36 bytes of lower-case letters, digits, `_` and `-`")]
pub struct ParseWorkflowIdError {
    text: String,
}

impl WorkflowId {
    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the id keeps to `[a-z0-9_-]`, which every tool handles alike.
    #[must_use]
    pub fn is_portable(&self) -> bool {
        self.0.is_ascii()
    }
}

impl Default for WorkflowId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for WorkflowId {
    type Err = ParseWorkflowIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = LENGTH.contains(&text.len())
            && text
                .chars()
                .all(|c| matches!(c, 'a'..='z' | '_' | '-') || c.is_numeric());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseWorkflowIdError { text: text.to_owned() })
        }
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(WorkflowId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bytes_and_takes_unicode_numerics() {
        for text in ["abc", "\u{661}\u{661}", &"a".repeat(36), "wf-1_2"] {
            assert!(text.parse::<WorkflowId>().is_ok(), "{text}");
        }
        for text in ["ab", "A12", "a.b.c", &"a".repeat(37), "", "abc "] {
            assert!(text.parse::<WorkflowId>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_ascii_is_portable() {
        assert!(WorkflowId::default().is_portable());
        assert!(!"\u{661}\u{661}".parse::<WorkflowId>().unwrap().is_portable());
    }
}
