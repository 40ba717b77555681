//! One RPC endpoint: its connection, its requests with deadline, and what is known about its health.
//!
//! A fault tells apart what the chain answered (an error object, a revert) from what the way there did (timeouts, refused
//! connections), because only the latter is cured by another endpoint.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::Bytes;
use alloy::rpc::client::{ClientBuilder, RpcClient};
use alloy::rpc::json_rpc::{ErrorPayload, RpcError};
use alloy::transports::{TransportError, TransportErrorKind, http::reqwest, ws::WsConnect};
use serde::de::DeserializeOwned;
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;
use url::Url;

use super::health::Health;
use super::metrics::ChainMetrics;
use super::redact::Redactor;
use super::revert::Revert;
use super::wire::Head;

/// Reconnects of a WebSocket within one request; then the request fails and the next one starts a new connection.
const WS_RECONNECTS: u32 = 1;
/// Pause before such a reconnect.
const WS_RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Time in which an endpoint that let a contract call time out has to show that it is alive.
const ALIVE: Duration = Duration::from_secs(3);
/// Depth to which an error's data is searched for revert bytes; providers nest them.
const REVERT_NESTING: u8 = 3;
/// JSON-RPC code of a revert with data.
const CODE_REVERT: i64 = 3;
/// Codes that mean "ask another endpoint": limit exceeded (EIP-1474) and HTTP's 429 used as code.
const CODES_BUSY: [i64; 3] = [-32005, 429, -32016];

/// Methods that run contracts, which may take their time.
const RUNS_CODE: [&str; 2] = ["eth_call", "eth_estimateGas"];

/// Why a batch has no answers.
enum BatchFault {
    /// The way to the node failed.
    Failed(Fault),
    /// The node does not take batches.
    NotServed(String),
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The contract reverted.
    Revert(Revert),
    /// The node answered with an error.
    Rpc { code: i64, message: String },
    /// The way to the node failed, or the node is overloaded; the request may have had its effect.
    Transport(String),
    /// The result does not have the promised shape.
    Shape(String),
}

impl Fault {
    /// Whether another endpoint may do better.
    pub(super) fn is_transport(&self) -> bool {
        matches!(self, Self::Transport(_) | Self::Shape(_))
    }

    /// Metric label.
    fn class(&self) -> Option<&'static str> {
        match self {
            Self::Revert(_) => None,
            Self::Rpc { .. } => Some("rpc"),
            Self::Transport(_) => Some("transport"),
            Self::Shape(_) => Some("shape"),
        }
    }
}

/// One endpoint.
pub(super) struct Endpoint {
    pub(super) redactor: Redactor,
    url: Url,
    timeout: Duration,
    connect_timeout: Duration,
    client: tokio::sync::Mutex<Option<RpcClient>>,
    health: Mutex<Health>,
    /// The newest block as read last, and when that read began.
    head: tokio::sync::Mutex<Option<(Instant, Head)>>,
    metrics: Arc<ChainMetrics>,
}

impl Endpoint {
    pub(super) fn new(url: Url, timeout: Duration, connect_timeout: Duration, metrics: Arc<ChainMetrics>) -> Self {
        Self {
            redactor: Redactor::new(&url),
            url,
            timeout,
            connect_timeout,
            client: tokio::sync::Mutex::new(None),
            health: Mutex::default(),
            head: tokio::sync::Mutex::default(),
            metrics,
        }
    }

    /// What is known now.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request. The deadline covers connecting as well.
    pub(super) async fn request<R: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<R, Fault> {
        let started = Instant::now();
        // The state of a request is large and attempts hold dozens of them at once, so it lives on the heap.
        let raw = match tokio::time::timeout(self.timeout, Box::pin(self.send(method, params))).await {
            Ok(raw) => raw,
            Err(_) if RUNS_CODE.contains(&method) && self.is_alive().await => {
                // What a contract does with its time says nothing about the endpoint, and others' requests go on.
                self.metrics.rpc_error("slow");
                return Err(Fault::Transport(format!(
                    "{method} took longer than {} s",
                    self.timeout.as_secs()
                )));
            }
            Err(_) => Err(self.no_answer()),
        };
        let result = raw.and_then(|raw| self.read(method, &raw));
        self.metrics.rpc(method, started.elapsed());
        self.judge(&result, started.elapsed()).await;
        result
    }

