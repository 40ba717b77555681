//! Every error of the API: RFC 9457 problem details.
//!
//! A handler returns a [`Problem`]; it travels in the extensions of the response until the outermost layer writes it as JSON or,
//! for a client that wants plain text, as its detail alone. Texts that existing clients search for are in the details.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// One of the closed set of codes; the last part of the problem type.
    pub code: &'static str,
    /// What happened, to what, and what to do.
    pub detail: String,
    /// Single findings of a validation.
    pub errors: Vec<FieldError>,
    /// Seconds after which another attempt makes sense.
    pub retry_after: Option<u32>,
    /// Text of `WWW-Authenticate` after the realm.
    pub challenge: Option<&'static str>,
}

/// One finding of a validation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer into the request or the document.
    pub pointer: String,
    /// Class of the finding.
    pub code: String,
    /// What would be right.
    pub detail: String,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    instance: &'a str,
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem with a status, a code and a detail.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            challenge: None,
        }
    }

    /// 400: a part of the path or the query does not parse.
    pub fn parameter(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", detail)
    }

    /// 404 with a code of its own.
    pub fn missing(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 404 for a path that does not exist.
    #[must_use]
    pub fn not_found() -> Self {
        Self::missing("not-found", "The path was not found on this node")
    }

    /// 413.
    #[must_use]
    pub fn too_large(limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload-too-large",
            format!("The body is larger than the limit of {limit} bytes; max_body_size_mb raises it"),
        )
    }

    /// 500. The cause goes to the log under the request id, never to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The node failed; its log has the cause under the request id",
        )
    }

    /// 503 for a process that is not there.
    pub fn process_down(process: &str, why: impl std::fmt::Display) -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "process-down",
                format!("{process} is not available: {why}"),
            )
        }
    }

    /// The body and headers of this problem for a client with these request headers.
    #[must_use]
    pub fn render(&self, request: &HeaderMap, instance: &str) -> Response {
        let mut response = if wants_text(request) {
            ([(CONTENT_TYPE, "text/plain; charset=utf-8")], self.detail.clone()).into_response()
        } else {
            let body = Body {
                r#type: format!("urn:wavs:problem:{}", self.code),
                title: title(self.code),
                status: self.status.as_u16(),
                detail: &self.detail,
                code: self.code,
                instance,
                errors: &self.errors,
            };
            let text = serde_json::to_vec(&body).unwrap_or_else(|_| b"{}".to_vec());
            ([(CONTENT_TYPE, "application/problem+json")], text).into_response()
        };
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self
            .challenge
            .and_then(|text| HeaderValue::try_from(format!("Bearer realm=\"wavs\", {text}")).ok())
        {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// The problem that a response stands for: the one a handler returned, or one for a bare status of the router.
    #[must_use]
    pub fn of(response: &Response) -> Option<Self> {
        if let Some(problem) = response.extensions().get::<Self>() {
            return Some(problem.clone());
        }
        match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => Some(Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not allowed here; the header Allow names those that are",
            )),
            _ => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// True when the client names plain text and no JSON.
fn wants_text(request: &HeaderMap) -> bool {
    let accepts: Vec<&str> = request
        .get_all(axum::http::header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','))
        .collect();
    let names = |wanted: &str| {
        accepts
            .iter()
            .any(|kind| kind.split(';').next().unwrap_or_default().trim().ends_with(wanted))
    };
    names("text/plain") && !names("json")
}

/// The title of a code; it never depends on the request.
fn title(code: &str) -> &'static str {
    match code {
        "malformed-json" => "The body is not JSON",
        "invalid-parameter" => "Invalid parameter",
        "unauthorized" => "Unauthorized",
        "token-not-configured" => "No token is configured",
        "insufficient-scope" => "The token does not allow this",
        "host-not-allowed" => "The Host header is not allowed",
        "origin-not-allowed" => "The Origin is not allowed",
        "not-found" => "Not found",
        "service-not-found" => "Unknown service",
        "service-hash-not-found" => "Unknown service document",
        "signer-not-found" => "No signing key for this service",
        "chain-not-configured" => "The chain is not configured",
        "method-not-allowed" => "Method not allowed",
        "already-registered" => "Service already registered",
        "chain-exists" => "Chain already exists",
        "in-use" => "In use",
        "conflict" => "The state does not allow this",
        "lifecycle-busy" => "Another step of this service runs",
        "payload-too-large" => "Body too large",
        "unsupported-media-type" => "Unsupported media type",
        "invalid-shape" => "The JSON has another shape",
        "invalid-service" => "The service document breaks a rule",
        "manager-mismatch" => "The document names another manager",
        "invalid-component" => "The component cannot be used",
        "digest-mismatch" => "The digest does not match",
        "chain-config-invalid" => "The chain configuration is invalid",
        "fetch-failed" => "A download failed",
        "chain-rpc" => "A chain endpoint failed",
        "process-down" => "A process is down",
        "overloaded" => "Too many requests at a time",
        "signer-missing" => "No signing key is configured",
        "timeout" => "Timeout",
        _ => "Internal error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(axum::http::header::ACCEPT, HeaderValue::from_static(value))])
    }

    #[test]
    fn plain_text_is_for_those_who_ask_for_nothing_else() {
        for (value, text) in [
            ("text/plain", true),
            ("text/plain;q=0.9, text/html", true),
            ("text/plain, application/json", false),
            ("application/problem+json", false),
            ("*/*", false),
        ] {
            assert_eq!(wants_text(&accept(value)), text, "{value}");
        }
    }

    #[test]
    fn a_problem_has_the_headers_it_needs() {
        let response = Problem::process_down("engine-svc", "it restarts").render(&HeaderMap::new(), "ID");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
