//! Components of which the real engine-svc dies, again and again: they are found out and put away, and the others go on.

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

/// A node with the workflow `default`, which lands, and `fetch`, whose component asks a server.
struct Fixture {
    scenario: Scenario,
    server: TcpListener,
    url: String,
    /// Digest of the component that asks.
    component: String,
}

impl Fixture {
    async fn start() -> Self {
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
        Self {
            scenario,
            server,
            url: format!("http://{address}/"),
            component: fetching.digest,
        }
    }

    async fn fire(&self) {
        let url = self.url.as_bytes();
        self.scenario.inject("fetch", url, 1, false).await.unwrap();
    }

    /// Kills engine-svc while the component runs. The component does no harm by itself, so somebody else has to.
    async fn kill(&self) {
        let _run = asked(&self.server).await;
        self.scenario.node.kill("engine-svc").await.unwrap();
    }

    /// Lets the component end.
    async fn answer(&self) {
        let mut run = asked(&self.server).await;
        run.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback")
            .await
            .unwrap();
        self.job(|job| job["state"] == "executed").await;
    }

    async fn job(&self, condition: fn(&Value) -> bool) -> Value {
        self.scenario.job_in("fetch", condition).await.unwrap()
    }

    fn service(&self) -> String {
        format!("/v1/services/{}", self.scenario.service_id)
    }

    async fn is_quarantined(&self) {
        let says_so = |service: &Value| {
            service["reason"]
                .as_str()
                .is_some_and(|text| text.contains("is quarantined"))
        };
        let found = self
            .scenario
            .node
            .wait_for(&self.service(), LIMIT, says_so)
            .await
            .unwrap();
        assert_eq!(found["state"], "degraded", "{found:#}");
        assert!(found["reason"].as_str().unwrap().contains(&self.component), "{found:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_kills_the_engine_is_put_away_and_comes_back_when_the_operator_says_so() {
    let fixture = Fixture::start().await;
    fixture.fire().await;
    for _ in 0..3 {
        fixture.kill().await;
    }
    let job = fixture.job(ended).await;
    assert!(job["error"].as_str().unwrap().starts_with("quarantined: "), "{job:#}");
    fixture.fire().await;
    for _ in 0..2 {
        fixture.kill().await;
    }
    fixture.is_quarantined().await;

    let landed = fixture.scenario.fire_and_land(b"meanwhile").await.unwrap();
    assert_eq!(landed.data.as_ref(), b"meanwhile");
    let waiting = fixture.job(|job| job["error"].is_string()).await;
    assert_eq!(waiting["state"], "received", "{waiting:#}");

    let path = format!("{}/resume", fixture.service());
    let resumed = fixture.scenario.node.post(&path, &json!({})).await.unwrap();
    assert_eq!(resumed["state"], "active", "{resumed:#}");
    fixture.answer().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_kills_the_engine_in_the_first_run_of_each_job_alone_is_found_out_as_well() {
    let fixture = Fixture::start().await;
    // Two deaths make it a suspect; those after that are put down to it.
    for _ in 0..4 {
        fixture.fire().await;
        fixture.kill().await;
        fixture.answer().await;
    }
    fixture.fire().await;
    fixture.kill().await;
    fixture.is_quarantined().await;
    let landed = fixture.scenario.fire_and_land(b"meanwhile").await.unwrap();
    assert_eq!(landed.data.as_ref(), b"meanwhile");
}
