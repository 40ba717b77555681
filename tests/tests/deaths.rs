//! A component of which the real engine-svc dies, again and again: it is found out and put away, and the others go on.

use std::net::Ipv4Addr;
use std::time::Duration;

use e2e::anvil::Anvil;
use e2e::node::NodeConfig;
use e2e::scenario::{Scenario, ended, prebuilt};
use e2e::service::{self, Component};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long the node may take to find the component out, restarts of engine-svc included.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until a guest asks the server, which means that its run is under way.
async fn asked(server: &TcpListener) -> TcpStream {
    let (mut stream, _) = tokio::time::timeout(LIMIT, server.accept()).await.unwrap().unwrap();
    let mut request = [0; 4_096];
    assert!(stream.read(&mut request).await.unwrap() > 0);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_kills_the_engine_is_put_away_and_comes_back_when_the_operator_says_so() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = server.local_addr().unwrap();
    let chain = Anvil::start().await.unwrap();
    let config = NodeConfig::for_chains(&[&chain])
        .with("engine.http_allow_private", format!("[\"{address}\"]"))
        .with("process.engine.restart_delay_max_ms", 250);
    let key = chain.chain_key();
    let scenario = Scenario::start_on(chain, &config, "echo", |component| component)
        .await
        .unwrap();
    let mut fetching = Component::new(&scenario.node.upload(&prebuilt("http-get")).await.unwrap());
    fetching.more = json!({"permissions": {"allowed_http_hosts": "all"}});
    let parts = scenario.parts(&key);
    let workflows = [
        ("default", parts.landing(&parts.operator())),
        ("fetch", service::workflow(&json!("manual"), &fetching, None)),
    ];
    let document = service::service(&key, scenario.contracts.manager, &workflows);
    scenario.update(&document).await.unwrap();

    // The component does no harm by itself, so somebody else kills engine-svc whenever it runs: three times during the first
    // job, and twice during the second.
    let url = format!("http://{address}/");
    let fetched = |condition: fn(&Value) -> bool| scenario.job_in("fetch", condition);
    scenario.inject("fetch", url.as_bytes(), 1, false).await.unwrap();
    for _ in 0..3 {
        let _run = asked(&server).await;
        scenario.node.kill("engine-svc").await.unwrap();
    }
    let job = fetched(ended).await.unwrap();
    assert!(job["error"].as_str().unwrap().starts_with("quarantined: "), "{job:#}");
    scenario.inject("fetch", url.as_bytes(), 1, false).await.unwrap();
    for _ in 0..2 {
        let _run = asked(&server).await;
        scenario.node.kill("engine-svc").await.unwrap();
    }
    let path = format!("/v1/services/{}", scenario.service_id);
    let found = scenario
        .node
        .wait_for(&path, LIMIT, |service| service["state"] == "degraded")
        .await
        .unwrap();
    assert!(
        found["reason"].as_str().unwrap().contains(&fetching.digest),
        "{found:#}"
    );

    let landed = scenario.fire_and_land(b"meanwhile").await.unwrap();
    assert_eq!(landed.data.as_ref(), b"meanwhile");
    let waiting = fetched(|job| job["error"].is_string()).await.unwrap();
    assert_eq!(waiting["state"], "received", "{waiting:#}");

    let resumed = scenario.node.post(&format!("{path}/resume"), &json!({})).await.unwrap();
    assert_eq!(resumed["state"], "active", "{resumed:#}");
    let mut run = asked(&server).await;
    run.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback")
        .await
        .unwrap();
    fetched(|job| job["state"] == "executed").await.unwrap();
}
