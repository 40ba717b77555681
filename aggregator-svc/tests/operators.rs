//! Other operators as this node hears them, honest or not: whatever is said, the honest quorum lands, once. A real chain whose
//! manager checks signatures; what the network says is scripted.

#![allow(missing_docs)]

mod support;

use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use support::engine::response;
use support::operator::Operator;
use support::trigger::action;
use support::{FakeGossip, Running, World, document};
use wavs_ipc::Context;
use wavs_ipc::contract::engine::{Action, AggregatorCall};
use wavs_ipc::contract::records::{BucketView, QuorumQuery, Records as _};
use wavs_ipc::contract::registry::Registry as _;
use wavs_types::{EvmAddress, Landed, ServiceId, TriggerAction};

/// Key 1 of the test phrase, which the node's first service gets.
const FIRST: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// What the node's component answers.
const HONEST: &[u8] = b"result";

/// A node among operators of equal weight, of which three of four are needed.
struct Stage {
    world: World,
    gossip: FakeGossip,
    contracts: Contracts,
    chain: Anvil,
    /// Two who are honest.
    honest: [Operator; 2],
    /// One who is registered and not honest.
    traitor: Operator,
}

impl Stage {
    async fn new() -> Self {
        let chain = Anvil::start().await.unwrap();
        let contracts = Contracts::deploy(&chain).await.unwrap();
        let mut world = World::new();
        let gossip = world.networked();
        world.chain = Some(chain.http());
        world.posts = true;
        let manager = contracts.manager.to_string();
        world.trigger.publish(&manager, document(&manager, "active"));
        let handler = contracts.handler;
        world.engine.on_aggregator(move |job| {
            let submit = Action::SubmitEvm {
                chain: "evm:31337".parse().unwrap(),
                address: handler.into_array(),
                gas_price: None,
            };
            let is_input = job.call == AggregatorCall::ProcessInput;
            Ok(Ok(if is_input { vec![submit] } else { vec![] }))
        });
        let stage = Self {
            world,
            gossip,
            contracts,
            chain,
            honest: [Operator::new(5), Operator::new(6)],
            traitor: Operator::new(7),
        };
        let own: EvmAddress = FIRST.parse().unwrap();
        let others = stage.honest.iter().chain([&stage.traitor]).map(Operator::address);
        for key in others.chain([own]) {
            stage.contracts.register(key, 100).await.unwrap();
        }
        // Keys count from the block after their registration.
        stage.chain.mine().await.unwrap();
        stage
    }

    /// Adds the service, and waits until the node knows all operators.
    async fn join(&self, node: &Running) -> ServiceId {
        let service = node.add(&self.contracts.manager.to_string()).await.unwrap().service_id;
        let all: Vec<_> = self
            .honest
            .iter()
            .chain([&self.traitor])
            .map(Operator::address)
            .collect();
        for key in &all {
            self.gossip.meet(service, *key);
        }
        self.knows(&all).await;
        service
    }

    async fn knows(&self, keys: &[EvmAddress]) {
        let known = |said: &support::gossip::Said| {
            let signers = said.topics.iter().flat_map(|topic| &topic.signers);
            let signers: Vec<_> = signers.map(EvmAddress::from).collect();
            keys.iter().all(|key| signers.contains(key))
        };
        self.gossip.until(known).await;
    }

    fn fire(&self, action: &TriggerAction) {
        self.world.trigger.fire("evm:31337/0x01/0", action, Some(1));
    }

    fn hear(&self, operator: &Operator, action: &TriggerAction, payload: &[u8]) {
        let (record, body) = operator.attest(action, payload);
        self.gossip.hear(&record, Some(body));
    }

    /// The two honest ones back the result, and it lands with nothing else beside it.
    async fn lands(&self, node: &Running, action: &TriggerAction) {
        for operator in &self.honest {
            self.hear(operator, action, HONEST);
        }
        node.job(|job| matches!(job.state.as_str(), "mined" | "final")).await;
        assert_eq!(self.contracts.result_count().await.unwrap(), 1);
        assert_eq!(self.contracts.reverted().await.unwrap(), 0);
    }
}

