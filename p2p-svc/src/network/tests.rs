use std::time::Duration;

use wavs_ipc::Context;
use wavs_ipc::contract::gossip::{Gossip as _, InboxCursor, Publication};
use wavs_types::{B256, RecordBody, SignedRecord};

use super::now_ms;
use crate::testing::{Operator, TestNode, service, topics};

const MEMBERS: [Operator; 3] = [Operator(1), Operator(2), Operator(3)];

/// A node for each operator; the first one is where the others enter.
async fn three() -> Vec<TestNode> {
    let first = TestNode::start(&[]).await;
    let entrance = [first.address().await];
    let nodes = vec![
        first,
        TestNode::start(&entrance).await,
        TestNode::start(&entrance).await,
    ];
    for (node, operator) in nodes.iter().zip(MEMBERS) {
        join(node, operator).await;
    }
    nodes
}

async fn join(node: &TestNode, operator: Operator) {
    let hello = operator.hello(&node.keys);
    node.service
        .clone()
        .sync(Context::current(), topics(1, &MEMBERS, Some(hello)))
        .await
        .unwrap();
}

async fn publish(node: &TestNode, record: &SignedRecord, body: &[u8]) {
    let publication = Publication {
        record: record.encoded().to_vec(),
        body: body.to_vec(),
    };
    node.service
        .clone()
        .publish(Context::current(), publication)
        .await
        .unwrap();
}

/// Pulls until the record is there.
async fn receives(node: &TestNode, record: &SignedRecord) {
    let found = async {
        let mut after = InboxCursor::default();
        loop {
            let batch = node
                .service
                .clone()
                .pull(Context::current(), after, 100, 1_000)
                .await
                .unwrap();
            if batch.items.iter().any(|item| item.record == record.encoded()) {
                return;
            }
            let seq = batch.items.last().map_or(after.seq, |item| item.seq);
            after = InboxCursor {
                store: batch.store,
                seq,
            };
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found)
        .await
        .expect("the record did not arrive");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_and_a_record_reaches_all() {
    let nodes = three().await;
    for node in &nodes {
        node.until(|status| status.connected_peers == 2 && status.topic_peer_counts[0].1 == 2)
            .await;
    }
    let record = Operator(1).attest(1, 1, now_ms());
    publish(&nodes[0], &record, b"").await;
    receives(&nodes[1], &record).await;
    receives(&nodes[2], &record).await;
    let views = nodes[0].network.peers().await.unwrap();
    assert!(
        views.iter().all(|view| view.connected && !view.direction.is_empty()),
        "{views:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_node_gets_what_it_missed_and_the_body_behind_it() {
    let first = TestNode::start(&[]).await;
    join(&first, Operator(1)).await;
    let body = b"trigger and response";
    let record = Operator(1).attest(1, 1, now_ms());
    publish(&first, &record, body).await;
    let late = TestNode::start(&[first.address().await]).await;
    join(&late, Operator(2)).await;
    receives(&late, &record).await;
    let digest = RecordBody::digest(body);
    let found = late
        .service
        .clone()
        .body(Context::current(), service(), digest, 20_000)
        .await
        .unwrap();
    assert_eq!(found.unwrap().0, body);
    let nobody = late
        .service
        .clone()
        .body(Context::current(), service(), B256::ZERO, 20_000)
        .await
        .unwrap();
    assert!(nobody.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_asked_about_once_and_heard_when_it_is_a_member() {
    let nodes = three().await;
    nodes[0].until(|status| status.topic_peer_counts[0].1 == 2).await;
    let newcomer = Operator(9).attest(1, 1, now_ms());
    publish(&nodes[0], &newcomer, b"").await;
    let asked = async {
        loop {
            let batch = nodes[1]
                .service
                .clone()
                .pull(Context::current(), InboxCursor::default(), 100, 1_000)
                .await
                .unwrap();
            if !batch.unknown.is_empty() {
                return batch.unknown;
            }
            tokio::task::yield_now().await;
        }
    };
    let unknown = tokio::time::timeout(Duration::from_secs(30), asked)
        .await
        .expect("nobody asked");
    assert_eq!(unknown, [(service(), Operator(9).address().into_array())]);
    let all = [Operator(1), Operator(2), Operator(3), Operator(9)];
    let hello = Operator(2).hello(&nodes[1].keys);
    nodes[1]
        .service
        .clone()
        .sync(Context::current(), topics(2, &all, Some(hello)))
        .await
        .unwrap();
    receives(&nodes[1], &newcomer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_garbage_is_turned_away_and_the_others_are_heard() {
    let nodes = three().await;
    for node in &nodes {
        node.until(|status| status.connected_peers == 2).await;
    }
    let bad = nodes[2].network.local().to_string();
    // Published past the checks of the contract, as a hostile node would.
    let topic = crate::wire::v2::topic(&service());
    for n in 0_u8..40 {
        nodes[2].network.inject(topic.hash(), vec![n; 64]).await.unwrap();
    }
    nodes[0].until(|status| !status.peer_ids.contains(&bad)).await;
    let views = nodes[0].network.peers().await.unwrap();
    let view = views.iter().find(|view| view.id == bad).expect("the ban is shown");
    assert!(view.reasons[0].starts_with("turned away"), "{view:?}");
    let record = Operator(2).attest(5, 1, now_ms());
    publish(&nodes[1], &record, b"").await;
    receives(&nodes[0], &record).await;
}
