//! Findings of `wavs check`: what was looked at, and what came of it.
//!
//! `wavs` looks at the machine; a process that holds secrets looks at what only it can see (`wavs-aggregator check`) and hands its
//! findings over as JSON. No finding contains a secret: endpoints are redacted, keys are shown by their addresses.

use serde::{Deserialize, Serialize};

/// What came of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// The node runs, but not as it could.
    Warning,
    /// The node cannot do its work.
    Failed,
}

/// One look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, such as `disk` or `chain evm:1`.
    pub subject: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, and what to do about it where something is wrong.
    pub detail: String,
}

impl Finding {
    /// As it should be.
    pub fn good(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Good, detail)
    }

    /// Worth a look.
    pub fn warning(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Warning, detail)
    }

    /// In the way of the work.
    pub fn failed(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Failed, detail)
    }

    fn new(subject: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            verdict,
            detail: detail.into(),
        }
    }
}

/// The worst of them; nothing to look at is good.
#[must_use]
pub fn worst(findings: &[Finding]) -> Verdict {
    findings
        .iter()
        .map(|finding| finding.verdict)
        .max()
        .unwrap_or(Verdict::Good)
}
