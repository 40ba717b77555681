//! Request bodies under their limits: JSON into a type, or a stream into a file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::io::AsyncWriteExt;

use super::api::Api;
use super::problem::Problem;

/// Longest time for the bytes of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// A body above its limit is read to its end, up to so many bytes more, so that the client sees the answer instead of a
/// reset; a longer one loses its connection.
const MAX_DISCARDED: u64 = 64 * 1024 * 1024;

/// A JSON body as `T`.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A JSON body as its bytes; only the syntax is checked.
#[derive(Debug)]
pub struct JsonText(pub Bytes);

impl<T: DeserializeOwned> FromRequest<Api> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let text = read_json(request, api).await?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Self(value)),
            Err(cause) => {
                check_syntax(&text)?;
                Err(Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid-shape",
                    format!("The body has another shape: {cause}"),
                ))
            }
        }
    }
}

impl FromRequest<Api> for JsonText {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let text = read_json(request, api).await?;
        check_syntax(&text)?;
        Ok(Self(text))
    }
}

/// Writes a body into a new file.
///
/// # Errors
/// 413 above `limit`, 400 for a body that breaks off, 504 for one that takes too long, 500 when the file cannot be written. The file
/// may exist then.
pub async fn save(headers: &HeaderMap, body: Body, limit: u64, path: &Path) -> Result<u64, Problem> {
    let write = async {
        let mut file = tokio::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .await?;
        // Under systemd the engine is another user, and the directory belongs to its group; elsewhere nobody can enter it.
        file.set_permissions(Permissions::from_mode(0o640)).await?;
        let mut length = 0_u64;
        let mut body = checked(headers, body, limit);
        while let Some(chunk) = body.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(problem) => return Ok(Err(problem)),
            };
            length += chunk.len() as u64;
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        Ok::<_, std::io::Error>(Ok(length))
    };
    in_time(write)
        .await?
        .unwrap_or_else(|cause| Err(Problem::internal(format!("cannot write the upload: {cause}"))))
}

async fn read_json(request: Request, api: &Api) -> Result<Bytes, Problem> {
    check_json_type(request.headers())?;
    let limit = api.settings().max_body.min(api.settings().max_json as u64);
    let (head, body) = request.into_parts();
    let read = async {
        let mut text = Vec::new();
        let mut body = checked(&head.headers, body, limit);
        while let Some(chunk) = body.next().await {
            text.extend_from_slice(&chunk?);
        }
        Ok(Bytes::from(text))
    };
    in_time(read).await?
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(BODY_TIMEOUT, work).await.map_err(|_| {
        let detail = format!("The body did not arrive within {} seconds", BODY_TIMEOUT.as_secs());
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail)
    })
}

/// The chunks of a body, ending with an error as soon as it is known to be above the limit.
fn checked(headers: &HeaderMap, body: Body, limit: u64) -> impl futures::Stream<Item = Result<Bytes, Problem>> + Unpin {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    let state = Reading {
        body: body.into_data_stream(),
        seen: 0,
        limit,
        refused: announced.is_some_and(|length| length > limit),
        // Such a client has not sent anything yet and does not want to.
        waits: headers.contains_key(header::EXPECT),
        ended: false,
    };
    Box::pin(futures::stream::unfold(state, async |mut state| {
        let item = state.next().await?;
        Some((item, state))
    }))
}

struct Reading {
    body: axum::body::BodyDataStream,
    seen: u64,
    limit: u64,
    refused: bool,
    waits: bool,
    ended: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        if self.ended {
            return None;
        }
        if !self.refused {
            match self.body.next().await {
                None => {
                    self.ended = true;
                    return None;
                }
                Some(Err(cause)) => {
                    self.ended = true;
                    let detail = format!("The body broke off: {cause}");
                    return Some(Err(Problem::new(StatusCode::BAD_REQUEST, "malformed-json", detail)));
                }
                Some(Ok(chunk)) => {
                    self.seen += chunk.len() as u64;
                    if self.seen <= self.limit {
                        return Some(Ok(chunk));
                    }
                }
            }
        }
        self.ended = true;
        if !self.waits {
            self.discard().await;
        }
        Some(Err(Problem::too_large(self.limit)))
    }

    async fn discard(&mut self) {
        let most = self.limit.saturating_add(MAX_DISCARDED);
        while self.seen < most {
            match self.body.next().await {
                Some(Ok(chunk)) => self.seen += chunk.len() as u64,
                _ => return,
            }
        }
    }
}

fn check_json_type(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let detail = "This route takes JSON: send Content-Type: application/json";
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        detail,
    ))
}

fn check_syntax(text: &[u8]) -> Result<(), Problem> {
    serde_json::from_slice::<IgnoredAny>(text).map(drop).map_err(|cause| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed-json",
            format!("The body is not JSON: {cause}"),
        )
    })
}
