//! The messages of one connection: HTTP requests and WebSocket messages pass to the chain, unless the fault answers them.

use std::convert::Infallible;
use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tokio_tungstenite::{WebSocketStream, connect_async};

use super::{Fault, Shared};

/// Largest body that passes in either direction; beyond it the request fails with status 502.
const MAX_BODY: usize = 64 * 1024 * 1024;

type Answer = Response<Full<Bytes>>;

/// Serves a connection until one side ends it.
pub(super) async fn serve(stream: DuplexStream, fault: watch::Receiver<Fault>, shared: Arc<Shared>) {
    // The WebSocket that the connection may become; it is served here and not in a task that nobody ends.
    let (upgraded, mut upgrades) = tokio::sync::mpsc::channel(1);
    let service = service_fn(|mut request: Request<Incoming>| {
        let (fault, shared, upgraded) = (fault.clone(), shared.clone(), upgraded.clone());
        async move {
            let now = fault.borrow().clone();
            if now == Fault::TooManyRequests {
                shared.strike();
                return Ok::<_, Infallible>(too_many_requests());
            }
            let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
                return Ok(post(request, fault, &shared).await);
            };
            // The only request on this connection, so there is always room for it.
            let _ = upgraded.try_send(hyper::upgrade::on(&mut request));
            Ok(switching(&key))
        }
    });
    let http = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if http.await.is_err() {
        return;
    }
    if let Ok(upgrade) = upgrades.try_recv()
        && let Ok(stream) = upgrade.await
    {
        let client = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
        messages(client, fault, &shared).await;
    }
}

fn too_many_requests() -> Answer {
    let mut answer = Response::new(Full::from("rate limit exceeded"));
    *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn switching(key: &HeaderValue) -> Answer {
    let accept = derive_accept_key(key.as_bytes());
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept.parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// One request over HTTP, which may be a batch.
async fn post(request: Request<Incoming>, mut fault: watch::Receiver<Fault>, shared: &Shared) -> Answer {
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        return bad_gateway();
    };
    let body = body.to_bytes();
    let now = fault.borrow().clone();
    if let Fault::Withhold(text) = &now
        && String::from_utf8_lossy(&body).contains(text)
    {
        shared.strike();
        // Without a proxy there is nobody left to answer to.
        let _ = fault.wait_for(|fault| *fault != now).await;
    }
    if let Some(answer) = instead(&body, &now) {
        shared.strike();
        return json_answer(answer.to_string().into());
    }
    let request = shared
        .client
        .post(format!("http://{}", shared.upstream))
        .header(CONTENT_TYPE, "application/json")
        .body(body);
    let Ok(answer) = request.send().await else {
        return bad_gateway();
    };
    let status = answer.status();
    match answer.bytes().await {
        Ok(body) if body.len() <= MAX_BODY => {
            let mut answer = json_answer(body);
            *answer.status_mut() = status;
            answer
        }
        _ => bad_gateway(),
    }
}

fn json_answer(body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

fn bad_gateway() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::BAD_GATEWAY;
    answer
}

/// The messages of a WebSocket, until one side ends it or the fault closes it.
async fn messages(
    mut client: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    mut fault: watch::Receiver<Fault>,
    shared: &Shared,
) {
    let Ok((mut chain, _)) = connect_async(format!("ws://{}", shared.upstream)).await else {
        let _ = client.close(None).await;
        return;
    };
    let current = fault.clone();
    let closes = async {
        if fault.wait_for(|fault| *fault == Fault::TooManyRequests).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(closes);
    loop {
        tokio::select! {
            () = &mut closes => { shared.strike(); break }
            message = client.next() => {
                let Some(Ok(message)) = message else { break };
                let answer = match &message {
                    Message::Text(text) => instead(text.as_bytes(), &current.borrow()),
                    _ => None,
                };
                let sent = match answer {
                    Some(answer) => {
                        shared.strike();
                        client.send(Message::text(answer.to_string())).await
                    }
                    None => chain.send(message).await,
                };
                if sent.is_err() { break }
            }
            message = chain.next() => {
                let Some(Ok(message)) = message else { break };
                if client.send(message).await.is_err() { break }
            }
        }
    }
    // Whoever is still there learns of the end.
    let _ = client.close(None).await;
    let _ = chain.close(None).await;
}

/// What the fault answers in the chain's place; `None` when the chain is to answer. A batch is answered as a whole if one of
/// its requests is concerned.
fn instead(body: &[u8], fault: &Fault) -> Option<Value> {
    if !matches!(fault, Fault::RpcError { .. } | Fault::WrongChain(_)) {
        return None;
    }
    let request: Value = serde_json::from_slice(body).ok()?;
    match request {
        Value::Array(batch) if batch.iter().any(|one| answer_to(one, fault).is_some()) => {
            let answer =
                |one| answer_to(one, fault).unwrap_or_else(|| error(one, -32603, "the rest of the batch was refused"));
            Some(batch.iter().map(answer).collect())
        }
        Value::Array(_) => None,
        one => answer_to(&one, fault),
    }
}

fn answer_to(request: &Value, fault: &Fault) -> Option<Value> {
    let method = request["method"].as_str()?;
    match fault {
        Fault::RpcError { code, message, methods } => {
            let concerned = methods.is_empty() || methods.iter().any(|one| one == method);
            concerned.then(|| error(request, *code, message))
        }
        Fault::WrongChain(id) if method == "eth_chainId" => {
            Some(json!({"jsonrpc": "2.0", "id": request["id"], "result": format!("0x{id:x}")}))
        }
        _ => None,
    }
}

fn error(request: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}})
}
