//! The node's HTTP API, from the client's side: one method per verb, bounded answers, and errors as [`Failure`]s.
//!
//! Problem details are kept as they came. A node that answers errors as plain text is understood too, by the texts that are part of
//! the API. Nothing is repeated: a write that timed out may have worked, so the user decides.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, ETAG};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;
use wavs_types::redacted_url;

use crate::config::Config;
use crate::failure::{Exit, Failure};

/// Time for making the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a whole request; longer than the node takes at most to register a service (120 s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(130);
/// Largest answer in bytes; a larger one is refused. The longest is the list of all services with their documents.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// Largest error text that is taken over into a failure, in characters; the rest is cut off.
const MAX_ERROR_TEXT: usize = 2_000;

/// A client of one node.
pub struct Node {
    client: reqwest::Client,
    base: Url,
    shown: String,
    token: Option<crate::config::Secret>,
}

/// A successful answer.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// The entity tag without its quotes.
    pub tag: Option<String>,
}

impl Node {
    /// A client as configured. Nothing is connected yet.
    ///
    /// # Errors
    /// When the token cannot be read or the client cannot be built.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT);
        let mut shown = redacted_url(config.wavs_endpoint.as_str());
        if let Some(socket) = &config.admin_socket {
            builder = builder.unix_socket(socket.clone());
            shown = socket.display().to_string();
        }
        let client = builder
            .build()
            .map_err(|cause| Failure::failed("http-client", format!("cannot build the HTTP client: {cause}")))?;
        let token = config.token.as_ref().map(crate::config::Credential::read).transpose()?;
        Ok(Self {
            client,
            base: config.wavs_endpoint.clone(),
            shown,
            token,
        })
    }

    /// The node's address, safe to show.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The full URL of a path below the endpoint.
    #[must_use]
    pub fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// GET with a JSON answer.
    ///
    /// # Errors
    /// Like all requests: no answer, an error status, or a body that is not JSON.
    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        json(&self.get_raw(path, query).await?.body)
    }

    /// GET with the body as it is.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn get_raw(&self, path: &[&str], query: &[(&str, String)]) -> Result<Answer, Failure> {
        self.without_body(Method::GET, path, query).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn delete(&self, path: &[&str], query: &[(&str, String)]) -> Result<Answer, Failure> {
        self.without_body(Method::DELETE, path, query).await
    }

    /// GET of a probe, whose body counts whatever the status is.
    ///
    /// # Errors
    /// No answer, refused access, or a body that is not JSON.
    pub async fn probe(&self, path: &[&str]) -> Result<Value, Failure> {
        let response = self.answer(self.client.request(Method::GET, self.url(path))).await?;
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
                let body = self.body(response).await?;
                Err(failure(status, &body))
            }
            _ => json(&self.body(response).await?),
        }
    }

    /// A request with a JSON body.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn send_json(&self, method: Method, path: &[&str], body: &impl Serialize) -> Result<Answer, Failure> {
        self.send(self.client.request(method, self.url(path)).json(body)).await
    }

    /// POST of bytes.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn post_bytes(&self, path: &[&str], kind: &str, body: Vec<u8>) -> Result<Answer, Failure> {
        self.send(
            self.client
                .request(Method::POST, self.url(path))
                .header(CONTENT_TYPE, kind)
                .body(body),
        )
        .await
    }

    async fn without_body(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Result<Answer, Failure> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.request(method, url)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let response = self.answer(request).await?;
        let status = response.status();
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        let tag = tag.map(|tag| tag.trim_matches('"').to_owned());
        let body = self.body(response).await?;
        if status.is_success() {
            Ok(Answer { body, tag })
        } else {
            Err(failure(status, &body))
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                let detail = format!(
                    "the answer of {} has more than {MAX_ANSWER} bytes; ask for less",
                    self.shown
                );
                return Err(Failure::failed("answer-too-large", detail));
            }
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        // Only the innermost cause: the outer ones repeat the URL.
        let cause = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            cause.to_string()
        };
        let detail = format!(
            "the node at {} does not answer: {cause}; is it running, and is --wavs-endpoint right?",
            self.shown
        );
        Failure::new(Exit::Unreachable, "node-unreachable", detail)
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> Result<Value, Failure> {
        json(&self.body)
    }
}

fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|cause| {
        let detail = format!("the answer is not the JSON of a WAVS node ({cause}); is --wavs-endpoint right?");
        Failure::failed("unexpected-answer", detail)
    })
}

/// The failure for an error status.
fn failure(status: StatusCode, body: &[u8]) -> Failure {
    if let Ok(problem) = serde_json::from_slice::<Map<String, Value>>(body) {
        let text = |name: &str| problem.get(name).and_then(Value::as_str);
        if let Some((code, detail)) = text("code").zip(text("detail")) {
            return Failure::new(exit(status, detail), code, detail).with_problem(problem);
        }
    }
    let text: String = String::from_utf8_lossy(body)
        .trim()
        .chars()
        .take(MAX_ERROR_TEXT)
        .collect();
    let detail = if text.is_empty() {
        format!("the node answered {status}")
    } else {
        format!("the node answered {status}: {text}")
    };
    let exit = exit(status, &text);
    let code = match exit {
        Exit::Conflict => "conflict",
        Exit::NotFound => "not-found",
        Exit::Unauthorised => "unauthorized",
        _ => "node-error",
    };
    Failure::new(exit, code, detail)
}

/// The status decides; older nodes answer 500 to nearly everything, so there the text does.
fn exit(status: StatusCode, text: &str) -> Exit {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Unauthorised,
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Exit::Conflict,
        StatusCode::INTERNAL_SERVER_ERROR if text.contains("already registered") => Exit::Conflict,
        StatusCode::INTERNAL_SERVER_ERROR if text.contains("has not been set on the http server") => Exit::NotFound,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_texts_of_older_nodes_are_understood() {
        let check = |status: u16, text: &str| failure(StatusCode::from_u16(status).unwrap(), text.as_bytes()).exit();
        assert_eq!(check(500, "Service ab already registered"), Exit::Conflict);
        assert_eq!(
            check(500, "Service ID ab has not been set on the http server"),
            Exit::NotFound
        );
        assert_eq!(check(500, "boom"), Exit::Failed);
        assert_eq!(check(401, "Unauthorized"), Exit::Unauthorised);
        assert_eq!(check(503, ""), Exit::Failed);
    }
}
