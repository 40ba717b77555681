//! Exit codes. They are an interface: a supervisor restarts after everything but 64 and 78.

use std::process::ExitCode;

/// A reason to end that a restart cannot cure, put into the chain of an [`anyhow::Error`] by the code that knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The command line is wrong: exit code 64.
    Usage,
    /// The configuration is wrong, or the other processes are of another version: exit code 78.
    Config,
}

/// An error with an [`ExitReason`]: what happened, to what, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Fatal {
    reason: ExitReason,
    detail: String,
}

impl Fatal {
    /// A configuration that cannot work.
    pub fn config(detail: impl Into<String>) -> Self {
        Self {
            reason: ExitReason::Config,
            detail: detail.into(),
        }
    }

    /// A command line that cannot work.
    pub fn usage(detail: impl Into<String>) -> Self {
        Self {
            reason: ExitReason::Usage,
            detail: detail.into(),
        }
    }
}

/// The code for an error: that of the first [`Fatal`] or configuration error in its chain, else 1.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    let reason = error.chain().find_map(|cause| {
        let fatal = cause.downcast_ref::<Fatal>().map(|fatal| fatal.reason);
        fatal.or_else(|| {
            cause
                .downcast_ref::<crate::config::ConfigError>()
                .map(|_| ExitReason::Config)
        })
    });
    match reason {
        None => 1,
        Some(ExitReason::Usage) => 64,
        Some(ExitReason::Config) => 78,
    }
}

/// Prints the chain of causes once, on stderr and to the log, and gives the exit code.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    let chain = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{chain}");
    } else {
        eprintln!("error: {chain}");
    }
    ExitCode::from(code_of(error))
}
