//! One HTTP request over `wasi:http`, whole in memory.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

/// What came back.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Cut at [`MAX_BODY`].
    pub body: Vec<u8>,
}

/// Bytes of a body that are kept; a longer body is cut here and the rest is not read.
pub const MAX_BODY: usize = 1024 * 1024;

/// Bytes of a request body that one write may carry by the rules of `wasi:io`.
const MAX_WRITE: usize = 4096;

/// Fetch a URL with GET.
///
/// # Errors
/// In words, when there is no response.
pub fn get(url: &str) -> Result<Response, String> {
    send(&Method::Get, url, None)
}

/// Send JSON to a URL with POST.
///
/// # Errors
/// In words, when there is no response.
pub fn post_json(url: &str, body: &[u8]) -> Result<Response, String> {
    send(&Method::Post, url, Some(body))
}

fn send(method: &Method, url: &str, body: Option<&[u8]>) -> Result<Response, String> {
    let (scheme, authority, path) = split(url).ok_or_else(|| format!("{url} is not an http or https URL"))?;
    let failed = |what: &str| format!("request to {url} failed: {what}");

    let headers = Fields::new();
    if let Some(body) = body {
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-length", &body.len().to_string()),
        ] {
            headers
                .append(name, value.as_bytes())
                .map_err(|error| failed(&format!("{error:?}")))?;
        }
    }
    let request = OutgoingRequest::new(headers);
    request
        .set_method(method)
        .map_err(|()| failed("the method is refused"))?;
    request
        .set_scheme(Some(&scheme))
        .map_err(|()| failed("the scheme is refused"))?;
    request
        .set_authority(Some(authority))
        .map_err(|()| failed("the authority is refused"))?;
    request
        .set_path_with_query(Some(path))
        .map_err(|()| failed("the path is refused"))?;

    let outgoing = request.body().map_err(|()| failed("no request body"))?;
    let pending = outgoing_handler::handle(request, None).map_err(|code| failed(&format!("{code:?}")))?;
    if let Some(body) = body {
        let stream = outgoing.write().map_err(|()| failed("no request stream"))?;
        for chunk in body.chunks(MAX_WRITE) {
            stream
                .blocking_write_and_flush(chunk)
                .map_err(|error| failed(&format!("{error:?}")))?;
        }
    }
    OutgoingBody::finish(outgoing, None).map_err(|code| failed(&format!("{code:?}")))?;

    pending.subscribe().block();
    let response = pending
        .get()
        .ok_or_else(|| failed("no answer"))?
        .map_err(|()| failed("the answer was taken before"))?
        .map_err(|code| failed(&format!("{code:?}")))?;
    let body = response.consume().map_err(|()| failed("no response body"))?;
    Ok(Response {
        status: response.status(),
        body: read(&body).map_err(|error| failed(&error))?,
    })
}

fn read(body: &IncomingBody) -> Result<Vec<u8>, String> {
    let stream = body.stream().map_err(|()| "no response stream".to_owned())?;
    let mut bytes = Vec::new();
    while bytes.len() < MAX_BODY {
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
    bytes.truncate(MAX_BODY);
    Ok(bytes)
}

/// Scheme, authority, and path with query. A fragment is not sent.
fn split(url: &str) -> Option<(Scheme, &str, &str)> {
    let (scheme, rest) = match url.split_once("://")? {
        ("http", rest) => (Scheme::Http, rest),
        ("https", rest) => (Scheme::Https, rest),
        _ => return None,
    };
    let rest = rest.split('#').next()?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    (!authority.is_empty()).then_some((scheme, authority, path))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn urls_are_split() {
        for (url, authority, path) in [
            ("http://a", "a", "/"),
            ("https://a:8/b?c=/d#e", "a:8", "/b?c=/d"),
            ("http://[::1]:80/x", "[::1]:80", "/x"),
        ] {
            let (_, got_authority, got_path) = split(url).unwrap();
            assert_eq!((got_authority, got_path), (authority, path));
        }
        for url in ["ftp://a", "a", "http://", "http:///x"] {
            assert!(split(url).is_none(), "{url}");
        }
    }
}
