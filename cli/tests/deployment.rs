//! Bringing a service to a node: `deploy-service` and `service apply`, with and without a transaction of the user.

mod common;

use common::chain::Chain;
use common::scripted::Scripted;
use common::{Ended, Tool};
use serde_json::{Value, json};
use wavs_cli::Exit;

const ID: &str = "76d41ff256803de151fce2ed99d145cf985af50e6def0809072e9f68932f5d11";
const MANAGER: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
/// The first key of the test phrase that every EVM tool knows.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const PHRASE: &str = "test test test test test test test test test test test junk";

fn document(name: &str) -> String {
    let manager = json!({"evm": {"chain": "evm:31337", "address": MANAGER}});
    json!({"name": name, "workflows": {}, "status": "active", "manager": manager, "x-note": "kept"}).to_string()
}

/// The hash of [`document`], computed by the types that all processes share.
fn hash(name: &str) -> String {
    wavs_types::ServiceDocument::parse(document(name).as_bytes())
        .unwrap()
        .digest()
        .to_string()
}

fn show() -> String {
    format!("GET /services/evm:31337/{MANAGER}")
}

fn unknown() -> Value {
    json!({"code": "service-not-found", "detail": format!("Service ID {ID} has not been set on the http server"), "status": 404})
}

fn tool(node: &Scripted, chain: Option<&Chain>) -> Tool {
    let tool = Tool::new()
        .with("WAVS_CLI_WAVS_ENDPOINT", &node.url)
        .with("WAVS_CLI_DATA", "data");
    if let Some(chain) = chain {
        let text = format!(
            "[default.chains.evm.31337]\nhttp_endpoint = '{}/?key=marker'\n",
            chain.url
        );
        std::fs::write(tool.dir().join("wavs.toml"), text).unwrap();
    }
    tool
}

fn deployments(tool: &Tool) -> Value {
    serde_json::from_slice(&std::fs::read(tool.dir().join("data/deployments.json")).unwrap()).unwrap()
}

/// The calldata of `setServiceURI` contains the text of the URI.
fn sets(raw: &str, uri: &str) -> bool {
    raw.contains(&alloy::hex::encode(uri)) && raw.contains(&MANAGER[2..].to_lowercase())
}

#[test]
fn a_published_document_is_deployed() {
    let node = Scripted::start()
        .on("GET /doc", 200, document("demo"))
        .on("POST /services", 204, "")
        .on(&show(), 200, document("demo"));
    let tool = tool(&node, None);
    let uri = format!("{}/doc", node.url);
    let ended = tool.run(&format!("deploy-service --service-uri {uri} --json"));
    let stored: Value = serde_json::from_str(&document("demo")).unwrap();
    assert_eq!(
        ended.json(),
        json!({"service_id": ID, "service_uri": uri, "service": stored}),
        "{ended:?}"
    );
    assert_eq!(
        node.lines(),
        ["GET /doc".to_owned(), "POST /services".to_owned(), show()]
    );
    let body: Value = serde_json::from_slice(&node.asked()[1].body).unwrap();
    assert_eq!(
        body,
        json!({"service_manager": {"evm": {"chain": "evm:31337", "address": MANAGER.to_lowercase()}}})
    );
    let recorded = deployments(&tool);
    assert_eq!(
        recorded["evm_service_managers"],
        json!({"evm:31337": [MANAGER.to_lowercase()]})
    );
    assert_eq!(recorded["services"][ID]["x-note"], "kept");

    tool.run(&format!("deploy-service --service-uri {uri}"));
    assert_eq!(deployments(&tool), recorded);
}

#[test]
fn a_deployment_is_recorded_only_if_wanted() {
    let node = Scripted::start()
        .on("GET /doc", 200, document("demo"))
        .on("POST /services", 204, "")
        .on(&show(), 200, document("demo"));
    let tool = tool(&node, None);
    let ended = tool.run(&format!(
        "deploy-service --service-uri {}/doc --save-deployment false",
        node.url
    ));
    assert_eq!(ended.exit, Exit::Done, "{ended:?}");
    assert!(!tool.dir().join("data").exists());
}

