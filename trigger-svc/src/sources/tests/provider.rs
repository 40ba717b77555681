//! A provider with opinions: it passes requests on to a chain, unless a rule refuses them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Looks at a request: `None` passes it, otherwise the error object of the answer.
type Rule = dyn Fn(&Value, u64) -> Option<Value> + Send + Sync;

/// A running provider; it ends when this is dropped.
pub(super) struct Provider {
    url: String,
    asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    /// Serves HTTP before the chain at `upstream`. The rule gets each request for logs and how many came before it.
    pub(super) async fn start(
        upstream: String,
        rule: impl Fn(&Value, u64) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let rule: Arc<Rule> = Arc::new(rule);
        let asked = Arc::new(AtomicU64::new(0));
        let client = alloy::transports::http::reqwest::Client::new();
        let count = Arc::clone(&asked);
        let answer = move |Json(request): Json<Value>| {
            let (rule, client, upstream, count) = (rule.clone(), client.clone(), upstream.clone(), count.clone());
            async move {
                if request["method"] == "eth_getLogs"
                    && let Some(error) = rule(&request["params"][0], count.fetch_add(1, Ordering::Relaxed))
                {
                    return Json(json!({"jsonrpc": "2.0", "id": request["id"], "error": error}));
                }
                let body = request.to_string();
                let request = client
                    .post(upstream)
                    .header("content-type", "application/json")
                    .body(body);
                let answer = request.send().await.unwrap().bytes().await.unwrap();
                Json(serde_json::from_slice(&answer).unwrap())
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/", post(answer));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, task }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// How many requests for logs came.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Blocks that a request for logs asks for.
pub(super) fn blocks(filter: &Value) -> u64 {
    let number = |name: &str| u64::from_str_radix(&filter[name].as_str().unwrap()[2..], 16).unwrap();
    number("toBlock") - number("fromBlock") + 1
}
