//! Bad input costs its own request: the answer names what and why, and the node goes on.

use e2e::anvil::Anvil;
use e2e::contracts::{self, Contracts};
use e2e::node::{Node, NodeConfig, manager_body, problem};
use e2e::scenario::{self, prebuilt};
use e2e::service::{self, Component};
use e2e::web::Web;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

/// Another chain id than that of the test chain; nothing listens where its configuration points.
const UNREACHABLE: &str = "[default.chains.evm.4444]
ws_endpoints = [\"ws://127.0.0.1:9\"]
http_endpoint = \"http://127.0.0.1:9\"

";
/// So that components can be downloaded from the test's own web server.
const LOOPBACK_DOWNLOADS: &str = "[wavs.fetch]\nallow_hosts = [\"127.0.0.1\"]\n\n";

/// What a refusal must say.
type Expected<'a> = (u16, &'a str, &'a [&'a str]);

/// A node and a manager whose document is yet to be written.
struct Bench {
    node: Node,
    contracts: Contracts,
    key: String,
    web: Web,
    echo: String,
    aggregator: String,
    wrong_world: String,
    _chain: Anvil,
}

impl Bench {
    async fn start() -> Self {
        let chain = Anvil::start().await.unwrap();
        let contracts = Contracts::deploy(&chain).await.unwrap();
        let mut config = NodeConfig::for_chains(&[&chain]);
        config.toml.push_str(UNREACHABLE);
        config.toml.push_str(LOOPBACK_DOWNLOADS);
        let node = Node::start(&config).await.unwrap();
        Self {
            echo: node.upload(&prebuilt("echo")).await.unwrap(),
            aggregator: node.upload(&prebuilt("aggregator")).await.unwrap(),
            wrong_world: node.upload(&prebuilt("wrong-world")).await.unwrap(),
            key: chain.chain_key(),
            web: Web::start().await.unwrap(),
            node,
            contracts,
            _chain: chain,
        }
    }

    /// A good document but for what `spoil` does to its only workflow.
    fn document(&self, operator: &Component, spoil: impl FnOnce(&mut Value)) -> Value {
        let submit = service::submit_to(&self.aggregator, &self.key, self.contracts.handler);
        let trigger = service::new_trigger(&self.key, self.contracts.trigger);
        let mut workflow = service::workflow(&trigger, operator, Some(&submit));
        spoil(&mut workflow);
        service::service(&self.key, self.contracts.manager, &[("default", workflow)])
    }

    /// The answer to an add while the manager points to `uri`.
    async fn add(&self, uri: &str) -> (StatusCode, Value) {
        self.contracts.set_service_uri(uri).await.unwrap();
        let body = manager_body(&self.key, self.contracts.manager);
        self.node.refused(Method::POST, "/services", Some(&body)).await.unwrap()
    }

    /// Asserts that an add of `document` is refused in the expected way.
    async fn refuses(&self, path: &str, document: &Value, expected: Expected<'_>) -> Value {
        let uri = self.web.put(path, document.to_string());
        let (status, answer) = self.add(&uri).await;
        self.expect(path, status, &answer, expected);
        answer
    }