    /// Several requests of one method in one, each with its own answer; one after the other where the endpoint takes no batches.
    pub(super) async fn batch<R: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Vec<Value>,
    ) -> Vec<Result<R, Fault>> {
        if params.len() > 1 && self.health().batches {
            let started = Instant::now();
            let sent = tokio::time::timeout(self.timeout, Box::pin(self.send_batch(method, &params))).await;
            self.metrics.rpc(method, started.elapsed());
            match sent {
                Ok(Ok(raws)) => {
                    let results: Vec<_> = raws
                        .into_iter()
                        .map(|raw| raw.and_then(|raw| self.read(method, &raw)))
                        .collect();
                    for result in &results {
                        self.judge(result, started.elapsed()).await;
                    }
                    return results;
                }
                Ok(Err(BatchFault::NotServed(text))) => {
                    tracing::info!(
                        endpoint = self.redactor.endpoint(),
                        answer = text,
                        "the endpoint takes no batches; requests are sent one by one"
                    );
                    self.health().batches = false;
                }
                Ok(Err(BatchFault::Failed(fault))) => return self.all_failed(fault, params.len(), started).await,
                Err(_) => return self.all_failed(self.no_answer(), params.len(), started).await,
            }
        }
        let mut results = Vec::with_capacity(params.len());
        for params in params {
            results.push(self.request(method, params).await);
        }
        results
    }

    /// The newest block, as read by a request that began after this call. Those who call at the same time share one.
    pub(super) async fn newest(&self) -> Result<Head, Fault> {
        let called = Instant::now();
        let mut slot = self.head.lock().await;
        if let Some((_, head)) = slot.as_ref().filter(|(began, _)| *began >= called) {
            return Ok(head.clone());
        }
        let began = Instant::now();
        let head: Head = self.request("eth_getBlockByNumber", json!(["latest", false])).await?;
        *slot = Some((began, head.clone()));
        drop(slot);
        let went_back = self.health().saw_head(head.number.to());
        if let Some(before) = went_back {
            tracing::error!(
                endpoint = self.redactor.endpoint(),
                before,
                now = head.number.to::<u64>(),
                "the chain endpoint went back by many blocks; it is left out for a while where there are others"
            );
        }
        Ok(head)
    }

    /// Finds out whether the endpoint answers at all.
    pub(super) async fn probe(&self) {
        // Both ends are recorded by the request itself.
        let _ = self.request::<Value>("eth_chainId", json!([])).await;
        self.health().probed();
    }

    async fn is_alive(&self) -> bool {
        let limit = ALIVE.min(self.timeout);
        tokio::time::timeout(limit, Box::pin(self.send("eth_chainId", json!([]))))
            .await
            .is_ok_and(|answer| !matches!(answer, Err(Fault::Transport(_))))
    }

    fn no_answer(&self) -> Fault {
        Fault::Transport(format!("no answer within {} s", self.timeout.as_secs()))
    }

    fn read<R: DeserializeOwned>(&self, method: &'static str, raw: &RawValue) -> Result<R, Fault> {
        serde_json::from_str(raw.get()).map_err(|e| Fault::Shape(self.redactor.clean(&format!("{method}: {e}"))))
    }

    /// Learns from a result.
    async fn judge<R>(&self, result: &Result<R, Fault>, elapsed: Duration) {
        match result {
            Err(fault @ (Fault::Transport(text) | Fault::Shape(text))) => {
                self.failed(text);
                if matches!(fault, Fault::Transport(_)) && self.is_ws() {
                    // A connection that lost a request is replaced; others that wait on it get their own fault.
                    self.client.lock().await.take();
                }
            }
            _ => self.health().answered(elapsed),
        }
        if let Some(class) = result.as_ref().err().and_then(Fault::class) {
            self.metrics.rpc_error(class);
        }
    }

    async fn all_failed<R>(&self, fault: Fault, count: usize, started: Instant) -> Vec<Result<R, Fault>> {
        self.judge(&Err::<(), _>(fault.clone()), started.elapsed()).await;
        (0..count).map(|_| Err(fault.clone())).collect()
    }

    async fn send_batch(
        &self,
        method: &'static str,
        params: &[Value],
    ) -> Result<Vec<Result<Box<RawValue>, Fault>>, BatchFault> {
        let client = self.client().await.map_err(BatchFault::Failed)?;
        let mut batch = client.new_batch();
        let mut waiters = Vec::with_capacity(params.len());
        for params in params {
            let waiter = batch.add_call::<Value, Box<RawValue>>(method, params);
            waiters.push(waiter.map_err(|error| BatchFault::Failed(self.fault(error)))?);
        }
        if let Err(error) = batch.send().await {
            return Err(match self.fault(error) {
                // An error of its own, or something that is no list of answers: the node is there and does not take it.
                Fault::Rpc { message, .. } | Fault::Shape(message) => BatchFault::NotServed(message),
                fault => BatchFault::Failed(fault),
            });
        }
        let mut answers = Vec::with_capacity(waiters.len());
        for waiter in waiters {
            match waiter.await {
                Ok(raw) => answers.push(Ok(raw)),
                Err(RpcError::Transport(TransportErrorKind::MissingBatchResponse(_))) => {
                    return Err(BatchFault::NotServed("answers are missing".to_owned()));
                }
                Err(error) => answers.push(Err(self.fault(error))),
            }
        }
        Ok(answers)
    }

    async fn send(&self, method: &'static str, params: Value) -> Result<Box<RawValue>, Fault> {
        let client = self.client().await?;
        client
            .request::<Value, Box<RawValue>>(method, params)
            .await
            .map_err(|error| self.fault(error))
    }

    async fn client(&self) -> Result<RpcClient, Fault> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref() {
            return Ok(client.clone());
        }
        let client = if self.is_ws() {
            let connect = WsConnect::new(self.url.as_str())
                .with_max_retries(WS_RECONNECTS)
                .with_retry_interval(WS_RECONNECT_PAUSE);
            ClientBuilder::default()
                .ws(connect)
                .await
                .map_err(|error| self.fault(error))?
        } else {
            let http = reqwest::Client::builder()
                .connect_timeout(self.connect_timeout)
                .timeout(self.timeout)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|error| Fault::Transport(self.redactor.clean(&format!("HTTP client: {error}"))))?;
            ClientBuilder::default().http_with_client(http, self.url.clone())
        };
        Ok(slot.insert(client).clone())
    }

    fn is_ws(&self) -> bool {
        matches!(self.url.scheme(), "ws" | "wss")
    }

    fn failed(&self, text: &str) {
        if self.health().failed(text) {
            tracing::warn!(
                endpoint = self.redactor.endpoint(),
                fault = text,
                "chain endpoint does not answer"
            );
        }
    }

    fn fault(&self, error: TransportError) -> Fault {
        match error {
            RpcError::ErrorResp(payload) => self.answer_fault(&payload),
            RpcError::NullResp => Fault::Shape("null where a result was expected".to_owned()),
            RpcError::DeserError { err, .. } | RpcError::SerError(err) => {
                Fault::Shape(self.redactor.clean(&err.to_string()))
            }
            RpcError::Transport(
                TransportErrorKind::HttpError(error) | TransportErrorKind::HttpErrorWithRetryAfter { error, .. },
            ) => self.http_fault(error.status, &error.body),
            RpcError::Transport(kind) => Fault::Transport(self.redactor.clean(&root_cause(&kind))),
            RpcError::UnsupportedFeature(what) => Fault::Transport(what.to_owned()),
            RpcError::LocalUsageError(error) => Fault::Transport(self.redactor.clean(&error.to_string())),
        }
    }

    /// Some providers send the JSON-RPC error with an HTTP error status.
    fn http_fault(&self, status: u16, body: &str) -> Fault {
        #[derive(serde::Deserialize)]
        struct Body {
            error: ErrorPayload,
        }
        match serde_json::from_str::<Body>(body) {
            Ok(body) if status != 429 => self.answer_fault(&body.error),
            _ => Fault::Transport(format!("HTTP status {status}")),
        }
    }

    fn answer_fault(&self, payload: &ErrorPayload) -> Fault {
        let message = self.redactor.clean(&payload.message);
        if CODES_BUSY.contains(&payload.code) {
            return Fault::Transport(format!("endpoint is at its limit: {message}"));
        }
        let data = payload
            .data
            .as_ref()
            .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let bytes = data.as_ref().and_then(|value| revert_bytes(value, REVERT_NESTING));
        if payload.code == CODE_REVERT || is_revert_text(&message) {
            let data = bytes.unwrap_or_default();
            let message = data.is_empty().then_some(message);
            return Fault::Revert(Revert { data, message });
        }
        Fault::Rpc {
            code: payload.code,
            message,
        }
    }
}

