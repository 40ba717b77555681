//! From a spooled trigger to a verified result on a real chain, with scripted engine-svc and trigger-svc.

#![allow(missing_docs)]

mod support;

use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use support::trigger::action;
use support::{Running, World, document};
use wavs_ipc::Context;
use wavs_ipc::contract::engine::{Action, AggregatorCall, TxHash};
use wavs_ipc::contract::records::{QuorumQuery, Records as _};
use wavs_types::{EvmAddress, ServiceId};

/// Key 1 of the test phrase, which the first service gets.
const SIGNER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

struct Stage {
    world: World,
    chain: Anvil,
    contracts: Contracts,
}

impl Stage {
    async fn new(posts: bool) -> Self {
        let chain = Anvil::start().await.unwrap();
        let contracts = Contracts::deploy(&chain).await.unwrap();
        let mut world = World::new();
        world.chain = Some(chain.http());
        world.posts = posts;
        world.trigger.publish(
            &contracts.manager.to_string(),
            document(&contracts.manager.to_string(), "active"),
        );
        let handler = contracts.handler;
        world.engine.on_aggregator(move |job| {
            let submit = Action::SubmitEvm {
                chain: "evm:31337".parse().unwrap(),
                address: handler.into_array(),
                gas_price: None,
            };
            Ok(Ok(if job.call == AggregatorCall::ProcessInput {
                vec![submit]
            } else {
                vec![]
            }))
        });
        Self {
            world,
            chain,
            contracts,
        }
    }

    async fn register(&self) {
        let signer: EvmAddress = SIGNER.parse().unwrap();
        self.contracts.register(signer, 100).await.unwrap();
        // A key counts from the block after its registration.
        self.contracts.fire(b"block").await.unwrap();
    }

    async fn add(&self, node: &Running) -> ServiceId {
        node.add(&self.contracts.manager.to_string()).await.unwrap().service_id
    }

    fn fire(&self, service: ServiceId, data: &[u8]) {
        let source_key = format!("evm:31337/0x01/{}", String::from_utf8_lossy(data));
        self.world
            .trigger
            .fire(&source_key, &action(service, "submit", data), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_lands_as_one_verified_transaction() {
    let stage = Stage::new(true).await;
    stage.register().await;
    let node = stage.world.start().await;
    let service = stage.add(&node).await;
    stage.fire(service, b"first");
    let job = node.job(|job| job.state == "mined").await;
    assert_eq!(stage.contracts.result_count().await.unwrap(), 1);
    let names: Vec<_> = job.timeline.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "seen",
            "received",
            "signed",
            "collecting",
            "quorum",
            "submitting",
            "mined"
        ]
    );

    // The callback names the transaction, and blocks make it final.
    let target = &job.events[0].targets[0];
    let hash = target.tx.clone().unwrap();
    let told = loop {
        let runs = stage.world.engine.aggregator_runs();
        if let Some(AggregatorCall::Submitted(result)) = runs.into_iter().map(|run| run.call).nth(1) {
            break result;
        }
        tokio::task::yield_now().await;
    };
    let Ok(TxHash::Evm(told)) = told else {
        panic!("no hash: {told:?}")
    };
    assert_eq!(wavs_types::B256::from(told).to_string(), hash);
    for data in [b"2", b"3", b"4"] {
        stage.contracts.fire(data).await.unwrap();
    }
    node.job(|job| job.state == "final").await;

    for data in [b"second", b"third_"] {
        stage.fire(service, data);
        let source = String::from_utf8_lossy(data).into_owned();
        let job = node
            .job(|job| job.source_key.ends_with(&source) && job.state == "mined")
            .await;
        assert!(job.events[0].targets[0].tx.is_some());
    }
    assert_eq!(stage.contracts.result_count().await.unwrap(), 3);
    node.stop().await;
    stage.chain.stop().await.unwrap();
}

/// The weight of the only event's signatures, and the weight that it needs.
async fn weighed(node: &Running) -> (u64, u64) {
    let query = QuorumQuery {
        max: 10,
        ..QuorumQuery::default()
    };
    let records = node.node.records.clone();
    let target = records.quorums(Context::current(), query).await.unwrap()[0].targets[0].clone();
    let number = |text: Option<String>| text.unwrap().parse().unwrap();
    (number(target.weight), number(target.threshold))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_registered_late_and_a_posting_key_given_late_still_lead_to_a_landing() {
    let mut stage = Stage::new(false).await;
    let node = stage.world.start().await;
    let service = stage.add(&node).await;
    stage.fire(service, b"early");
    let waiting = node
        .job(|job| {
            job.events
                .first()
                .is_some_and(|event| !event.targets.is_empty() && event.targets[0].error.is_some())
        })
        .await;
    assert_eq!(waiting.state, "collecting");
    assert_eq!(weighed(&node).await.0, 0);
    node.stop().await;

    stage.register().await;
    let node = stage.world.start().await;
    let waiting = node.job(|job| job.state == "waiting").await;
    let reason = waiting.events[0].targets[0].error.clone().unwrap();
    assert!(reason.contains("posting key"), "{reason}");
    let (weight, threshold) = weighed(&node).await;
    assert!(
        weight == 100 && (1..=100).contains(&threshold),
        "{weight} of {threshold}"
    );
    node.stop().await;

    stage.world.posts = true;
    let node = stage.world.start().await;
    node.job(|job| job.state == "mined").await;
    assert_eq!(stage.contracts.result_count().await.unwrap(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_at_any_moment_lands_each_event_exactly_once() {
    let stage = Stage::new(true).await;
    stage.register().await;
    let killable = stage.world.start_killable().await;
    let service = stage.add(&killable.node).await;
    for number in 0..12 {
        stage.fire(service, format!("event{number}").as_bytes());
    }
    // Taken away somewhere between the first signature and the last receipt.
    killable.node.job(|job| job.state != "received").await;
    killable.kill().await;
    let killable = stage.world.start_killable().await;
    killable
        .node
        .job(|job| job.state == "submitting" || job.state == "mined")
        .await;
    killable.kill().await;

    let node = stage.world.start().await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let jobs = node.jobs().await;
        if jobs.len() == 12
            && jobs
                .iter()
                .all(|job| ["mined", "final", "landed"].contains(&job.state.as_str()))
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{jobs:#?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.contracts.result_count().await.unwrap(), 12);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_service_stops_but_what_was_sent_is_followed() {
    use wavs_ipc::contract::registry::Registry as _;
    let stage = Stage::new(true).await;
    let node = stage.world.start().await;
    let service = stage.add(&node).await;
    stage.fire(service, b"open");
    node.job(|job| job.state == "collecting" && job.events[0].targets.len() == 1)
        .await;
    let manager = support::manager(&stage.contracts.manager.to_string());
    node.node
        .service
        .clone()
        .remove_service(Context::current(), manager, false)
        .await
        .unwrap();
    let job = node.jobs().await.remove(0);
    assert_eq!(job.state, "skipped");
    assert!(job.error.unwrap().starts_with("removed: "));
    node.stop().await;
}
