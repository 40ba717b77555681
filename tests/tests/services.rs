//! The life of a service: registered, updated, removed and registered again, and what its workflows lead to.

use std::time::Duration;

use alloy::primitives::keccak256;
use e2e::anvil::Anvil;
use e2e::contracts::{self, Contracts};
use e2e::node::{Node, NodeConfig, manager_body};
use e2e::scenario::{self, Parts, Scenario, prebuilt, transaction};
use e2e::service::{self, Component};
use reqwest::Method;
use serde_json::{Value, json};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(30);

async fn start(workflows: impl FnOnce(&Parts<'_>) -> Vec<(&'static str, Value)>) -> Scenario {
    let chain = Anvil::start().await.unwrap();
    let contracts = Contracts::deploy(&chain).await.unwrap();
    let config = NodeConfig::for_chains(&[&chain]);
    Scenario::start_with(chain, contracts, &config, "echo", workflows)
        .await
        .unwrap()
}

/// A value that a guest stored; `None` for a 404, which has no body.
async fn stored(scenario: &Scenario, service_id: &str, key: &str) -> Option<String> {
    let path = format!("/dev/kv/{service_id}/submit-result/{key}");
    let response = scenario.node.request(Method::GET, &path, None).await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    match status {
        200 => Some(text),
        404 if text.is_empty() => None,
        _ => panic!("{path} answered {status}: {text}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_shown_as_it_was_given_and_leaves_nothing_but_its_key() {
    let scenario = Scenario::start("echo").await.unwrap();
    let (node, contracts, key) = (&scenario.node, &scenario.contracts, scenario.chain.chain_key());
    let first = manager_body(&key, contracts.manager);

    // A second one, written as old tools do: digests with 0x, and members that nobody knows here.
    let manager = contracts::deploy(&contracts.provider, "WavsServiceManager", &[])
        .await
        .unwrap();
    let operator = Component::new(&format!("0x{}", scenario.component));
    let aggregator = service::submit_to(&format!("0x{}", scenario.aggregator), &key, contracts.handler);
    let mut workflow = service::workflow(
        &service::new_trigger(&key, contracts.trigger),
        &operator,
        Some(&aggregator),
    );
    workflow["submit"]["aggregator"]["url"] = json!("http://127.0.0.1:8040");
    workflow["component"]["x-note"] = json!({"b": 1, "a": [2]});
    let mut document = service::service(&key, manager, &[("old-style", workflow)]);
    document["x-owner"] = json!("somebody");
    let uri = node.host_document(&document).await.unwrap();
    let hash = uri.rsplit('/').next().unwrap();
    let second = Contracts {
        manager,
        ..contracts.clone()
    };
    second.set_service_uri(&uri).await.unwrap();
    node.add_service(&key, manager).await.unwrap();

    let path = format!("/services/{key}/{manager}");
    let response = node.request(Method::GET, &path, None).await.unwrap();
    assert_eq!(response.headers()["etag"], format!("\"{hash}\""));
    let shown: Value = response.json().await.unwrap();
    assert_eq!(shown["x-owner"], "somebody");
    let workflow = &shown["workflows"]["old-style"];
    assert_eq!(workflow["submit"]["aggregator"]["url"], "http://127.0.0.1:8040");
    assert_eq!(workflow["component"]["x-note"], json!({"b": 1, "a": [2]}));
    assert_eq!(
        workflow["component"]["source"]["digest"], scenario.component,
        "digests are shown without 0x"
    );
    assert_eq!(shown["manager"]["evm"]["address"], manager.to_string().to_lowercase());

    let list = node.get("/services").await.unwrap();
    let ids = list["service_ids"].as_array().unwrap();
    assert_eq!((ids.len(), list["services"].as_array().unwrap().len()), (2, 2));
    assert!(ids[0].as_str().unwrap() < ids[1].as_str().unwrap(), "sorted by id");
    let at = ids.iter().position(|id| *id != scenario.service_id.as_str()).unwrap();
    assert_eq!(list["services"][at], shown);
    let digests = list["component_digests"].as_array().unwrap();
    assert!(digests.contains(&json!(scenario.component)) && digests.contains(&json!(scenario.aggregator)));

    let key_of = async |body: &Value| node.post("/services/signer", body).await.unwrap()["secp256k1"].clone();
    let pinned = key_of(&first).await;
    let derived = contracts::development_key(1).unwrap().address();
    assert_eq!(pinned, json!({"hd_index": 1, "evm_address": derived.to_checksum(None)}));
    assert_eq!(key_of(&manager_body(&key, manager)).await["hd_index"], 2);

    let managers = json!({"service_managers": [first["service_manager"], {"evm": {"chain": key, "address": format!("0x{}", "33".repeat(20))}}]});
    for _ in 0..2 {
        let response = node
            .request(Method::DELETE, "/services", Some(&managers))
            .await
            .unwrap();
        assert_eq!(response.status(), 204, "unknown services are no error");
    }
    let path = format!("/services/{key}/{}", contracts.manager);
    let (status, answer) = node.refused(Method::GET, &path, None).await.unwrap();
    assert_eq!((status.as_u16(), &answer["code"]), (404, &json!("service-not-found")));
    let (status, answer) = node
        .refused(Method::POST, "/services/signer", Some(&first))
        .await
        .unwrap();
    assert_eq!((status.as_u16(), &answer["code"]), (404, &json!("signer-not-found")));

    // Both services watched this contract; only the second one still does.
    contracts.fire(b"for the second").await.unwrap();
    let ran = |jobs: &Value| !jobs["items"].as_array().unwrap().is_empty();
    let jobs = node.wait_for("/v1/jobs", LIMIT, ran).await.unwrap();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1);
    assert_eq!(jobs["items"][0]["service_id"], ids[at]);

    node.add_service(&key, contracts.manager).await.unwrap();
    assert_eq!(
        key_of(&first).await,
        pinned,
        "a service that comes back has its old key"
    );
    let landed = scenario.fire_and_land(b"back again").await.unwrap();
    assert_eq!(landed.data.as_ref(), b"back again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_document_runs_until_the_new_one_can() {
    let version = |parts: &Parts<'_>, version: &str| parts.landing(&parts.operator().config("version", version));
    let scenario = start(|parts| vec![("default", version(parts, "one"))]).await;
    let (key, manager) = (scenario.chain.chain_key(), scenario.contracts.manager);
    let document = |text: &str| service::service(&key, manager, &[("default", version(&scenario.parts(&key), text))]);
    let runs = async |expected: &[u8]| {
        let landed = scenario.fire_and_land(b"configvar:version").await.unwrap();
        assert_eq!(landed.data.as_ref(), expected);
    };
    runs(b"one").await;
    scenario.update(&document("two")).await.unwrap();
    runs(b"two").await;

    // A document whose component nobody has is no reason to stop.
    let mut broken = document("three");
    broken["workflows"]["default"]["component"]["source"]["digest"] = json!("cd".repeat(32));
    let uri = scenario.node.host_document(&broken).await.unwrap();
    scenario.contracts.set_service_uri(&uri).await.unwrap();
    let path = format!("/v1/services/{}/status", scenario.service_id);
    let status = scenario
        .node
        .wait_for(&path, LIMIT, |status| status["state"] == "degraded")
        .await
        .unwrap();
    let reason = status["reason"].as_str().unwrap();
    assert!(
        reason.contains("No wasm found for digest") && reason.contains(&"cd".repeat(32)),
        "{status:#}"
    );
    runs(b"two").await;

    scenario.update(&document("four")).await.unwrap();
    runs(b"four").await;
    let status = scenario.node.get(&path).await.unwrap();
    assert_eq!((&status["state"], &status["reason"]), (&json!("active"), &Value::Null));
    let signer = scenario::signer(&scenario.node, &key, manager).await.unwrap();
    assert_eq!(signer, scenario.signer, "updates keep the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_can_start_empty_and_paused() {
    let chain = Anvil::start().await.unwrap();
    let contracts = Contracts::deploy(&chain).await.unwrap();
    let node = Node::start(&NodeConfig::for_chains(&[&chain])).await.unwrap();
    let key = chain.chain_key();
    let mut paused = service::service(&key, contracts.manager, &[]);
    paused["status"] = json!("paused");
    contracts
        .set_service_uri(&node.host_document(&paused).await.unwrap())
        .await
        .unwrap();
    node.add_service(&key, contracts.manager).await.unwrap();
    let path = format!("/services/{key}/{}", contracts.manager);
    assert_eq!(node.get(&path).await.unwrap()["status"], "paused");
    let signer = scenario::signer(&node, &key, contracts.manager).await.unwrap();
    contracts.register(signer, 100).await.unwrap();

    // The manager's events are followed from the beginning.
    let manager = contracts.manager.to_string().to_lowercase();
    let watched = |streams: &Value| {
        let chain = &streams["chains"][&key];
        let subscriptions = chain["active_subscriptions"].as_object();
        let logs = subscriptions
            .into_iter()
            .flat_map(|all| all.values())
            .filter_map(|one| one.get("Logs"));
        let mut addresses = logs.filter_map(|logs| logs["addresses"].as_array()).flatten();
        chain["is_connected"] == true
            && chain["current_endpoint"].is_string()
            && chain["any_active_rpcs_in_flight"] == false
            && addresses.any(|address| *address == manager.as_str())
    };
    let streams = node.wait_for("/dev/trigger-streams", LIMIT, watched).await.unwrap();
    assert_eq!(streams["hypercore"], json!({}));

    let operator = Component::new(&node.upload(&prebuilt("square")).await.unwrap());
    let aggregator = node.upload(&prebuilt("aggregator")).await.unwrap();
    let submit = service::submit_to(&aggregator, &key, contracts.handler);
    let workflow = service::workflow(&service::new_trigger(&key, contracts.trigger), &operator, Some(&submit));
    let active = service::service(&key, contracts.manager, &[("default", workflow)]);
    let uri = node.host_document(&active).await.unwrap();
    contracts.set_service_uri(&uri).await.unwrap();
    let hash = uri.rsplit('/').next().unwrap();
    // Test suites post the document as well, for nodes that missed the event.
    let (status, answer) = node
        .refused(Method::POST, &format!("/dev/services/{hash}"), None)
        .await
        .unwrap();
    assert_eq!(status, 409);
    assert!(
        answer["detail"].as_str().unwrap().contains("already registered"),
        "{answer:#}"
    );
    node.wait_for(&path, LIMIT, |service| service["status"] == "active")
        .await
        .unwrap();

    let topic = keccak256("NewTrigger(bytes)").to_string();
    let listens = |streams: &Value| streams.to_string().contains(&topic);
    node.wait_for("/dev/trigger-streams", LIMIT, listens).await.unwrap();
    contracts.fire(br#"{"x":7}"#).await.unwrap();
    let done = |jobs: &Value| transaction(&jobs["items"][0]).is_some();
    let jobs = node.wait_for("/v1/jobs", LIMIT, done).await.unwrap();
    let event_id = jobs["items"][0]["events"][0]["event_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        contracts.result(event_id).await.unwrap().unwrap().as_ref(),
        br#"{"y":49}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_end_where_their_documents_say() {
    let scenario = start(|parts| {
        let salts = parts
            .operator()
            .config("event-id-salt-1", "one")
            .config("event-id-salt-2", "two");
        vec![
            ("default", parts.landing(&parts.operator())),
            ("silent", parts.manual(&parts.operator(), None)),
            ("several", parts.manual(&salts, Some(&parts.submit()))),
        ]
    })
    .await;

    // Nothing is submitted: the run is the end. Equal copies are all run.
    scenario.inject("silent", b"copy", 3, true).await.unwrap();
    let path = format!("/v1/jobs?service_id={}&workflow_id=silent", scenario.service_id);
    let jobs = scenario.node.get(&path).await.unwrap();
    let jobs = jobs["items"].as_array().unwrap();
    assert_eq!(jobs.len(), 3);
    assert!(
        jobs.iter()
            .all(|job| job["state"] == "executed" && job["error"].is_null()),
        "{jobs:#?}"
    );

    assert_eq!(stored(&scenario, &scenario.service_id, "completed").await, None);
    scenario.inject("several", b"multi-response", 1, true).await.unwrap();
    let all_mined = |job: &Value| {
        let events = job["events"].as_array().unwrap();
        let mined = |event: &Value| event["targets"][0]["tx"].is_string() && event["state"] != "submitting";
        events.len() == 2 && events.iter().all(mined)
    };
    let job = scenario.job_in("several", all_mined).await.unwrap();
    assert_ne!(job["event_ids"][0], job["event_ids"][1]);
    assert_ne!(
        job["events"][0]["targets"][0]["tx"],
        job["events"][1]["targets"][0]["tx"]
    );
    assert_eq!(scenario.contracts.result_count().await.unwrap(), 2);

    // The aggregator component was told, and noted it where test suites look.
    scenario
        .node
        .wait_for(
            &format!("/dev/kv/{}/submit-result/completed", scenario.service_id),
            LIMIT,
            |value| *value == true,
        )
        .await
        .unwrap();
    assert_eq!(
        stored(&scenario, &scenario.service_id, "completed").await.as_deref(),
        Some("true")
    );
    assert_eq!(
        stored(&scenario, &format!("0x{}", scenario.service_id), "success")
            .await
            .as_deref(),
        Some("true")
    );

    let landed = scenario.fire_and_land(b"default").await.unwrap();
    assert_eq!(landed.job["event_ids"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_holds_a_result_back() {
    let scenario = start(|parts| vec![("default", parts.landing(&parts.operator()))]).await;
    let key = scenario.chain.chain_key();
    let digest = scenario.node.upload(&prebuilt("timer-aggregator")).await.unwrap();
    let mut timer = service::submit_to(&digest, &key, scenario.contracts.handler).config("timer_delay_secs", 1);
    // When it is due, the component asks the chain whether the event is still there.
    timer.more = json!({"permissions": {"allowed_http_hosts": "all"}});
    let parts = scenario.parts(&key);
    let trigger = service::new_trigger(&key, scenario.contracts.trigger);
    let workflow = service::workflow(&trigger, &parts.operator(), Some(&timer));
    let document = service::service(&key, scenario.contracts.manager, &[("default", workflow)]);
    scenario.update(&document).await.unwrap();

    let receipt = scenario.contracts.fire(b"later").await.unwrap();
    scenario
        .job_of(&receipt, |job| job["state"] == "collecting")
        .await
        .unwrap();
    assert_eq!(scenario.contracts.result_count().await.unwrap(), 0);
    let landed = scenario.landed(&receipt).await.unwrap();
    assert_eq!(landed.data.as_ref(), b"later");
    let timeline = landed.job["timeline"].as_array().unwrap();
    let at = |step: &str| {
        let found = timeline.iter().find(|entry| entry["step"] == step);
        found.unwrap_or_else(|| panic!("no {step} in {timeline:#?}"))["at_us"]
            .as_u64()
            .unwrap()
    };
    assert!(at("mined") - at("signed") >= 1_000_000, "{timeline:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_added_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, other) = (
        Anvil::start().await.unwrap(),
        Anvil::start_with(1337, e2e::anvil::Mining::Instant, 0).await.unwrap(),
    );
    let mut config = NodeConfig::for_chains(&[&chain]);
    config.dir = Some(dir.path().to_owned());
    let node = Node::start(&config).await.unwrap();
    let key = other.chain_key();
    let body = |key: &str| {
        json!({"chain": key, "config": {
            "type": "evm", "chain_id": "1337", "ws_endpoints": [other.ws()], "http_endpoint": other.http(),
        }})
    };
    node.post("/dev/chains", &body(&key)).await.unwrap();
    for (key, status, code, fragment) in [
        (key.as_str(), 409, "chain-exists", "Chain already exists: evm:1337"),
        ("evm:31337", 422, "chain-config-invalid", "Chain ID mismatch"),
        ("cosmos:1337", 422, "chain-config-invalid", "Chain type mismatch"),
    ] {
        let (found, answer) = node
            .refused(Method::POST, "/dev/chains", Some(&body(key)))
            .await
            .unwrap();
        assert_eq!(
            (found.as_u16(), answer["code"].as_str()),
            (status, Some(code)),
            "{answer:#}"
        );
        assert!(answer["detail"].as_str().unwrap().contains(fragment), "{answer:#}");
    }
    assert!(node.stop().await.unwrap().success());

    let scenario = Scenario::start_on(other, &config, "square", |component| component)
        .await
        .unwrap();
    let chains = scenario.node.get("/config").await.unwrap()["chains"]["evm"].clone();
    assert!(chains["1337"].is_object() && chains["31337"].is_object(), "{chains:#}");
    let landed = scenario.fire_and_land(br#"{"x":5}"#).await.unwrap();
    assert_eq!(landed.data.as_ref(), br#"{"y":25}"#);
}