/// Texts with which nodes say that the EVM ended a call; those of geth, anvil, erigon, nethermind, besu and reth.
fn is_revert_text(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    const STARTS: [&str; 9] = [
        "execution reverted",
        "reverted",
        "vm execution error",
        "vm exception",
        "evm error",
        "invalid opcode",
        "out of gas",
        "gas required exceeds",
        "stack ",
    ];
    STARTS.iter().any(|start| message.starts_with(start))
}

/// Finds revert bytes in an error's data: `"0x…"`, `"Reverted 0x…"`, or either inside `{"data": …}`.
fn revert_bytes(value: &Value, nesting: u8) -> Option<Bytes> {
    match value {
        Value::String(text) => text.strip_prefix("Reverted ").unwrap_or(text).parse().ok(),
        Value::Object(map) if nesting > 0 => ["data", "output", "result"]
            .iter()
            .find_map(|key| revert_bytes(map.get(*key)?, nesting - 1)),
        _ => None,
    }
}

/// The innermost cause: outer ones of HTTP libraries contain whole URLs.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        let second = Duration::from_secs(1);
        let url = "http://127.0.0.1:1/v2/0123456789abcdef0123".parse().unwrap();
        Endpoint::new(url, second, second, Arc::new(ChainMetrics::default()))
    }

    fn payload(code: i64, message: &str, data: Value) -> ErrorPayload {
        serde_json::from_value(json!({"code": code, "message": message, "data": data})).unwrap()
    }

    #[test]
    fn reverts_of_all_node_families_are_recognised() {
        let table = [
            (3, "execution reverted", json!("0x3dda1739")),
            (-32000, "execution reverted", json!("0x3dda1739")),
            (-32015, "VM execution error.", json!("Reverted 0x3dda1739")),
            (
                -32603,
                "VM Exception while processing transaction",
                json!({"data": {"data": "0x3dda1739"}}),
            ),
        ];
        for (code, message, data) in table {
            let fault = endpoint().answer_fault(&payload(code, message, data));
            assert_eq!(
                fault,
                Fault::Revert(Revert::new(vec![0x3d, 0xda, 0x17, 0x39])),
                "{message}"
            );
        }
    }

    #[test]
    fn other_answers_are_not_reverts() {
        let fault = endpoint().answer_fault(&payload(-32000, "nonce too low: next nonce 5", Value::Null));
        assert!(matches!(fault, Fault::Rpc { code: -32000, .. }));
        let busy = endpoint().answer_fault(&payload(-32005, "limit exceeded", Value::Null));
        assert!(busy.is_transport());
        assert!(endpoint().http_fault(503, "busy").is_transport());
        let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}"#;
        assert!(matches!(
            endpoint().http_fault(403, body),
            Fault::Rpc { code: -32601, .. }
        ));
    }

    #[tokio::test]
    async fn a_dead_endpoint_names_its_host_and_keeps_its_key() {
        let endpoint = endpoint();
        let fault = endpoint.request::<Value>("eth_chainId", json!([])).await.unwrap_err();
        let Fault::Transport(text) = fault else {
            panic!("{fault:?}")
        };
        assert!(!text.contains("0123456789abcdef"), "{text}");
        assert_eq!(endpoint.health().faults, 1);
    }
}
