//! How a command ends: the exit codes, which are an interface for scripts, and the one error type at the rim.
//!
//! Errors of the modules become a [`Failure`]; the answer of the node's API is kept as it came. `--json` prints it as
//! problem details (RFC 9457), else its detail is one line on stderr.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything worked.
    Done = 0,
    /// The operation failed, or a document has errors.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The node does not answer.
    Unreachable = 3,
    /// What was named does not exist.
    NotFound = 4,
    /// The state does not allow it, for example because the service is registered already.
    Conflict = 5,
    /// The token is missing, wrong or not enough.
    Unauthorised = 6,
}

/// A command that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    exit: Exit,
    code: String,
    detail: String,
    /// Problem details of the node, to be passed on whole.
    problem: Option<Map<String, Value>>,
}

impl Failure {
    /// A failure with an exit code, a stable name and a text that says what happened, to what, and what to do.
    #[must_use]
    pub fn new(exit: Exit, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.into(),
            detail: detail.into(),
            problem: None,
        }
    }

    /// The operation failed.
    #[must_use]
    pub fn failed(code: &str, detail: impl Into<String>) -> Self {
        Self::new(Exit::Failed, code, detail)
    }

    /// The result on stdout says already what is wrong; only the exit code 1 is left to give.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Exit::Failed, "", "")
    }

    /// Whether there is nothing left to print.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.detail.is_empty()
    }

    /// The command line is wrong.
    #[must_use]
    pub fn usage(detail: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", detail)
    }

    /// Something that was named does not exist.
    #[must_use]
    pub fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, code, detail)
    }

    /// Keeps the problem details that the node sent.
    #[must_use]
    pub fn with_problem(mut self, problem: Map<String, Value>) -> Self {
        self.problem = Some(problem);
        self
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The stable name, such as `already-registered`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The findings of a validation that the node sent along, one line each.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        let errors = self
            .problem
            .as_ref()
            .and_then(|problem| problem.get("errors")?.as_array());
        errors.into_iter().flatten().map(|error| {
            let text = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("{}: {}", text("pointer"), text("detail"))
        })
    }

    /// Problem details: those of the node, or our own.
    #[must_use]
    pub fn problem(&self) -> Value {
        self.problem.as_ref().map_or_else(
            || {
                json!({
                    "type": format!("urn:wavs:problem:{}", self.code),
                    "title": self.code.replace('-', " "),
                    "detail": self.detail,
                    "code": self.code,
                    "exit_code": self.exit as u8,
                })
            },
            |problem| {
                let mut problem = problem.clone();
                problem.insert("exit_code".to_owned(), Value::from(self.exit as u8));
                Value::Object(problem)
            },
        )
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
