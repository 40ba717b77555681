//! Blocks and schedules run workflows whose results land like those of events.

use std::time::Duration;

use alloy::primitives::FixedBytes;
use alloy::providers::Provider as _;
use e2e::anvil::Anvil;
use e2e::contracts::{Contracts, ServiceHandler};
use e2e::node::{Node, NodeConfig};
use e2e::scenario::{prebuilt, signer, transaction};
use e2e::service::{self, Component};
use serde_json::{Value, json};

/// How long a result may take until it counts as lost.
const RESULT_LIMIT: Duration = Duration::from_secs(30);

/// The landed jobs of a workflow.
fn landed<'a>(jobs: &'a Value, workflow: &str) -> Vec<&'a Value> {
    let of = |job: &&Value| job["workflow_id"] == workflow && transaction(job).is_some();
    jobs["items"].as_array().into_iter().flatten().filter(of).collect()
}

fn source(job: &Value) -> &str {
    job["source"]
        .as_str()
        .or(job["source_key"].as_str())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn block_intervals_and_schedules_land_at_the_handler() {
    let chain = Anvil::start().await.unwrap();
    let contracts = Contracts::deploy(&chain).await.unwrap();
    let node = Node::start(&NodeConfig::for_chains(&[&chain])).await.unwrap();
    let echo = node.upload(&prebuilt("echo")).await.unwrap();
    let aggregator = node.upload(&prebuilt("aggregator")).await.unwrap();
    let key = chain.chain_key();
    let now = contracts.provider.get_block_number().await.unwrap();
    let submit = service::submit_to(&aggregator, &key, contracts.handler);
    let workflow = |trigger: Value, size: usize| {
        let component = Component::new(&echo).config("do", format!("payload:{size}"));
        service::workflow(&trigger, &component, Some(&submit))
    };
    // The window of the interval is a single height, so it fires once: at the first multiple after the registration.
    let blocks = json!({"block_interval": {"chain": key, "n_blocks": 5, "start_block": now, "end_block": now}});
    let schedule = json!({"cron": {"schedule": "*/2 * * * * *", "start_time": null, "end_time": null}});
    let workflows = [("blocks", workflow(blocks, 11)), ("schedule", workflow(schedule, 22))];
    let document = service::service(&key, contracts.manager, &workflows);
    let uri = node.host_document(&document).await.unwrap();
    contracts.set_service_uri(&uri).await.unwrap();
    node.add_service(&key, contracts.manager).await.unwrap();
    let signer = signer(&node, &key, contracts.manager).await.unwrap();
    contracts.register(signer, 100).await.unwrap();
    // Signatures refer to a block below the head, so the chain must move on once before the operator counts.
    contracts.fire(b"").await.unwrap();

    // Each result of the schedule is a transaction, and each transaction a block: the schedule drives the interval.
    let jobs = node
        .wait_for("/v1/jobs?limit=500", RESULT_LIMIT, |jobs| {
            !landed(jobs, "blocks").is_empty() && landed(jobs, "schedule").len() >= 2
        })
        .await
        .unwrap();
    let height = now + 5;
    let blocks = landed(&jobs, "blocks");
    assert_eq!(blocks.len(), 1, "{jobs:#}");
    assert_eq!(source(blocks[0]), format!("{key}/block/{height}"));
    for (workflow, size) in [("blocks", 11), ("schedule", 22)] {
        for job in landed(&jobs, workflow) {
            let event_id: FixedBytes<20> = job["events"][0]["event_id"].as_str().unwrap().parse().unwrap();
            let handler = ServiceHandler::new(contracts.handler, &contracts.provider);
            let data = handler.results(event_id).call().await.unwrap();
            assert_eq!(data.len(), size, "{workflow}");
        }
    }
    let mut slots: Vec<u64> = landed(&jobs, "schedule")
        .into_iter()
        .map(|job| source(job).strip_prefix("cron/").unwrap().parse().unwrap())
        .collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), landed(&jobs, "schedule").len(), "no slot comes twice");
    assert!(slots.iter().all(|slot| slot.is_multiple_of(2_000_000_000)), "{slots:?}");

    let streams = node.get("/dev/trigger-streams").await.unwrap();
    assert_eq!(streams["cron"]["routes"][0]["workflow_id"], "schedule", "{streams:#}");
    assert_eq!(
        streams["chains"][&key]["block_intervals"][0]["anchor"], now,
        "{streams:#}"
    );
}
