//! A node made of scripted answers, on a port of its own, that remembers what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// A running node; it ends with the test.
pub struct Scripted {
    pub url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

/// One request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub line: String,
    pub authorization: Option<String>,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<HashMap<String, Vec<(u16, String)>>>,
    asked: Mutex<Vec<Asked>>,
}

impl Scripted {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async { axum::serve(listener, router).await });
        Self {
            url,
            shared,
            _runtime: runtime,
        }
    }

    /// Answers `METHOD /path?query` so from now on; several answers to one line are given in order, the last one for ever.
    pub fn on(self, line: &str, status: u16, body: impl ToString) -> Self {
        self.shared
            .answers
            .lock()
            .unwrap()
            .entry(line.to_owned())
            .or_default()
            .push((status, body.to_string()));
        self
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let line = format!("{method} {uri}");
    shared.asked.lock().unwrap().push(Asked {
        line: line.clone(),
        authorization: text(header::AUTHORIZATION),
        content_type: text(header::CONTENT_TYPE),
        body: body.to_vec(),
    });
    let mut answers = shared.answers.lock().unwrap();
    let Some(script) = answers.get_mut(&line) else {
        let body = format!(r#"{{"code":"not-found","status":404,"detail":"no script for {line}"}}"#);
        return (StatusCode::NOT_FOUND, body).into_response();
    };
    let (status, body) = if script.len() > 1 {
        script.remove(0)
    } else {
        script[0].clone()
    };
    let kind = if status < 400 {
        "application/json"
    } else {
        "application/problem+json"
    };
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
    (StatusCode::from_u16(status).unwrap(), headers, body).into_response()
}