async fn buckets(node: &Running) -> Vec<BucketView> {
    let query = QuorumQuery {
        max: 10,
        ..QuorumQuery::default()
    };
    let mut events = node
        .node
        .records
        .clone()
        .quorums(Context::current(), query)
        .await
        .unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0).buckets
}

/// A counter, summed over all labels that contain `label`.
fn counted(node: &Running, name: &str, label: &str) -> u64 {
    let text = node.metrics.render();
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_signs_two_results_is_reported_and_a_third_is_dropped() {
    let stage = Stage::new().await;
    let node = stage.world.start().await;
    let service = stage.join(&node).await;
    let action = action(service, "submit", b"1");
    stage.fire(&action);
    node.job(|job| job.state == "collecting").await;
    for garbage in [b"one", b"two", b"two", b"six"] {
        stage.hear(&stage.traitor, &action, garbage);
    }
    stage.gossip.drained().await;
    let traitor = stage.traitor.address().to_string();
    assert_eq!(counted(&node, "wavs_equivocation_seen_total", &traitor), 1);
    assert_eq!(counted(&node, "wavs_quorum_divergent_total", &traitor), 2);
    assert_eq!(counted(&node, "wavs_quorum_rejected_total", "equivocation"), 1);
    // The evidence is kept beside the result, where people see it.
    let traitor = stage.traitor.address().into_array();
    let backed = buckets(&node).await.into_iter();
    let backed = backed.filter(|bucket| bucket.signers.iter().any(|(signer, _)| *signer == traitor));
    assert_eq!(backed.map(|bucket| bucket.own).collect::<Vec<_>>(), [false, false]);
    stage.lands(&node, &action).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_that_comes_first_takes_no_place_and_lands_nothing() {
    let mut stage = Stage::new().await;
    // Bodies are fetched at once, so that the garbage has every advantage.
    stage.world.own_input_grace = std::time::Duration::ZERO;
    let node = stage.world.start().await;
    let service = stage.join(&node).await;
    let action = action(service, "submit", b"1");
    stage.hear(&stage.traitor, &action, b"garbage");
    loop {
        // The aggregator component is asked about it, because it may be what the others have too.
        if !stage.world.engine.aggregator_runs().is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    stage.fire(&action);
    stage.lands(&node, &action).await;
    assert_eq!(
        counted(
            &node,
            "wavs_quorum_divergent_total",
            &stage.traitor.address().to_string()
        ),
        1
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_manager_does_not_know_counts_for_nothing_before_and_after_the_others() {
    let stage = Stage::new().await;
    let node = stage.world.start().await;
    let service = stage.join(&node).await;
    let action = action(service, "submit", b"1");
    let strangers: Vec<_> = (0..40).map(|_| Operator::stranger()).collect();
    let (before, after) = strangers.split_at(20);
    before.iter().for_each(|stranger| stage.hear(stranger, &action, HONEST));
    stage.fire(&action);
    node.job(|job| job.state == "collecting").await;
    after.iter().for_each(|stranger| stage.hear(stranger, &action, HONEST));
    stage.hear(&stage.honest[0], &action, HONEST);
    stage.gossip.drained().await;
    assert_eq!(counted(&node, "wavs_quorum_rejected_total", "no_operator"), 40);
    let signers = &buckets(&node).await[0].signers;
    assert_eq!(signers.len(), 2, "{signers:?}");
    stage.lands(&node, &action).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_follow_from_its_event_is_never_given_to_a_component() {
    let mut stage = Stage::new().await;
    stage.world.own_input_grace = std::time::Duration::ZERO;
    let node = stage.world.start().await;
    let service = stage.join(&node).await;
    let action_of = |data: &[u8]| action(service, "submit", data);
    let (told, other) = (action_of(b"1"), action_of(b"2"));
    // Another trigger under this event's id, a workflow that signs nothing, and bytes that are no record.
    let (relabelled, body) = stage.traitor.attest_as(&told, &other, HONEST);
    stage.gossip.hear(&relabelled, Some(body));
    stage.hear(&stage.traitor, &action(service, "silent", b"1"), HONEST);
    stage.gossip.hear_bytes(b"no record".to_vec());
    stage.gossip.drained().await;
    assert_eq!(
        stage
            .gossip
            .until(|said| !said.rejected.is_empty())
            .await
            .rejected
            .len(),
        1
    );
    assert_eq!(counted(&node, "wavs_quorum_rejected_total", "no_workflow"), 1);
    stage.fire(&told);
    stage.lands(&node, &told).await;
    let runs = stage.world.engine.aggregator_runs();
    let inputs = runs.iter().filter(|run| run.call == AggregatorCall::ProcessInput);
    let inputs: Vec<_> = inputs.map(|run| run.action.decode().unwrap()).collect();
    assert!(!inputs.is_empty());
    assert!(
        inputs.iter().all(|input| input.data == told.data),
        "the relabelled body was run"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_landing_is_not_believed_and_an_event_that_is_over_stays_over() {
    let stage = Stage::new().await;
    let node = stage.world.start().await;
    let service = stage.join(&node).await;
    let action = action(service, "submit", b"1");
    stage.fire(&action);
    let job = node.job(|job| job.state == "collecting").await;
    let event_id = job.events[0].event_id;
    let foreign = stage.contracts.fire(b"foreign").await.unwrap().transaction_hash;
    for tx in [wavs_types::B256::repeat_byte(9), foreign] {
        let landed = Landed {
            event_id,
            digest: wavs_types::B256::from(buckets(&node).await[0].digest),
            chain: "evm:31337".parse().unwrap(),
            handler: stage.contracts.handler.to_string(),
            tx: tx.to_string(),
        };
        let who = if tx == foreign {
            &stage.traitor
        } else {
            &stage.honest[0]
        };
        stage.gossip.hear(&who.claim(service, landed), None);
    }
    stage.lands(&node, &action).await;
    for _ in 0..3 {
        stage.chain.mine().await.unwrap();
    }
    node.job(|job| job.state == "final").await;

    // Everything once more, and a signature that is late: nothing is run, nothing is sent.
    stage.gossip.until(|said| said.retired.contains(&event_id)).await;
    let runs = stage.world.engine.aggregator_runs().len();
    stage.lands(&node, &action).await;
    stage.hear(&stage.traitor, &action, HONEST);
    stage.gossip.drained().await;
    assert_eq!(counted(&node, "wavs_quorum_rejected_total", "over"), 3);
    assert!(
        stage.world.engine.aggregator_runs().len() <= runs + 1,
        "only the callback was due"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_operator_is_known_soon_after_its_registration() {
    let stage = Stage::new().await;
    let node = stage.world.start().await;
    let service = stage.join(&node).await;
    let newcomer = Operator::new(8).address();
    let is_stranger = |said: &support::gossip::Said| {
        let mut strangers = said.topics.iter().flat_map(|topic| &topic.strangers);
        strangers.any(|stranger| EvmAddress::from(stranger) == newcomer)
    };
    stage.gossip.meet(service, newcomer);
    stage.gossip.until(is_stranger).await;
    stage.contracts.register(newcomer, 100).await.unwrap();
    // p2p-svc tells of a key again as soon as it is in neither table.
    stage.gossip.until(|said| !is_stranger(said)).await;
    stage.gossip.meet(service, newcomer);
    stage.knows(&[newcomer]).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_before_a_rotation_is_told_again_by_the_key_that_signed_it() {
    let stage = Stage::new().await;
    stage.world.engine.on_operator(|_, _| Ok(Ok(vec![response(HONEST)])));
    let mut node = stage.world.start().await;
    let service = stage.join(&node).await;
    stage.fire(&action(service, "submit", b"1"));
    // It may be told more than once: after the loss, and after the rotation.
    let told = |said: &support::gossip::Said| !said.attestations().is_empty();
    let before = stage.gossip.until(told).await.attestations()[0].clone();
    assert_eq!(before.author().to_string(), FIRST);
    stage.gossip.lose_store();
    let rotated = node
        .node
        .service
        .clone()
        .rotate_signer(Context::current(), service)
        .await;
    assert_ne!(EvmAddress::from(rotated.unwrap().address), before.author());
    let again = stage.gossip.until(told).await.attestations()[0].clone();
    assert_eq!(again, before);
    // The key is remembered over a restart.
    node.stop().await;
    stage.gossip.lose_store();
    node = stage.world.start().await;
    let again = stage.gossip.until(told).await.attestations()[0].clone();
    assert_eq!(again, before);
    node.stop().await;
}
