//! Operators who moved and operators who did not land events together: nodes of five processes beside a node of generation
//! 1, on a real chain.

use std::time::Duration;

use alloy::primitives::Address;
use e2e::cluster::{Cluster, ClusterConfig};
use gen1peer::{Event, Node, NodeConfig, Operator, Submission};
use serde_json::Value;

/// How long something may take until it counts as failed.
const LIMIT: Duration = Duration::from_secs(90);

/// An operator that has not moved: its node, and the key that it is registered with.
struct Deployed {
    node: Node,
    operator: Operator,
    service: String,
}

impl Deployed {
    async fn start(listen: &str, key: u8, services: Vec<String>) -> Self {
        let config = NodeConfig {
            listen: listen.parse().unwrap(),
            dial: Vec::new(),
            services: services.clone(),
            local: false,
        };
        let node = Node::start(config).await.unwrap();
        Self {
            node,
            operator: Operator::of(key),
            service: services.into_iter().next().unwrap_or_default(),
        }
    }

    fn join(&mut self, service: &str) {
        self.node.join(service);
        service.clone_into(&mut self.service);
    }

    /// Waits for what one of `signers` says by gossip or in an answer, and says the same with this operator's signature,
    /// as if it had run the component too.
    async fn agree(&mut self, signers: &[Address], data: &[u8]) {
        // The component wraps its result for the handler.
        let result = alloy::hex::encode(data);
        let is_it = |bytes: &[u8]| {
            let said = Submission::read(bytes).ok()?;
            said.operator_response.payload.contains(&result).then_some(said)
        };
        let heard = |event: &Event| match event {
            Event::Gossiped(_, topic, bytes) => {
                assert_eq!(*topic, gen1peer::topic(&self.service));
                is_it(bytes)
            }
            Event::Answered(_, _, said) => said.iter().find_map(|text| is_it(text.as_bytes())),
            _ => None,
        };
        let said = self.node.until(LIMIT, heard).await.unwrap();
        assert!(signers.contains(&said.signer().unwrap()), "{said:?}");
        // Somebody who is no operator says it first, which must count for nothing.
        let nobody = Operator::of(0x77).sign(said.clone()).unwrap();
        self.node.publish(&self.service, nobody.write());
        let own = self.operator.sign(said).unwrap();
        self.node.publish(&self.service, own.write());
    }
}

/// Operators of our generation whose bridges dial `node`.
async fn cluster(operators: u32, block: u8, quorum: (u64, u64), node: &Node) -> Cluster {
    let mut config = ClusterConfig::of(operators, block);
    config.quorum = quorum;
    config.toml = format!(
        "[wavs.p2p_bridge]\nservices = [\"*\"]\nlisten_port = 0\nbootstrap_nodes = [\"{}\"]\n\n",
        node.address
    );
    Cluster::start(&config).await.unwrap()
}

/// Waits until every operator of ours sees the node on the service's topic.
async fn bridged(cluster: &Cluster, node: &Node) {
    let (id, topic) = (node.id.to_string(), gen1peer::topic(&cluster.service_id));
    let is_there = |peers: &Value| {
        let items = peers["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().any(|peer| {
            let topics = peer["topics"].as_array().map(Vec::as_slice).unwrap_or_default();
            peer["id"] == id.as_str() && peer["connected"] == true && topics.iter().any(|known| known == topic.as_str())
        })
    };
    for operator in cluster.running() {
        operator
            .node()
            .unwrap()
            .wait_for("/v1/p2p/peers", LIMIT, is_there)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_moved_and_one_who_did_not_reach_quorum_of_three_and_land_once() {
    let mut deployed = Deployed::start("/ip4/127.77.41.200/tcp/0", 0x42, Vec::new()).await;
    let cluster = cluster(1, 41, (2, 3), &deployed.node).await;
    cluster
        .contracts
        .register(deployed.operator.address(), 100)
        .await
        .unwrap();
    // The third operator is away.
    cluster
        .contracts
        .register(Operator::of(0x43).address(), 100)
        .await
        .unwrap();
    cluster.chain.mine().await.unwrap();
    deployed.join(&cluster.service_id);
    bridged(&cluster, &deployed.node).await;
    let own = [cluster.operators[0].signer];

    let receipt = cluster.contracts.fire(br#"{"x":3}"#).await.unwrap();
    deployed.agree(&own, br#"{"y":9}"#).await;
    let first = cluster.delivered(&receipt).await.unwrap();
    assert_eq!(cluster.transactions().await.unwrap(), [first.transaction]);
    let result = cluster.contracts.result(first.event_id).await.unwrap().unwrap();
    assert_eq!(result.as_ref(), br#"{"y":9}"#);

    // It is down while the next event is signed, comes back as another peer, and gets what it missed.
    let (address, service) = (deployed.node.address.to_string(), cluster.service_id.clone());
    drop(deployed);
    let receipt = cluster.contracts.fire(br#"{"x":4}"#).await.unwrap();
    let path = format!("/v1/jobs?service_id={service}&limit=500");
    let node = cluster.operators[0].node().unwrap();
    let is_signed = |jobs: &Value| {
        let items = jobs["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.len() == 2 && items.iter().any(|job| job["state"] == "collecting")
    };
    node.wait_for(&path, LIMIT, is_signed).await.unwrap();
    let mut deployed = Deployed::start(&address, 0x42, vec![service]).await;
    deployed.agree(&own, br#"{"y":16}"#).await;
    let second = cluster.delivered(&receipt).await.unwrap();
    assert_eq!(
        cluster.transactions().await.unwrap(),
        [first.transaction, second.transaction],
        "{}",
        cluster.logs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_only_the_bridge_brings_completes_the_quorum_of_all() {
    let mut deployed = Deployed::start("/ip4/127.77.42.200/tcp/0", 0x42, Vec::new()).await;
    let cluster = cluster(2, 42, (1, 1), &deployed.node).await;
    cluster
        .contracts
        .register(deployed.operator.address(), 100)
        .await
        .unwrap();
    cluster.chain.mine().await.unwrap();
    deployed.join(&cluster.service_id);
    bridged(&cluster, &deployed.node).await;
    let signers = [cluster.operators[0].signer, cluster.operators[1].signer];

    // Our two tell each other by both wires, which counts once: two of three are no quorum.
    let receipt = cluster.contracts.fire(br#"{"x":5}"#).await.unwrap();
    deployed.agree(&signers, br#"{"y":25}"#).await;
    let landed = cluster.delivered(&receipt).await.unwrap();
    assert_eq!(
        cluster.transactions().await.unwrap(),
        [landed.transaction],
        "{}",
        cluster.logs()
    );
    let result = cluster.contracts.result(landed.event_id).await.unwrap().unwrap();
    assert_eq!(result.as_ref(), br#"{"y":25}"#);
}
