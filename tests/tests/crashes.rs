//! A killed process is back in a moment and nothing is lost or done twice; a stopped node goes on where it was.

use std::path::Path;
use std::time::Duration;

use e2e::anvil::Anvil;
use e2e::node::{Node, NodeConfig, manager_body};
use e2e::scenario::{self, Scenario};
use serde_json::Value;

/// How long results may take that wait for a restart.
const LANDING_LIMIT: Duration = Duration::from_secs(30);

/// Kills a process and waits until another one runs in its place.
async fn kill_and_wait(node: &Node, process: &str) {
    let killed = node.pid(process).await.unwrap();
    node.kill(process).await.unwrap();
    let path = format!("/v1/processes/{process}");
    let is_back = |row: &Value| row["state"] == "running" && row["pid"].as_i64() != Some(i64::from(killed.as_raw()));
    let row = node.wait_for(&path, LANDING_LIMIT, is_back).await.unwrap();
    assert_eq!(
        (&row["restarts"], &row["last_exit"]["signal"]),
        (&1.into(), &"SIGKILL".into()),
        "{row:#}"
    );
}

async fn survives(process: &str) {
    let scenario = Scenario::start("echo").await.unwrap();
    scenario.fire_and_land(b"before").await.unwrap();

    kill_and_wait(&scenario.node, process).await;
    let landed = scenario.fire_and_land(b"after").await.unwrap();
    assert_eq!(landed.data.as_ref(), b"after");

    // The event is on the chain before anybody has noticed the death.
    scenario.node.kill(process).await.unwrap();
    let receipt = scenario.contracts.fire(b"while it is dead").await.unwrap();
    let landed = scenario.landed(&receipt).await.unwrap();
    assert_eq!(landed.data.as_ref(), b"while it is dead");

    assert_eq!(scenario.contracts.result_count().await.unwrap(), 3);
    let jobs = scenario.node.get("/v1/jobs").await.unwrap();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 3, "{jobs:#}");
    assert!(scenario.node.stop().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_svc_survives_kill() {
    survives("trigger-svc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_svc_survives_kill() {
    survives("engine-svc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregator_svc_survives_kill() {
    survives("aggregator-svc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2p_svc_survives_kill() {
    survives("p2p-svc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_work_neither_loses_nor_repeats() {
    const EVENTS: u64 = 24;
    let scenario = Scenario::start("echo").await.unwrap();
    let mut victims = ["aggregator-svc", "engine-svc", "trigger-svc"].into_iter();
    for event in 0..EVENTS {
        scenario
            .contracts
            .fire(format!("event {event}").as_bytes())
            .await
            .unwrap();
        if event % 8 == 4 {
            scenario.node.kill(victims.next().unwrap()).await.unwrap();
        }
    }
    let path = "/v1/jobs?limit=500";
    let landed = |jobs: &Value| {
        let jobs = jobs["items"].as_array().unwrap();
        jobs.iter().filter(|job| scenario::transaction(job).is_some()).count() as u64
    };
    let jobs = scenario
        .node
        .wait_for(path, LANDING_LIMIT, |jobs| landed(jobs) >= EVENTS)
        .await
        .unwrap();
    assert_eq!(
        jobs["items"].as_array().unwrap().len() as u64,
        EVENTS,
        "a job for each event: {jobs:#}"
    );
    assert_eq!(
        scenario.contracts.result_count().await.unwrap(),
        EVENTS,
        "a result for each event"
    );
}

fn config(chain: &Anvil, dir: &Path) -> NodeConfig {
    let mut config = NodeConfig::for_chains(&[chain]);
    config.dir = Some(dir.to_owned());
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_where_it_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let chain = Anvil::start().await.unwrap();
    let started = config(&chain, dir.path());
    let Scenario {
        node,
        contracts,
        chain,
        service_id,
        signer,
        ..
    } = Scenario::start_on(chain, &started, "echo", |component| component)
        .await
        .unwrap();
    contracts.fire(b"one").await.unwrap();
    let all_landed = |jobs: &Value| {
        jobs["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|job| scenario::transaction(job).is_some())
    };
    let landed = async |node: &Node, count: usize| {
        let done = |jobs: &Value| jobs["items"].as_array().unwrap().len() == count && all_landed(jobs);
        node.wait_for("/v1/jobs", LANDING_LIMIT, done).await.unwrap()
    };
    landed(&node, 1).await;
    let port = node.port().unwrap();
    let document = node.get("/services").await.unwrap();
    let body = manager_body(&chain.chain_key(), contracts.manager);
    let key = node.post("/services/signer", &body).await.unwrap();
    assert_eq!(key["secp256k1"]["hd_index"], 1);

    assert!(node.stop().await.unwrap().success(), "exit code 0");
    contracts.fire(b"two").await.unwrap();

    // On the same port, because its own URL of the document is the one on the chain.
    let node = Node::start(&config(&chain, dir.path()).with("port", port))
        .await
        .unwrap();
    assert_eq!(node.get("/services").await.unwrap(), document);
    assert_eq!(node.post("/services/signer", &body).await.unwrap(), key);
    let jobs = landed(&node, 2).await;
    assert!(
        jobs["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|job| job["service_id"] == service_id.as_str())
    );
    contracts.fire(b"three").await.unwrap();
    landed(&node, 3).await;
    assert_eq!(contracts.result_count().await.unwrap(), 3, "no event is handled twice");

    // The supervisor itself can die, too: its processes go with it, and the next start finds all that was acknowledged.
    let supervisor = nix::unistd::Pid::from_raw(i32::try_from(node.supervisor().unwrap()).unwrap());
    let engine = node.pid("engine-svc").await.unwrap();
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).unwrap();
    drop(node);
    contracts.fire(b"four").await.unwrap();
    let node = Node::start(&config(&chain, dir.path()).with("port", port))
        .await
        .unwrap();
    assert_ne!(node.pid("engine-svc").await.unwrap(), engine);
    landed(&node, 4).await;
    assert_eq!(contracts.result_count().await.unwrap(), 4);
    assert_eq!(
        scenario::signer(&node, &chain.chain_key(), contracts.manager)
            .await
            .unwrap(),
        signer
    );
}
