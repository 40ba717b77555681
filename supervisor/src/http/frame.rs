//! What surrounds every request: its id, its access-log line, its time limit, the access rules, and the rendering of errors.

use std::time::{Duration, Instant};

use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use ulid::Ulid;

use super::access::{self, Peer};
use super::api::Api;
use super::problem::Problem;
use super::settings::REQUEST_ID;

/// Longest request id that is taken over from the client.
const MAX_REQUEST_ID: usize = 64;
/// Time for requests that resolve, fetch and compile.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);

/// Outermost: names the request, writes problems in the form the client wants, and logs one line.
pub async fn frame(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let headers = request.headers().clone();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // A path without a route may hold anything.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began = Instant::now();
    let span = tracing::info_span!("request", request_id = %id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let problem = Problem::of(&response);
    if let Some(problem) = &problem {
        let mut rendered = problem.render(&headers, &id);
        // Headers that layers and the router added, such as Allow and those of CORS, stay.
        for (name, value) in response.headers() {
            if *name != header::CONTENT_TYPE
                && *name != header::CONTENT_LENGTH
                && !rendered.headers().contains_key(name)
            {
                rendered.headers_mut().append(name, value.clone());
            }
        }
        response = rendered;
    }
    let head = response.headers_mut();
    head.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(&id) {
        head.insert(REQUEST_ID, id);
    }
    let status = response.status().as_u16();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    api.metrics().answered(route, &method, status, began.elapsed());
    let took_ms = began.elapsed().as_millis();
    span.in_scope(|| match &problem {
        // Reads are many and change nothing, so what became of them is for those who look.
        _ if matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) => {
            tracing::debug!(%method, path, status, took_ms, "served");
        }
        Some(Problem { code, detail, .. }) => {
            tracing::warn!(%method, path, status, took_ms, code, detail, "refused");
        }
        None => tracing::info!(%method, path, status, took_ms, "served"),
    });
    response
}

/// Refuses what the access rules refuse, and what is more than can run at a time.
pub async fn guard(State(api): State<Api>, Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    let checked = access::check(
        &api.settings(),
        peer,
        request.method(),
        request.uri().path(),
        request.headers(),
    );
    if let Err(problem) = checked {
        api.metrics().rejected(problem.code);
        return problem.into_response();
    }
    let Some(_running) = api.admit() else {
        api.metrics().rejected("overloaded");
        let detail = "The node answers as many requests as http.max_concurrent allows; try again";
        let overloaded = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
        return Problem {
            retry_after: Some(1),
            ..overloaded
        }
        .into_response();
    };
    next.run(request).await
}

/// Ends a handler that takes too long.
pub async fn limit_time(State(api): State<Api>, request: Request, next: Next) -> Response {
    let limit = time_limit(request.method(), request.uri().path(), api.settings().handler_timeout);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!(
                "The request was not finished within {} seconds; it may have taken effect",
                limit.as_secs()
            );
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
        }
    }
}

fn time_limit(method: &Method, path: &str, usual: Duration) -> Duration {
    if method != Method::POST {
        return usual;
    }
    match path {
        // Waits for jobs under a limit of its own; this one only has to be longer.
        "/dev/triggers" => super::routes::dev_triggers::MAX_WAIT + usual,
        "/services" | "/dev/components" | "/components" | "/upload" => LONG_TIMEOUT.max(usual),
        _ if path.starts_with("/dev/services/") => LONG_TIMEOUT.max(usual),
        _ => usual,
    }
}

/// The client's id when it is short and plain, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(sane);
    given.map_or_else(|| Ulid::generate().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_request_ids_are_echoed() {
        let id = |value: &str| {
            request_id(&HeaderMap::from_iter([(
                REQUEST_ID,
                HeaderValue::from_str(value).unwrap(),
            )]))
        };
        assert_eq!(id("abc-1.2_3"), "abc-1.2_3");
        assert_ne!(id("a b"), "a b");
        assert_ne!(id(&"x".repeat(65)), "x".repeat(65));
        assert_eq!(id("").len(), 26);
    }

    #[test]
    fn slow_steps_have_more_time() {
        let usual = Duration::from_secs(30);
        assert_eq!(time_limit(&Method::GET, "/services", usual), usual);
        assert_eq!(time_limit(&Method::POST, "/services", usual), LONG_TIMEOUT);
        assert!(time_limit(&Method::POST, "/dev/triggers", usual) > Duration::from_secs(600));
    }
}
