//! Each fault as clients of a real chain see it.

use std::time::Duration;

use alloy::providers::{Provider, ProviderBuilder, WsConnect};
use anyhow::Result;
use serde_json::{Value, json};
use testkit::{Anvil, Fault, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Long enough for a slow machine; a passing test never waits for it.
const LIMIT: Duration = Duration::from_secs(30);
/// How long nothing must come before a half-open connection counts as silent.
const SILENCE: Duration = Duration::from_millis(200);

async fn bed() -> (Anvil, Proxy) {
    let chain = Anvil::start().await.unwrap();
    let proxy = Proxy::start(chain.port()).await.unwrap();
    (chain, proxy)
}

async fn ask(url: &str, method: &str) -> reqwest::Result<reqwest::Response> {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": []});
    reqwest::Client::new().post(url).json(&body).send().await
}

async fn answer(url: &str, method: &str) -> Value {
    ask(url, method).await.unwrap().json().await.unwrap()
}

async fn socket(proxy: &Proxy) -> Result<impl Provider> {
    Ok(ProviderBuilder::default()
        .connect_ws(WsConnect::new(proxy.ws()).with_max_retries(0))
        .await?)
}

#[tokio::test]
async fn without_a_fault_everything_passes() {
    let (chain, proxy) = bed().await;
    assert_eq!(
        answer(&proxy.http(), "eth_chainId").await,
        answer(&chain.http(), "eth_chainId").await
    );
    let socket = socket(&proxy).await.unwrap();
    let mut blocks = socket.subscribe_blocks().await.unwrap();
    chain.mine().await.unwrap();
    assert_eq!(blocks.recv().await.unwrap().number, 1);
    assert_eq!(proxy.strikes(), 0);
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_dropped_connection_is_reset_and_so_is_every_new_one() {
    let (_chain, proxy) = bed().await;
    let mut open = TcpStream::connect(proxy.http().trim_start_matches("http://"))
        .await
        .unwrap();
    proxy.connected(0, LIMIT).await.unwrap();
    proxy.set(Fault::Drop);
    let error = open.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(ask(&proxy.http(), "eth_chainId").await.is_err());
    assert_eq!(proxy.strikes(), 2);
    proxy.set(Fault::Pass);
    assert_eq!(answer(&proxy.http(), "eth_chainId").await["result"], "0x7a69");
}

#[tokio::test]
async fn a_half_open_connection_stays_silent_for_good() {
    let (_chain, proxy) = bed().await;
    let socket = socket(&proxy).await.unwrap();
    assert_eq!(socket.get_chain_id().await.unwrap(), 31_337);
    proxy.set(Fault::HalfOpen);
    let silent = tokio::time::timeout(SILENCE, socket.get_chain_id()).await;
    assert!(silent.is_err(), "{silent:?}");
    assert!(proxy.strikes() > 0);
    proxy.set(Fault::Pass);
    let silent = tokio::time::timeout(SILENCE, socket.get_chain_id()).await;
    assert!(silent.is_err(), "{silent:?}");
    assert_eq!(proxy.open(), 1);
    assert_eq!(answer(&proxy.http(), "eth_chainId").await["result"], "0x7a69");
}

#[tokio::test]
async fn garbage_and_cut_frames_are_no_answers() {
    for fault in [Fault::Garbage, Fault::Truncate] {
        let (_chain, proxy) = bed().await;
        let connected = socket(&proxy).await.unwrap();
        proxy.set(fault.clone());
        assert!(ask(&proxy.http(), "eth_chainId").await.is_err(), "{fault:?}");
        assert!(connected.get_chain_id().await.is_err(), "{fault:?}");
        assert!(socket(&proxy).await.is_err(), "{fault:?}");
        assert!(proxy.strikes() >= 3, "{fault:?}");
    }
}

#[tokio::test]
async fn refusals_look_like_those_of_providers() {
    let (_chain, proxy) = bed().await;
    let connected = socket(&proxy).await.unwrap();
    proxy.set(Fault::limit_exceeded());
    let refused = answer(&proxy.http(), "eth_blockNumber").await;
    assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32005), &json!(7)));
    let error = connected.get_block_number().await.unwrap_err();
    assert_eq!(error.as_error_resp().unwrap().code, -32005);

    proxy.set(Fault::TooManyRequests);
    let refused = ask(&proxy.http(), "eth_blockNumber").await.unwrap();
    assert_eq!(refused.status().as_u16(), 429);
    assert!(socket(&proxy).await.is_err());
    assert!(connected.get_block_number().await.is_err(), "an open socket is closed");
}

#[tokio::test]
async fn a_fault_can_concern_a_method_or_a_batch() {
    let (_chain, proxy) = bed().await;
    proxy.set(Fault::RpcError {
        code: -32000,
        message: "busy".to_owned(),
        methods: vec!["eth_gasPrice".to_owned()],
    });
    assert_eq!(answer(&proxy.http(), "eth_chainId").await["result"], "0x7a69");
    assert_eq!(answer(&proxy.http(), "eth_gasPrice").await["error"]["message"], "busy");
    let one = |id: u64, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": []});
    let batch = json!([one(1, "eth_chainId"), one(2, "eth_gasPrice")]);
    let client = reqwest::Client::new();
    let answers: Value = client
        .post(proxy.http())
        .json(&batch)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&answers[0]["error"]["code"], &answers[1]["error"]["code"]),
        (&json!(-32603), &json!(-32000))
    );
}

#[tokio::test]
async fn the_wrong_chain_answers_with_its_id_alone() {
    let (_chain, proxy) = bed().await;
    proxy.set(Fault::WrongChain(5));
    assert_eq!(answer(&proxy.http(), "eth_chainId").await["result"], "0x5");
    assert_eq!(answer(&proxy.http(), "eth_blockNumber").await["result"], "0x0");
    assert_eq!(socket(&proxy).await.unwrap().get_chain_id().await.unwrap(), 5);
}

#[tokio::test]
async fn a_delay_ends_with_the_fault() {
    let (_chain, proxy) = bed().await;
    proxy.set(Fault::Delay(Duration::from_secs(3_600)));
    let url = proxy.http();
    let asked = tokio::spawn(async move { answer(&url, "eth_chainId").await });
    proxy.struck(0, LIMIT).await.unwrap();
    assert!(!asked.is_finished());
    proxy.set(Fault::Pass);
    assert_eq!(asked.await.unwrap()["result"], "0x7a69");
}

#[tokio::test]
async fn one_connection_can_have_a_fault_of_its_own() {
    let (_chain, proxy) = bed().await;
    proxy.next(Fault::Drop);
    assert!(ask(&proxy.http(), "eth_chainId").await.is_err());
    assert_eq!(answer(&proxy.http(), "eth_chainId").await["result"], "0x7a69");
}

#[tokio::test]
async fn answers_with_many_bytes_pass_whole() {
    let (chain, proxy) = bed().await;
    let mut large = TcpStream::connect(proxy.http().trim_start_matches("http://"))
        .await
        .unwrap();
    // A body of several buffers, whose answer is an error that the chain itself gives.
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "x".repeat(300_000), "params": []}).to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    large.write_all(head.as_bytes()).await.unwrap();
    large.write_all(body.as_bytes()).await.unwrap();
    let mut text = String::new();
    large.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop(chain);
    assert_eq!(
        ask(&proxy.http(), "eth_chainId").await.unwrap().status().as_u16(),
        502,
        "nobody is behind it"
    );
}
