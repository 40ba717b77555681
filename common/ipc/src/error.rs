//! The one error that crosses a process boundary.

use serde::{Deserialize, Serialize};

/// What went wrong, as a closed set that callers may match on. Append only: the position is the wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorCode {
    /// The request itself is wrong: a field does not parse or breaks a documented bound.
    Invalid,
    /// The thing that the request names does not exist.
    NotFound,
    /// The state of the thing does not allow the request.
    Conflict,
    /// A bound was reached; nothing was started.
    Busy,
    /// A payload is above [`crate::bounds::MAX_PAYLOAD`] or a documented limit.
    TooLarge,
    /// Something that the server depends on is not there now.
    Unavailable,
    /// The connection failed.
    Transport,
    /// The deadline of the call passed.
    Deadline,
    /// A bug or a failure of the server's own machine (disk, memory, panic).
    Internal,
    /// The peer or the operation is not allowed.
    Denied,
    /// A download failed or was refused by the address policy.
    Fetch,
    /// A component cannot be used: unknown digest, wrong digest, not a component, wrong world, does not compile.
    Component,
    /// A chain endpoint failed or answered nonsense.
    Chain,
    /// No signing key is configured.
    SignerMissing,
    /// The process is shutting down.
    Draining,
    /// A service document breaks a rule; the detail is a JSON array of findings.
    InvalidService,
    /// A document names another manager than the one that was asked for.
    ManagerMismatch,
    /// No configuration for the chain.
    ChainNotConfigured,
}

impl ErrorCode {
    /// The name as used in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::TooLarge => "too-large",
            Self::Unavailable => "unavailable",
            Self::Transport => "transport",
            Self::Deadline => "deadline",
            Self::Internal => "internal",
            Self::Denied => "denied",
            Self::Fetch => "fetch",
            Self::Component => "component",
            Self::Chain => "chain",
            Self::SignerMissing => "signer-missing",
            Self::Draining => "draining",
            Self::InvalidService => "invalid-service",
            Self::ManagerMismatch => "manager-mismatch",
            Self::ChainNotConfigured => "chain-not-configured",
        }
    }
}

/// What the caller may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Retry {
    /// The same request will fail again.
    Never,
    /// The request had no effect; try again later.
    Backoff,
    /// The effect is unknown: look first, then repeat under the same id.
    Ambiguous,
}

/// An error of a call between processes: what happened, and whether trying again makes sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct WireError {
    /// The class of the failure.
    pub code: ErrorCode,
    /// What the caller may do next.
    pub retry: Retry,
    /// What happened, to what, and what to do: one sentence for a person.
    pub detail: String,
}

/// Longest `detail` in bytes; a longer text is cut, so that an error always fits a frame.
pub const MAX_DETAIL: usize = 64 * 1024;

impl WireError {
    /// An error that repeating the request cannot cure.
    pub fn never(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::new(code, Retry::Never, detail.into())
    }

    /// An error without effect, worth another attempt later.
    pub fn backoff(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::new(code, Retry::Backoff, detail.into())
    }

    /// An error that leaves open whether the request took effect.
    pub fn ambiguous(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::new(code, Retry::Ambiguous, detail.into())
    }

    /// A failure inside the server, with the chain of causes in its text.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::backoff(ErrorCode::Internal, cause.to_string())
    }

    fn new(code: ErrorCode, retry: Retry, mut detail: String) -> Self {
        if detail.len() > MAX_DETAIL {
            let cut = (0..=MAX_DETAIL)
                .rev()
                .find(|at| detail.is_char_boundary(*at))
                .unwrap_or(0);
            detail.truncate(cut);
        }
        Self { code, retry, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut_at_a_character_boundary() {
        let error = WireError::never(ErrorCode::Internal, "é".repeat(MAX_DETAIL));
        assert!(error.detail.len() <= MAX_DETAIL);
        assert!(error.detail.chars().all(|character| character == 'é'));
    }
}
