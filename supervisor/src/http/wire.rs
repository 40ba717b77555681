//! From the error of a process to the answer of the API.
//!
//! Routes that know better (which thing was not found) say so before they fall back to this table.

use axum::http::StatusCode;
use serde::Deserialize;
use wavs_ipc::{ErrorCode, Retry, WireError};

use super::problem::{FieldError, Problem};

/// One finding inside the detail of `InvalidService`.
#[derive(Deserialize)]
struct Finding {
    #[serde(default)]
    pointer: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

/// The problem for what `process` answered.
#[must_use]
pub fn problem(process: &str, error: WireError) -> Problem {
    let WireError { code, retry, detail } = error;
    let new = |status: StatusCode, name: &'static str, detail: String| Problem::new(status, name, detail);
    match code {
        ErrorCode::Invalid => new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-shape", detail),
        ErrorCode::NotFound => new(StatusCode::NOT_FOUND, "not-found", detail),
        ErrorCode::Conflict => new(StatusCode::CONFLICT, conflict(&detail, retry), detail),
        ErrorCode::Busy => Problem {
            retry_after: Some(1),
            ..new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                format!("{process} is at its limit: {detail}"),
            )
        },
        ErrorCode::TooLarge => new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", detail),
        ErrorCode::Unavailable => Problem {
            retry_after: Some(1),
            ..new(StatusCode::SERVICE_UNAVAILABLE, "process-down", detail)
        },
        ErrorCode::Transport => {
            tracing::warn!(process, %detail, "call failed");
            let effect = if retry == Retry::Ambiguous {
                "the request may have taken effect; look before repeating it"
            } else {
                "try again"
            };
            Problem::process_down(process, format!("its connection failed; {effect}"))
        }
        ErrorCode::Draining => Problem::process_down(process, "it is shutting down"),
        ErrorCode::Deadline => new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            format!("{process} did not answer in time; the request may have taken effect, look before repeating it"),
        ),
        ErrorCode::Internal | ErrorCode::Denied => Problem::internal(format!("{process}: {}: {detail}", code.as_str())),
        ErrorCode::Fetch => new(
            StatusCode::BAD_GATEWAY,
            "fetch-failed",
            prefixed("Failed to fetch service: ", detail),
        ),
        ErrorCode::Component => {
            let name = if detail.contains("digest") && detail.contains("mismatch") {
                "digest-mismatch"
            } else {
                "invalid-component"
            };
            new(StatusCode::UNPROCESSABLE_ENTITY, name, prefixed("Engine: ", detail))
        }
        ErrorCode::Chain => new(StatusCode::BAD_GATEWAY, "chain-rpc", detail),
        ErrorCode::SignerMissing => Problem {
            retry_after: None,
            ..new(
                StatusCode::SERVICE_UNAVAILABLE,
                "signer-missing",
                "missing signing mnemonic: set signing_mnemonic and restart the node".into(),
            )
        },
        ErrorCode::InvalidService => invalid_service(detail),
        ErrorCode::ManagerMismatch => new(StatusCode::UNPROCESSABLE_ENTITY, "manager-mismatch", detail),
        ErrorCode::ChainNotConfigured => new(StatusCode::UNPROCESSABLE_ENTITY, "chain-not-configured", detail),
    }
}

fn conflict(detail: &str, retry: Retry) -> &'static str {
    let lower = detail.to_ascii_lowercase();
    if lower.contains("already registered") {
        "already-registered"
    } else if lower.contains("chain already exists") {
        "chain-exists"
    } else if retry == Retry::Backoff {
        // Another step is under way; the same request can succeed later.
        "lifecycle-busy"
    } else {
        "conflict"
    }
}

fn prefixed(prefix: &str, detail: String) -> String {
    if detail.contains(prefix.trim_end()) {
        detail
    } else {
        format!("{prefix}{detail}")
    }
}

fn invalid_service(detail: String) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let Ok(findings) = serde_json::from_str::<Vec<Finding>>(&detail) else {
        return Problem::new(status, "invalid-service", detail);
    };
    let first = findings
        .first()
        .map(|finding| format!("{} {}", finding.pointer, finding.detail))
        .unwrap_or_default();
    let more = match findings.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more, see errors)", count - 1),
    };
    let errors = findings
        .into_iter()
        .map(|Finding { pointer, code, detail }| FieldError { pointer, code, detail })
        .collect();
    Problem {
        errors,
        ..Problem::new(
            status,
            "invalid-service",
            format!("The service document is not valid: {first}{more}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_status_and_code() {
        let table = [
            (
                WireError::never(ErrorCode::Conflict, "Service ab already registered"),
                409,
                "already-registered",
            ),
            (
                WireError::backoff(ErrorCode::Conflict, "another step runs"),
                409,
                "lifecycle-busy",
            ),
            (WireError::never(ErrorCode::Conflict, "no"), 409, "conflict"),
            (WireError::backoff(ErrorCode::Transport, "x"), 503, "process-down"),
            (WireError::ambiguous(ErrorCode::Deadline, "x"), 504, "timeout"),
            (WireError::never(ErrorCode::SignerMissing, "x"), 503, "signer-missing"),
            (
                WireError::never(ErrorCode::ManagerMismatch, "x"),
                422,
                "manager-mismatch",
            ),
            (
                WireError::never(ErrorCode::Chain, "Alloy contract error: x"),
                502,
                "chain-rpc",
            ),
            (
                WireError::never(ErrorCode::Component, "digest mismatch: a, b"),
                422,
                "digest-mismatch",
            ),
        ];
        for (error, status, code) in table {
            let problem = problem("aggregator-svc", error.clone());
            assert_eq!((problem.status.as_u16(), problem.code), (status, code), "{error:?}");
        }
    }

    #[test]
    fn reference_texts_are_in_the_detail() {
        assert!(
            problem("a", WireError::never(ErrorCode::Fetch, "404"))
                .detail
                .starts_with("Failed to fetch service: ")
        );
        assert!(
            problem("a", WireError::never(ErrorCode::Component, "bad"))
                .detail
                .starts_with("Engine: ")
        );
        assert!(
            problem("a", WireError::never(ErrorCode::SignerMissing, ""))
                .detail
                .contains("missing signing mnemonic")
        );
    }

    #[test]
    fn internals_stay_inside() {
        let problem = problem("a", WireError::internal("disk /var/x is broken"));
        assert_eq!(problem.status, 500);
        assert!(!problem.detail.contains("disk"));
    }

    #[test]
    fn findings_become_field_errors() {
        let detail = r#"[{"level":"error","pointer":"/name","code":"long","detail":"too long"}]"#;
        let problem = problem("a", WireError::never(ErrorCode::InvalidService, detail));
        assert_eq!(problem.errors[0].pointer, "/name");
        assert!(problem.detail.contains("/name too long"));
    }
}