#[test]
fn what_goes_wrong_keeps_its_exit_code() {
    let conflict =
        json!({"code": "already-registered", "detail": format!("Service {ID} already registered"), "status": 409});
    let node = Scripted::start()
        .on("GET /doc", 200, document("demo"))
        .on("GET /other", 200, r#"{"name":"demo"}"#)
        .on("POST /services", 409, conflict);
    let tool = tool(&node, None);
    let run = |path: &str, more: &str| {
        tool.run(&format!(
            "deploy-service --service-uri {}/{path} {more} --json",
            node.url
        ))
    };
    let check = |ended: Ended, exit: Exit, code: &str| {
        assert_eq!(
            (ended.exit, ended.json()["code"].as_str()),
            (exit, Some(code)),
            "{ended:?}"
        );
    };
    check(run("doc", ""), Exit::Conflict, "already-registered");
    check(run("other", ""), Exit::Failed, "invalid-service");
    check(run("missing", ""), Exit::Failed, "fetch-failed");
    check(run("doc", "--set-uri"), Exit::Usage, "chain-not-configured");
}

#[test]
fn the_uri_is_set_with_the_users_key() {
    for credential in [KEY, PHRASE] {
        let chain = Chain::start(true, "0x00");
        let node = Scripted::start()
            .on("GET /doc", 200, document("demo"))
            .on("POST /services", 204, "")
            .on(&show(), 200, document("demo"));
        let tool = tool(&node, Some(&chain)).with("WAVS_CLI_EVM_CREDENTIAL", credential);
        let uri = format!("{}/doc", node.url);
        let ended = tool.run(&format!("deploy-service --service-uri {uri} --set-uri --json"));
        assert_eq!(ended.exit, Exit::Done, "{ended:?}");
        let sent = chain.sent();
        assert!(sent.len() == 1 && sets(&sent[0], &uri), "{sent:?}");
        assert!(
            ended.json()["tx_hash"].as_str().is_some_and(|hash| hash.len() == 66),
            "{ended:?}"
        );
    }
}

#[test]
fn a_transaction_that_cannot_work_stops_everything() {
    let node = Scripted::start().on("GET /doc", 200, document("demo"));
    let reverting = Chain::start(false, "0x00");
    let run = |chain: &Chain, credential: &str| {
        let mut tool = tool(&node, Some(chain));
        if !credential.is_empty() {
            tool = tool.with("WAVS_CLI_EVM_CREDENTIAL", credential);
        }
        tool.run(&format!(
            "deploy-service --service-uri {}/doc --set-uri --json",
            node.url
        ))
    };
    let ended = run(&reverting, KEY);
    assert_eq!((ended.exit, &ended.json()["code"]), (Exit::Failed, &json!("reverted")));
    let ended = run(&reverting, "");
    assert_eq!((ended.exit, &ended.json()["code"]), (Exit::Usage, &json!("credential")));
    let ended = run(&reverting, "wrong words");
    assert_eq!((ended.exit, &ended.json()["code"]), (Exit::Usage, &json!("credential")));
    assert!(!ended.stdout.contains("wrong words"), "{ended:?}");
    assert!(node.lines().iter().all(|line| line == "GET /doc"), "{:?}", node.lines());
}

#[test]
fn apply_registers_a_new_service() {
    let chain = Chain::start(true, "0x00");
    let digest = hash("demo");
    let node = Scripted::start()
        .on(&show(), 404, unknown())
        .on(&show(), 200, document("demo"))
        .on("POST /dev/services", 200, json!({"hash": digest}))
        .on("POST /services", 204, "");
    let tool = tool(&node, Some(&chain)).with("WAVS_CLI_EVM_CREDENTIAL", KEY);
    tool.write(&document("demo"));
    let ended = tool.run("service -f FILE apply --set-uri --json");
    assert_eq!(ended.exit, Exit::Done, "{ended:?}");
    let result = ended.json();
    let uri = format!("{}/dev/services/{digest}", node.url);
    assert_eq!(
        (&result["outcome"], &result["hash"], &result["service_uri"]),
        (&json!("registered"), &json!(digest), &json!(uri))
    );
    assert!(sets(&chain.sent()[0], &uri));
    assert_eq!(
        node.lines(),
        [show(), "POST /dev/services".into(), "POST /services".into(), show()]
    );
    assert_eq!(node.asked()[1].body, document("demo").into_bytes());

    let again = tool.run("service -f FILE apply --set-uri --json");
    assert_eq!(
        (again.exit, &again.json()["outcome"]),
        (Exit::Done, &json!("unchanged"))
    );
    assert_eq!((chain.sent().len(), node.asked().len()), (1, 5));
}

#[test]
fn apply_updates_through_the_contract() {
    let chain = Chain::start(true, "0x00");
    let digest = hash("new");
    let node = Scripted::start()
        .on(&show(), 200, document("old"))
        .on(&show(), 200, document("old"))
        .on(&show(), 200, document("new"))
        .on("POST /dev/services", 200, json!({"hash": digest}));
    let tool = tool(&node, Some(&chain)).with("WAVS_CLI_EVM_CREDENTIAL", KEY);
    tool.write(&document("new"));
    let ended = tool.run("service -f FILE apply --set-uri --public-endpoint http://node.example:8000/ --json");
    assert_eq!(ended.exit, Exit::Done, "{ended:?}");
    assert_eq!(ended.json()["outcome"], "updated");
    assert!(sets(
        &chain.sent()[0],
        &format!("http://node.example:8000/dev/services/{digest}")
    ));
    assert!(!node.lines().contains(&"POST /services".to_owned()));
}

#[test]
fn apply_says_what_stands_in_the_way() {
    let node = Scripted::start().on(&show(), 200, document("old"));
    let update = tool(&node, None);
    update.write(&document("new"));
    let ended = update.run("service -f FILE apply --json");
    assert_eq!(
        (ended.exit, &ended.json()["code"]),
        (Exit::Conflict, &json!("already-registered"))
    );

    // The contract points to another document.
    let node = Scripted::start()
        .on(&show(), 404, unknown())
        .on(&show(), 200, document("other"))
        .on("POST /dev/services", 200, json!({"hash": hash("new")}))
        .on("POST /services", 204, "");
    let other = tool(&node, None);
    other.write(&document("new"));
    let ended = other.run("service -f FILE apply --json");
    assert_eq!(
        (ended.exit, &ended.json()["code"]),
        (Exit::Conflict, &json!("other-document"))
    );

    let node = Scripted::start()
        .on(&show(), 404, unknown())
        .on("POST /dev/services", 200, json!({"hash": hash("x")}));
    let strange = tool(&node, None);
    strange.write(&document("new"));
    assert_eq!(
        strange.run("service -f FILE apply --json").json()["code"],
        "hash-mismatch"
    );

    let unset = tool(&node, None);
    unset.service("init --name demo");
    assert_eq!(
        unset.run("service -f FILE apply --json").json()["code"],
        "invalid-service"
    );
}

#[test]
fn validation_asks_the_chain() {
    let check = |code: &'static str, trigger: Value, expected: &[&str]| {
        let chain = Chain::start(true, code);
        let node = Scripted::start()
            .on(
                "GET /health",
                200,
                json!({"timestamp": 1, "chains": {"evm:31337": "healthy"}}),
            )
            .on(
                "GET /services",
                200,
                json!({"services": [], "service_ids": [], "component_digests": ["ab".repeat(32)]}),
            );
        let tool = tool(&node, Some(&chain));
        let component = json!({"source": {"digest": "ab".repeat(32)}, "permissions": {}, "config": {}, "env_keys": []});
        let mut document: Value = serde_json::from_str(&document("demo")).unwrap();
        document["workflows"] = json!({"first": {"trigger": trigger, "component": component, "submit": "none"}});
        tool.write(&document.to_string());
        let ended = tool.run("service -f FILE validate --json");
        let errors: Vec<String> = serde_json::from_value(ended.json()["errors"].clone()).unwrap();
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (error, part) in errors.iter().zip(expected) {
            assert!(error.contains(part), "{errors:?}");
        }
    };
    let event =
        json!({"evm_contract_event": {"address": MANAGER, "chain": "evm:31337", "event_hash": "00".repeat(32)}});
    check("0x00", event.clone(), &[]);
    check(
        "0x",
        event,
        &[
            "trigger of workflow first: there is no contract",
            "manager: there is no contract",
        ],
    );
    let blocks = |start: u64| json!({"block_interval": {"chain": "evm:31337", "n_blocks": 1, "start_block": start}});
    check("0x00", blocks(16), &[]);
    check("0x00", blocks(15), &["block 15 is past, evm:31337 is at 16"]);
}
