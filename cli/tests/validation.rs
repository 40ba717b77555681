//! `service validate`: what it finds in a document alone, and with the help of a node and a chain.

mod common;

use common::scripted::Scripted;
use common::{Ended, Tool};
use serde_json::{Value, json};
use wavs_cli::Exit;

const MANAGER: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
const DIGEST: &str = "abababababababababababababababababababababababababababababababab";

fn document() -> Value {
    json!({
        "name": "demo",
        "workflows": {"first": {
            "trigger": "manual",
            "component": {"source": {"digest": DIGEST}, "permissions": {}, "config": {}, "env_keys": ["WAVS_ENV_A"]},
            "submit": {"aggregator": {"url": "http://old", "signature_kind": {"algorithm": "secp256k1", "prefix": "eip191"},
                "component": {"source": {"digest": DIGEST}, "permissions": {}, "config": {}, "env_keys": []}}}
        }},
        "status": "active",
        "manager": {"evm": {"chain": "evm:31337", "address": MANAGER}}
    })
}

fn validate(document: &Value, words: &str) -> Ended {
    let tool = Tool::new();
    tool.write(&document.to_string());
    tool.run(&format!("service -f FILE validate --json {words}"))
}

fn errors(ended: &Ended) -> Vec<String> {
    let result = ended.json();
    assert_eq!(result["service_name"], "demo", "{ended:?}");
    assert_eq!(result.as_object().map(serde_json::Map::len), Some(2), "{ended:?}");
    let errors: Vec<String> = serde_json::from_value(result["errors"].clone()).unwrap();
    assert_eq!(
        ended.exit,
        if errors.is_empty() { Exit::Done } else { Exit::Failed },
        "{ended:?}"
    );
    errors
}

#[test]
fn a_good_document_passes() {
    let ended = validate(&document(), "--offline");
    assert_eq!(ended.stdout, "{\n  \"service_name\": \"demo\",\n  \"errors\": []\n}\n");
    assert_eq!(ended.exit, Exit::Done);
    let empty = json!({"name": "demo", "workflows": {}, "status": "paused", "manager": document()["manager"]});
    assert!(errors(&validate(&empty, "--offline")).is_empty());
}

#[test]
fn each_fault_is_found() {
    let check = |pointer: &str, value: Value, expected: &str| {
        let mut document = document();
        *document.pointer_mut(pointer).unwrap() = value;
        let errors = errors(&validate(&document, "--offline"));
        assert!(
            errors.len() == 1 && errors[0].contains(expected),
            "{pointer}: {errors:?}"
        );
    };
    let component = "/workflows/first/component";
    check(
        "/manager",
        json!("unset"),
        "the manager is unset; run `service manager set-evm`",
    );
    check("/workflows/first/trigger", json!("unset"), "trigger --id first set-");
    check(component, json!("unset"), "component --id first set-source-");
    check("/workflows/first/submit", json!("unset"), "set-none");
    check(
        "/workflows/first/submit/aggregator/component",
        json!("unset"),
        "the aggregator component is unset",
    );
    check(&format!("{component}/env_keys"), json!(["HOME"]), "WAVS_ENV");
    check(
        &format!("{component}/config"),
        json!([]),
        "/workflows/first/component/config",
    );
    check(
        "/workflows/first/trigger",
        json!({"cron": {"schedule": "x"}}),
        "cron-schedule",
    );
    check(
        "/workflows/first/trigger",
        json!({"cron": {"schedule": "@hourly", "end_time": 1}}),
        "end_time is in the past",
    );
    check(
        "/workflows/first/trigger",
        json!({"at_proto_event": {"collection": "!"}}),
        "/at_proto_event/collection",
    );
    check("/manager/evm/chain", json!("cosmos:x"), "chain-family");
    check("/status", json!("gone"), "/status");
}

#[test]
fn all_faults_are_found_at_once() {
    let tool = Tool::new();
    tool.service("init --name demo");
    tool.service("workflow add --id first");
    let ended = tool.run("service -f FILE validate --offline");
    assert_eq!(ended.exit, Exit::Failed);
    assert!(ended.stdout.contains("has 4 errors"), "{ended:?}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn the_node_knows_more() {
    let online = |health: Value, services: Value| {
        let node = Scripted::start()
            .on("GET /health", 200, health)
            .on("GET /services", 200, services);
        let errors = errors(&validate(&document(), &format!("--wavs-endpoint {}", node.url)));
        assert_eq!(node.lines(), ["GET /health", "GET /services"]);
        errors
    };
    let healthy = json!({"timestamp": 1, "chains": {"evm:31337": "healthy"}});
    let stored = json!({"services": [], "service_ids": [], "component_digests": [DIGEST]});
    assert_eq!(online(healthy.clone(), stored.clone()), [""; 0]);
    let errors_of_node = online(json!({"timestamp": 1, "chains": {}}), stored);
    assert!(
        errors_of_node.len() == 1 && errors_of_node[0].contains("no chain evm:31337"),
        "{errors_of_node:?}"
    );
    let errors_of_store = online(
        healthy,
        json!({"services": [], "service_ids": [], "component_digests": []}),
    );
    assert!(
        errors_of_store.len() == 2 && errors_of_store[0].contains("upload-component"),
        "{errors_of_store:?}"
    );

    let unreachable = errors(&validate(&document(), "--wavs-endpoint http://127.0.0.1:9"));
    assert!(
        unreachable.len() == 1 && unreachable[0].contains("--offline"),
        "{unreachable:?}"
    );
    // Unlike the document, a missing right is no matter of validation.
    let node = Scripted::start().on("GET /health", 401, "Unauthorized");
    assert_eq!(
        validate(&document(), &format!("--wavs-endpoint {}", node.url)).exit,
        Exit::Unauthorised
    );
}