    /// Asserts what a refusal says, to the client and in the log.
    fn expect(&self, case: &str, status: StatusCode, answer: &Value, (code, name, fragments): Expected<'_>) {
        assert_eq!(
            (status.as_u16(), answer["code"].as_str()),
            (code, Some(name)),
            "{case}: {answer:#}"
        );
        let detail = answer["detail"].as_str().unwrap();
        let log = self.node.log();
        for fragment in fragments {
            assert!(detail.contains(fragment), "{case}: no {fragment:?} in {answer:#}");
            assert!(log.contains(fragment), "{case}: no {fragment:?} in the log:\n{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_cannot_be_used_leaves_nothing_behind() {
    let bench = Bench::start().await;
    let (node, contracts, web) = (&bench.node, &bench.contracts, &bench.web);
    let add = async |chain: &str, manager: String| {
        let body = manager_body(chain, manager);
        node.refused(Method::POST, "/services", Some(&body)).await.unwrap()
    };
    let manager = contracts.manager.to_string();

    let (status, answer) = add("evm:999", manager.clone()).await;
    let text = ["Could not get chain config for chain evm:999"];
    bench.expect("unknown chain", status, &answer, (422, "chain-not-configured", &text));

    let (status, answer) = add("evm:4444", manager.clone()).await;
    bench.expect(
        "unreachable chain",
        status,
        &answer,
        (502, "chain-rpc", &["evm:4444", "127.0.0.1:9"]),
    );

    let (status, answer) = add(&bench.key, manager.clone()).await;
    bench.expect(
        "no URI",
        status,
        &answer,
        (502, "chain-rpc", &["names no service URI", "setServiceURI"]),
    );

    let (status, answer) = add(&bench.key, "0x00000000000000000000000000000000000000aa".to_owned()).await;
    bench.expect(
        "no manager",
        status,
        &answer,
        (502, "chain-rpc", &["does not answer like a service manager"]),
    );

    let (status, answer) = bench.add(&web.url("/missing.json")).await;
    bench.expect(
        "404",
        status,
        &answer,
        (
            502,
            "fetch-failed",
            &["Failed to fetch service", "/missing.json", "404"],
        ),
    );

    let (status, answer) = bench.add("gopher://127.0.0.1/service.json").await;
    bench.expect(
        "scheme",
        status,
        &answer,
        (502, "fetch-failed", &["Failed to fetch service", "gopher"]),
    );

    let uri = web.put("/page.html", "<html>not a service</html>");
    let (status, answer) = bench.add(&uri).await;
    bench.expect("not JSON", status, &answer, (422, "invalid-service", &["JSON"]));

    let uri = web.put("/large.json", vec![b' '; 1024 * 1024 + 1]);
    let (status, answer) = bench.add(&uri).await;
    bench.expect(
        "too large",
        status,
        &answer,
        (502, "fetch-failed", &["/large.json", "1048576"]),
    );

    // Nothing is left of all these attempts, and the first service that works has the first index.
    assert_eq!(node.get("/services").await.unwrap()["services"], json!([]));
    let operator = Component::new(&bench.echo);
    lands(&bench, &bench.document(&operator, |_| {})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_run_is_refused_as_a_whole() {
    let bench = Bench::start().await;
    let echo = Component::new(&bench.echo);
    let good = |spoil: fn(&mut Value)| bench.document(&echo, spoil);
    let with = |digest: &str| bench.document(&Component::new(digest), |_| {});
    let unknown = "ab".repeat(32);

    let mut foreign = good(|_| {});
    let other = contracts::deploy(&bench.contracts.provider, "WavsServiceManager", &[])
        .await
        .unwrap();
    foreign["manager"]["evm"]["address"] = json!(other);
    let named = other.to_string().to_lowercase();
    let fragments = ["the document names manager"];
    let answer = bench
        .refuses("/foreign.json", &foreign, (422, "manager-mismatch", &fragments))
        .await;
    assert!(
        answer["detail"].as_str().unwrap().to_lowercase().contains(&named),
        "{answer:#}"
    );

    let fragments = [
        "/workflows/default/component",
        "No wasm found for digest",
        unknown.as_str(),
    ];
    bench
        .refuses("/digest.json", &with(&unknown), (422, "invalid-component", &fragments))
        .await;

    let fragments = [
        "/workflows/default/component",
        bench.wrong_world.as_str(),
        "does not fit the world",
    ];
    bench
        .refuses(
            "/world.json",
            &with(&bench.wrong_world),
            (422, "invalid-component", &fragments),
        )
        .await;

    // A component of the other world is as wrong.
    let mut swapped = good(|_| {});
    let submit = &mut swapped["workflows"]["default"]["submit"];
    submit["aggregator"]["component"]["source"]["digest"] = json!(bench.echo);
    let fragments = [
        "/workflows/default/submit/aggregator/component",
        "does not fit the world",
    ];
    bench
        .refuses("/swapped.json", &swapped, (422, "invalid-component", &fragments))
        .await;

    let wasm = std::fs::read(prebuilt("square")).unwrap();
    let download = bench.web.put("/square.wasm", wasm);
    let mut wrong = good(|_| {});
    wrong["workflows"]["default"]["component"]["source"] = json!({"download": {"uri": download, "digest": unknown}});
    let fragments = ["/square.wasm", unknown.as_str()];
    bench
        .refuses("/download.json", &wrong, (422, "digest-mismatch", &fragments))
        .await;

    let mut gone = wrong.clone();
    gone["workflows"]["default"]["component"]["source"]["download"]["uri"] = json!(bench.web.url("/gone.wasm"));
    let fragments = ["/gone.wasm", "404"];
    bench
        .refuses("/gone.json", &gone, (502, "fetch-failed", &fragments))
        .await;

    let chain = good(|workflow| workflow["trigger"]["evm_contract_event"]["chain"] = json!("evm:999"));
    let fragments = ["chain evm:999 is not configured"];
    let answer = bench
        .refuses("/chain.json", &chain, (422, "invalid-service", &fragments))
        .await;
    assert_eq!(answer["errors"][0]["pointer"], "/workflows/default/trigger");

    let shape = good(|workflow| drop(workflow["component"].as_object_mut().unwrap().remove("config")));
    let answer = bench
        .refuses("/shape.json", &shape, (422, "invalid-service", &["config"]))
        .await;
    assert_eq!(
        answer["errors"][0]["pointer"], "/workflows/default/component",
        "{answer:#}"
    );

    let cron = good(|workflow| workflow["trigger"] = json!({"cron": {"schedule": "every day"}}));
    let answer = bench
        .refuses("/cron.json", &cron, (422, "invalid-service", &["schedule"]))
        .await;
    assert_eq!(
        answer["errors"][0]["pointer"], "/workflows/default/trigger/cron/schedule",
        "{answer:#}"
    );

    assert_eq!(bench.node.get("/services").await.unwrap()["services"], json!([]));
    lands(&bench, &good(|_| {})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_not_stored() {
    let bench = Bench::start().await;
    let upload = async |bytes: Vec<u8>| {
        let response = bench.node.upload_bytes(bytes).await.unwrap();
        problem("/dev/components", response).await.unwrap()
    };
    let before = bench.node.get("/services").await.unwrap()["component_digests"].clone();

    let (status, answer) = upload(b"\0asm\x01\0\0\0".to_vec()).await;
    bench.expect(
        "core module",
        status,
        &answer,
        (422, "invalid-component", &["Engine: ", "not a WASM component"]),
    );
    let (status, answer) = upload(b"garbage".to_vec()).await;
    bench.expect(
        "garbage",
        status,
        &answer,
        (422, "invalid-component", &["Engine: ", "not a WASM component"]),
    );
    let (status, answer) = upload(Vec::new()).await;
    bench.expect("nothing", status, &answer, (422, "invalid-component", &["Engine: "]));
    // The limit is 15 MiB: below it only the content counts, above it nothing else does.
    let (status, answer) = upload(vec![0; 14 * 1024 * 1024]).await;
    bench.expect("14 MiB", status, &answer, (422, "invalid-component", &["Engine: "]));
    let (status, answer) = upload(vec![0; 16 * 1024 * 1024]).await;
    bench.expect(
        "16 MiB",
        status,
        &answer,
        (413, "payload-too-large", &["15728640", "max_body_size_mb"]),
    );

    assert_eq!(bench.node.get("/services").await.unwrap()["component_digests"], before);
    let square = bench.node.upload(&prebuilt("square")).await.unwrap();
    assert_eq!(
        square,
        bench.node.upload(&prebuilt("square")).await.unwrap(),
        "uploads are idempotent"
    );
    lands(&bench, &bench.document(&Component::new(&bench.echo), |_| {})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_makes_no_sense_is_answered_and_forgotten() {
    let bench = Bench::start().await;
    let (node, contracts) = (&bench.node, &bench.contracts);
    let body = manager_body(&bench.key, contracts.manager);
    let refused =
        async |method: Method, path: &str, body: &Value| node.refused(method, path, Some(body)).await.unwrap();

    let (status, answer) = refused(
        Method::POST,
        "/services",
        &json!({"service_manager": {"evm": {"chain": "evm:1"}}}),
    )
    .await;
    bench.expect("shape", status, &answer, (422, "invalid-shape", &["address"]));
    let (status, answer) = refused(Method::POST, "/services", &json!({})).await;
    bench.expect("shape", status, &answer, (422, "invalid-shape", &["service_manager"]));
    let (status, answer) = refused(Method::POST, "/services/signer", &body).await;
    bench.expect(
        "signer",
        status,
        &answer,
        (404, "signer-not-found", &["missing key for service"]),
    );
    let (status, answer) = refused(Method::POST, "/dev/triggers", &json!({
        "service_id": "11".repeat(32), "workflow_id": "default", "trigger": "manual", "data": {"Raw": []}, "wait_for_completion": true,
    })).await;
    bench.expect(
        "trigger",
        status,
        &answer,
        (404, "service-not-found", &["has not been set on the http server"]),
    );

    let client = reqwest::Client::new();
    let raw = async |kind: &'static str, text: &'static str| {
        let request = client
            .post(node.url("/services"))
            .header(header::CONTENT_TYPE, kind)
            .body(text);
        problem("/services", request.send().await.unwrap()).await.unwrap()
    };
    let (status, answer) = raw("application/json", "{\"service_manager\":").await;
    bench.expect("syntax", status, &answer, (400, "malformed-json", &[]));
    let (status, answer) = raw("text/plain", "{}").await;
    bench.expect("media type", status, &answer, (415, "unsupported-media-type", &[]));

    for (path, status, code, fragment) in [
        ("/nowhere", 404, "not-found", "not found"),
        ("/services/evm:31337/0x1234", 400, "invalid-parameter", "0x1234"),
        (
            "/services/evm:999/0x00000000000000000000000000000000000000aa",
            404,
            "chain-not-configured",
            "missing chain config for evm:999",
        ),
        (
            "/services/evm:31337/0x00000000000000000000000000000000000000aa",
            404,
            "service-not-found",
            "has not been set on the http server",
        ),
        ("/v1/jobs/nonsense", 400, "invalid-parameter", "nonsense"),
    ] {
        let (found, answer) = node.refused(Method::GET, path, None).await.unwrap();
        assert_eq!(
            (found.as_u16(), answer["code"].as_str()),
            (status, Some(code)),
            "{path}: {answer:#}"
        );
        assert!(
            answer["detail"].as_str().unwrap().contains(fragment),
            "{path}: {answer:#}"
        );
    }

    // Two at once: one wins, the other is told so; and so is everybody after them.
    let uri = bench.web.put(
        "/good.json",
        bench.document(&Component::new(&bench.echo), |_| {}).to_string(),
    );
    contracts.set_service_uri(&uri).await.unwrap();
    let twice = tokio::join!(
        node.request(Method::POST, "/services", Some(&body)),
        node.request(Method::POST, "/services", Some(&body)),
    );
    let mut statuses = [twice.0.unwrap().status().as_u16(), twice.1.unwrap().status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    let (status, answer) = refused(Method::POST, "/services", &body).await;
    bench.expect(
        "again",
        status,
        &answer,
        (409, "already-registered", &["already registered"]),
    );
    event_lands(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_token_nothing_is_written() {
    let chain = Anvil::start().await.unwrap();
    let config = NodeConfig::for_chains(&[&chain]).with("bearer_token", "\"the right one\"");
    let node = Node::start(&config).await.unwrap();
    let body = manager_body(&chain.chain_key(), "0x00000000000000000000000000000000000000aa");
    let client = reqwest::Client::new();
    let ask = async |token: Option<&str>| {
        let mut request = client.post(node.url("/services/signer")).json(&body);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        request.send().await.unwrap()
    };
    let missing =
        "Bearer realm=\"wavs\", error=\"invalid_request\", error_description=\"invalid_authorization_header\"";
    let wrong = "Bearer realm=\"wavs\", error=\"invalid_token\", error_description=\"token_mismatch\"";
    for (token, challenge) in [
        (None, missing),
        (Some("Basic dXNlcjpwYXNz"), missing),
        (Some("Bearer the wrong one"), wrong),
    ] {
        let response = ask(token).await;
        assert_eq!(response.status(), 401, "{token:?}");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], challenge, "{token:?}");
        let (_, answer) = problem("/services/signer", response).await.unwrap();
        assert_eq!(
            (answer["code"].as_str(), answer["detail"].as_str()),
            (Some("unauthorized"), Some("Unauthorized"))
        );
    }
    assert_eq!(
        ask(Some("Bearer the right one")).await.status(),
        404,
        "it is let in and then not found"
    );
    assert_eq!(
        ask(Some("bearer the right one")).await.status(),
        404,
        "the scheme has no case"
    );
    assert!(
        node.get("/info").await.is_ok(),
        "everybody may see that the node is there"
    );
    assert!(!node.log().contains("the right one"), "the token is in the log");
    assert!(!node.get("/config").await.unwrap().to_string().contains("the right one"));
}

/// The node still does its work: it takes the good document, with the first key, and an event lands.
async fn lands(bench: &Bench, document: &Value) {
    let uri = bench.web.put("/good.json", document.to_string());
    bench.contracts.set_service_uri(&uri).await.unwrap();
    bench
        .node
        .add_service(&bench.key, bench.contracts.manager)
        .await
        .unwrap();
    let signer = manager_body(&bench.key, bench.contracts.manager);
    let signer = bench.node.post("/services/signer", &signer).await.unwrap();
    assert_eq!(signer["secp256k1"]["hd_index"], 1, "failed adds use no index up");
    event_lands(bench).await;
}

async fn event_lands(bench: &Bench) {
    let signer = scenario::signer(&bench.node, &bench.key, bench.contracts.manager)
        .await
        .unwrap();
    bench.contracts.register(signer, 100).await.unwrap();
    bench.contracts.fire(b"still there").await.unwrap();
    let limit = std::time::Duration::from_secs(30);
    let done = |jobs: &Value| scenario::transaction(&jobs["items"][0]).is_some();
    let jobs = bench.node.wait_for("/v1/jobs", limit, done).await.unwrap();
    let event_id = jobs["items"][0]["events"][0]["event_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let data = bench.contracts.result(event_id).await.unwrap().unwrap();
    assert_eq!(data.as_ref(), b"still there");
}
