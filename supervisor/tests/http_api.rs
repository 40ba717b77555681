//! The routes of the API over real sockets, with scripted processes behind them.

mod support;

use serde_json::{Value, json};
use support::script::{JOB, MANAGER, SERVICE, document};
use support::{Answer, Node};
use wavs_ipc::contract::registry::InjectionProgress;
use wavs_ipc::{ErrorCode, WireError};
use wavs_service::ProcessName;
use wavs_supervisor::http::settings::Settings;
use wavs_supervisor::supervise::snapshot::ProcessState;

fn manager(address: &str) -> Value {
    json!({"evm": {"chain": "evm:31337", "address": address}})
}

fn trigger() -> Value {
    json!({"service_id": SERVICE, "workflow_id": "on-call", "trigger": "manual", "data": {"Raw": [104, 105]}, "wait_for_completion": true})
}

#[tokio::test]
async fn services_come_and_go() {
    let node = Node::start().await;
    let known = json!({"service_manager": manager(MANAGER)});
    node.post("/services", &known).await.expect(
        409,
        "already-registered",
        &format!("Service {SERVICE} already registered"),
    );

    let list = node.get("/services").await;
    let body = list.json();
    assert_eq!(body["service_ids"], json!([SERVICE]));
    assert_eq!(body["services"][0]["manager"], manager(MANAGER));
    assert_eq!(body["component_digests"], json!([]));
    let again = Answer::of(
        node.request("GET", "/services")
            .header("if-none-match", list.header("etag")),
    )
    .await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));

    for address in [MANAGER, "0x5FbDB2315678afecb367f032d93F642f64180aa3"] {
        for chain in ["evm:31337", "evm%3A31337"] {
            let one = node.get(&format!("/services/{chain}/{address}")).await;
            assert_eq!((one.status, one.json()["name"].as_str()), (200, Some("test")));
        }
    }
    let signer = node.post("/services/signer", &known).await;
    let expect = json!({"secp256k1": {"hd_index": 1, "evm_address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}});
    assert_eq!(
        (signer.status, signer.json(), signer.header("cache-control")),
        (200, expect, "no-store")
    );

    let gone = node
        .delete("/services", &json!({"service_managers": [manager(MANAGER)]}))
        .await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert_eq!(
        node.delete("/services", &json!({"service_managers": [manager(MANAGER)]}))
            .await
            .status,
        204
    );
    let missing = format!("Service ID {SERVICE} has not been set on the http server");
    node.get(&format!("/services/evm:31337/{MANAGER}"))
        .await
        .expect(404, "service-not-found", &missing);
    node.post("/services/signer", &known).await.expect(
        404,
        "signer-not-found",
        &format!("missing key for service {SERVICE}"),
    );
    let added = node.post("/services", &known).await;
    assert_eq!((added.status, added.text.as_str()), (204, ""));
}

#[tokio::test]
async fn wrong_requests_say_what_is_wrong() {
    let node = Node::start().await;
    let raw = |method: &str, path: &str, kind: &'static str, body: &'static str| {
        Answer::of(node.request(method, path).header("content-type", kind).body(body))
    };
    raw("POST", "/services", "application/json", "{")
        .await
        .expect(400, "malformed-json", "EOF");
    raw("POST", "/services", "application/json", "{} x")
        .await
        .expect(400, "malformed-json", "trailing");
    raw("POST", "/services", "application/json; charset=utf-8", "{}")
        .await
        .expect(422, "invalid-shape", "service_manager");
    raw("POST", "/services", "text/plain", "{}")
        .await
        .expect(415, "unsupported-media-type", "application/json");
    raw("DELETE", "/services", "text/plain", "{}")
        .await
        .expect(415, "unsupported-media-type", "application/json");
    node.post("/services", &json!({"service_manager": manager("0x12")}))
        .await
        .expect(422, "invalid-shape", "");
    node.get("/services/nonsense/0x12")
        .await
        .expect(400, "invalid-parameter", "nonsense");
    node.get("/services/evm:31337/0x12")
        .await
        .expect(400, "invalid-parameter", "0x12");
    node.get("/services/cosmos:other/cosmos1x")
        .await
        .expect(400, "invalid-parameter", "cosmos1x");
    let neutron = "neutron1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5z5tpwxqergd3c8g7rusqpsa9eu";
    let unknown = "missing chain config for cosmos:other";
    node.get(&format!("/services/cosmos:other/{neutron}"))
        .await
        .expect(404, "chain-not-configured", unknown);
    node.get(&format!("/services/cosmos:pion-1/{neutron}")).await.expect(
        404,
        "service-not-found",
        "2b1f51b23e24a81216bf",
    );
    node.get("/nowhere").await.expect(404, "not-found", "not found");
    let method = Answer::of(node.request("PUT", "/services")).await;
    method.expect(405, "method-not-allowed", "Allow");
    for allowed in ["GET", "POST", "DELETE"] {
        assert!(method.header("allow").contains(allowed), "{method:?}");
    }
    node.get("/v1/jobs?limit=0")
        .await
        .expect(400, "invalid-parameter", "limit");
    node.get("/v1/jobs/xyz").await.expect(400, "invalid-parameter", "xyz");
    node.get(&format!("/dev/kv/{}/b/k", "zz"))
        .await
        .expect(400, "invalid-parameter", "zz");
}

#[tokio::test]
async fn errors_of_processes_keep_their_meaning() {
    let node = Node::start().await;
    let add = json!({"service_manager": manager("0x0000000000000000000000000000000000000001")});
    let findings = r#"[{"level":"error","pointer":"/name","code":"too-long","detail":"at most 256 bytes"}]"#;
    for (error, status, code, detail) in [
        (
            WireError::never(ErrorCode::SignerMissing, ""),
            503,
            "signer-missing",
            "missing signing mnemonic",
        ),
        (
            WireError::never(ErrorCode::ManagerMismatch, "other manager"),
            422,
            "manager-mismatch",
            "other manager",
        ),
        (
            WireError::never(ErrorCode::InvalidService, findings),
            422,
            "invalid-service",
            "at most 256 bytes",
        ),
        (
            WireError::never(ErrorCode::Fetch, "404"),
            502,
            "fetch-failed",
            "Failed to fetch service: 404",
        ),
        (
            WireError::never(ErrorCode::Component, "no export"),
            422,
            "invalid-component",
            "Engine: no export",
        ),
        (
            WireError::never(
                ErrorCode::ChainNotConfigured,
                "Could not get chain config for chain evm:1",
            ),
            422,
            "chain-not-configured",
            "Could not get chain config for chain evm:1",
        ),
        (
            WireError::backoff(ErrorCode::Chain, "Alloy contract error: x"),
            502,
            "chain-rpc",
            "Alloy contract error",
        ),
        (
            WireError::backoff(ErrorCode::Conflict, "busy"),
            409,
            "lifecycle-busy",
            "busy",
        ),
    ] {
        node.script.fail("add_service", error);
        node.post("/services", &add).await.expect(status, code, detail);
    }
    node.script
        .fail("add_service", WireError::internal("disk /secret/path broke"));
    let internal = node.post("/services", &add).await;
    internal.expect(500, "internal", "");
    assert!(!internal.text.contains("/secret/path"));
}

#[tokio::test]
async fn a_process_that_is_down_costs_only_its_own_routes() {
    let node = Node::start().await;
    for process in [
        ProcessName::Engine,
        ProcessName::Aggregator,
        ProcessName::Trigger,
        ProcessName::P2p,
    ] {
        node.set_state(process, ProcessState::Blocked);
    }
    for path in [
        "/services",
        "/p2p/status",
        "/dev/trigger-streams",
        &format!("/dev/kv/{SERVICE}/b/k"),
        "/v1/jobs",
    ] {
        let answer = node.get(path).await;
        answer.expect(503, "process-down", "is down");
        assert_eq!(answer.header("retry-after"), "1", "{path}");
    }
    for path in ["/info", "/health", "/healthz", "/config", "/metrics", "/v1/processes"] {
        assert_eq!(node.get(path).await.status, 200, "{path}");
    }
    assert_eq!(node.get("/readyz").await.status, 503);
    assert!(node.get("/health").await.json()["chains"]["evm:31337"]["unhealthy"]["error"].is_string());
    assert_eq!(node.get("/v1/processes/engine-svc").await.json()["state"], "blocked");

    node.set_state(ProcessName::Aggregator, ProcessState::Backoff);
    let waiting = node.get("/v1/jobs");
    let back = async { node.set_state(ProcessName::Aggregator, ProcessState::Running) };
    assert_eq!(
        tokio::join!(waiting, back).0.status,
        200,
        "a request waits for a quick restart"
    );
}

#[tokio::test]
async fn uploads_are_limited_exactly() {
    let node = Node::start().await;
    let mebibyte = 1024 * 1024;
    for (path, size) in [
        ("/dev/components", 14 * mebibyte),
        ("/upload", 15 * mebibyte),
        ("/components", 3),
    ] {
        let answer = Answer::of(node.request("POST", path).body(vec![7; size])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let expect = wavs_types::ComponentDigest::of(&vec![7; size]).to_string();
        assert_eq!(answer.json(), json!({"digest": expect}));
    }
    for size in [15 * mebibyte + 1, 16 * mebibyte] {
        let answer = Answer::of(node.request("POST", "/dev/components").body(vec![7; size])).await;
        answer.expect(413, "payload-too-large", "limit");
        let chunk = move || Ok::<_, std::io::Error>(vec![7_u8; mebibyte]);
        let chunks = futures::stream::iter((0..=size / mebibyte).map(move |_| chunk()));
        let answer = Answer::of(
            node.request("POST", "/dev/components")
                .body(reqwest::Body::wrap_stream(chunks)),
        )
        .await;
        answer.expect(413, "payload-too-large", "limit");
    }
    let long = json!({"service_manager": "x".repeat(2 * mebibyte)});
    node.post("/services", &long)
        .await
        .expect(413, "payload-too-large", "limit");
    node.script.fail(
        "store_component",
        WireError::never(ErrorCode::Component, "not a component"),
    );
    let bad = Answer::of(node.request("POST", "/dev/components").body("x")).await;
    bad.expect(422, "invalid-component", "Engine: not a component");
    assert_eq!(
        std::fs::read_dir(node.dir.path().join("run/uploads")).unwrap().count(),
        0,
        "no upload is left behind"
    );
}

#[tokio::test]
async fn development_documents_can_be_stored_and_registered() {
    let node = Node::start().await;
    let text = document("other");
    let stored = Answer::of(
        node.request("POST", "/dev/services")
            .header("content-type", "application/json")
            .body(text.clone()),
    )
    .await;
    let hash = stored.json()["hash"].as_str().unwrap().to_owned();
    for spelled in [hash.clone(), format!("0x{hash}")] {
        let shown = node.get(&format!("/dev/services/{spelled}")).await;
        assert_eq!((shown.status, shown.json()["name"].as_str()), (200, Some("test")));
    }
    let registered = Answer::of(node.request("POST", &format!("/dev/services/{hash}"))).await;
    registered.expect(409, "already-registered", "already registered");
    let unknown = "0".repeat(64);
    let detail = format!("Service Hash {unknown} has not been set on the http server");
    node.get(&format!("/dev/services/{unknown}"))
        .await
        .expect(404, "service-hash-not-found", &detail);
    Answer::of(node.request("POST", &format!("/dev/services/{unknown}")))
        .await
        .expect(404, "service-hash-not-found", &detail);
    node.post("/dev/services", &json!({"name": "x"}))
        .await
        .expect(422, "invalid-shape", "");
}

#[tokio::test]
async fn injected_triggers_are_waited_for() {
    let node = Node::start().await;
    node.script.set_injection(InjectionProgress {
        received: 1,
        done: 1,
        failed: 1,
        first_error: None,
    });
    let done = node.post("/dev/triggers", &trigger()).await;
    assert_eq!(
        (done.status, done.text.as_str(), done.header("wavs-failed-jobs")),
        (200, "", "1")
    );
    assert_eq!(node.script.injected()[0].count, 1);

    let with = |key: &str, value: Value| {
        let mut body = trigger();
        body[key] = value;
        body
    };
    let mut slow = with("timeout_secs", json!(1));
    slow["count"] = json!(3);
    node.post("/dev/triggers", &slow)
        .await
        .expect(504, "timeout", "1 of 3 jobs");
    node.post("/dev/triggers", &with("count", json!(0)))
        .await
        .expect(400, "invalid-parameter", "count");
    node.post("/dev/triggers", &with("count", json!(10_001)))
        .await
        .expect(400, "invalid-parameter", "10000");
    let several = json!([{"Raw": [1]}, {"Raw": [2]}]);
    let mut batch = with("data", several.clone());
    batch["wait_for_completion"] = json!(false);
    batch["count"] = json!(2);
    assert_eq!(node.post("/dev/triggers", &batch).await.status, 200);
    let injected = node.script.injected().last().cloned().unwrap();
    assert_eq!((injected.data.len(), injected.count), (2, 2));
    batch["count"] = json!(5_001);
    node.post("/dev/triggers", &batch)
        .await
        .expect(400, "invalid-parameter", "10002 triggers");
    node.post("/dev/triggers", &with("data", json!([])))
        .await
        .expect(400, "invalid-parameter", "0 data");
    node.post("/dev/triggers", &with("data", json!([{"Nothing": 1}])))
        .await
        .expect(422, "invalid-shape", "Nothing");
    node.post("/dev/triggers", &with("workflow_id", json!("nothing")))
        .await
        .expect(404, "not-found", "nothing");
    node.post("/dev/triggers", &with("service_id", json!("0".repeat(64))))
        .await
        .expect(404, "service-not-found", "Service ID 000");
    node.script.pause();
    node.post("/dev/triggers", &trigger())
        .await
        .expect(409, "conflict", "paused");
    assert_eq!(
        node.post("/dev/triggers", &with("wait_for_completion", json!(false)))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn chains_can_be_added() {
    let node = Node::start().await;
    let chain = |key: &str, id: &str| {
        json!({"chain": key, "config": {"type": "evm", "chain_id": id, "ws_endpoints": ["ws://h:8546"], "http_endpoint": "http://h:8545",
            "faucet_endpoint": null, "ws_priority_endpoint_index": null}})
    };
    let added = node.post("/dev/chains", &chain("evm:1337", "1337")).await;
    assert_eq!((added.status, added.text.as_str()), (200, ""));
    node.post("/dev/chains", &chain("evm:1337", "1337")).await.expect(
        409,
        "chain-exists",
        "Chain already exists: evm:1337",
    );
    node.post("/dev/chains", &chain("evm:1337", "1"))
        .await
        .expect(422, "chain-config-invalid", "Chain ID mismatch");
    assert!(node.get("/config").await.json()["chains"]["evm"]["1337"].is_object());
}

#[tokio::test]
async fn reads_have_the_shapes_that_clients_know() {
    let node = Node::start().await;
    assert!(
        node.get("/info").await.json()["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    let health = node.get("/health").await.json();
    assert!(health["timestamp"].is_u64());
    assert_eq!(
        health["chains"],
        json!({"evm:31337": "healthy", "cosmos:pion-1": {"unhealthy": {"error": "timeout"}}})
    );
    let p2p = json!({"enabled": false, "local_peer_id": null, "listen_addresses": [], "external_addresses": [], "connected_peers": 0,
        "peer_ids": [], "subscribed_topics": [], "topic_peer_counts": {}});
    assert_eq!(node.get("/p2p/status").await.json(), p2p);
    assert_eq!(
        node.get("/dev/trigger-streams").await.json(),
        json!({"chains": {}, "hypercore": {}})
    );
    let value = node
        .request("GET", &format!("/dev/kv/0x{SERVICE}/b/k"))
        .send()
        .await
        .unwrap();
    assert_eq!(value.headers()["content-type"], "application/octet-stream");
    assert_eq!(value.bytes().await.unwrap().as_ref(), [0, 255, 1]);
    let absent = node.get(&format!("/dev/kv/{SERVICE}/b/other")).await;
    assert_eq!((absent.status, absent.text.as_str()), (404, ""));
    assert_eq!(node.get("/healthz").await.text, "ok");
    assert_eq!(node.get("/readyz").await.json()["ready"], true);
    let config = node.get("/config").await;
    assert_eq!(config.header("cache-control"), "no-store");
    assert!(
        config.text.find("\"port\"").unwrap() < config.text.find("\"host\"").unwrap(),
        "the order of keys is kept"
    );
    assert_eq!(config.json()["signing_mnemonic"], "<redacted>");

    let jobs = node.get("/v1/jobs?limit=2").await.json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 2);
    let rest = node
        .get(&format!(
            "/v1/jobs?limit=2&cursor={}",
            jobs["next_cursor"].as_str().unwrap()
        ))
        .await
        .json();
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next_cursor"]),
        (1, &Value::Null)
    );
    let job = node.get(&format!("/v1/jobs/{}", ulid::Ulid(JOB))).await.json();
    assert_eq!(
        (job["state"].as_str(), job["timeline"][1]["step"].as_str()),
        (Some("signed"), Some("signed"))
    );
    node.get(&format!("/v1/jobs/{}", ulid::Ulid(1)))
        .await
        .expect(404, "not-found", "was not found");

    let listed = node.get("/v1/services").await.json();
    assert_eq!(listed["items"][0]["service_id"], SERVICE);
    assert_eq!(
        node.get(&format!("/v1/services/{SERVICE}")).await.json()["document"]["name"],
        "test"
    );
    assert_eq!(
        node.get(&format!("/v1/services/{SERVICE}?raw=true")).await.text,
        document("on-call")
    );
    assert_eq!(
        node.get(&format!("/v1/services/{SERVICE}/status")).await.json()["document_status"],
        "active"
    );
    assert_eq!(
        node.get(&format!("/v1/services/{SERVICE}/logs")).await.json()["items"][0]["line"],
        "hi"
    );

    let processes = node.get("/v1/processes").await.json();
    let names: Vec<_> = processes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].clone())
        .collect();
    assert_eq!(
        json!(names),
        json!(["supervisor", "trigger-svc", "engine-svc", "aggregator-svc", "p2p-svc"])
    );
    assert_eq!(
        processes["items"][1]["queues"][0],
        json!({"name": "jobs", "depth": 3, "capacity": 4096})
    );
    let metrics = node.get("/metrics").await.text;
    assert!(
        metrics.contains("wavs_jobs{process=\"aggregator-svc\",state=\"signed\"} 2"),
        "{metrics}"
    );
    assert_eq!(metrics.matches("# TYPE wavs_jobs gauge").count(), 1);
    assert!(metrics.contains("wavs_process_up{process=\"engine-svc\"} 1"));
}

#[tokio::test]
async fn development_routes_exist_only_when_they_are_on() {
    let node = Node::with(Settings::default()).await;
    let routes = [
        ("POST", "/dev/services"),
        ("POST", "/dev/components"),
        ("POST", "/components"),
        ("POST", "/upload"),
        ("POST", "/dev/triggers"),
        ("POST", "/dev/chains"),
        ("GET", "/dev/trigger-streams"),
        ("GET", "/dev/kv/a/b/c"),
    ];
    for (method, path) in routes {
        Answer::of(node.request(method, path))
            .await
            .expect(404, "not-found", "not found");
    }
}
