use std::time::Duration;

use wavs_ipc::Context;
use wavs_ipc::contract::gossip::{Gossip as _, InboxCursor, Publication};
use wavs_types::{B256, RecordBody, SignedRecord};

use super::now_ms;
use crate::settings::Discovery;
use crate::testing::{Operator, TestNode, listen, service, settings, topics};

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

/// Waits until a node knows that a peer speaks for an operator.
async fn recognises(node: &TestNode, operator: Operator) {
    let address = operator.address().to_string();
    let known = async {
        let mut polls = tokio::time::interval(Duration::from_millis(20));
        loop {
            polls.tick().await;
            let views = node.network.peers().await.unwrap();
            if views
                .iter()
                .flat_map(|view| &view.operators)
                .any(|(_, known)| *known == address)
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), known)
        .await
        .expect("the operator is not recognised");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_said_for_whom_it_speaks_before_that_was_registered_is_known_when_it_is() {
    let first = TestNode::start(&[]).await;
    let mut before = topics(1, &MEMBERS[..2], None);
    before.topics[0].strangers = vec![Operator(3).address().into_array()];
    first.service.clone().sync(Context::current(), before).await.unwrap();
    let late = TestNode::start(&[first.address().await]).await;
    join(&late, Operator(3)).await;
    first.judged("no_operator", 1).await;
    let after = topics(2, &MEMBERS, None);
    first.service.clone().sync(Context::current(), after).await.unwrap();
    recognises(&first, Operator(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_counts_whoever_brings_it() {
    let nodes = three().await;
    recognises(&nodes[0], Operator(2)).await;
    // The hello of the third peer in the name of another operator, by way of the second.
    let newcomer = Operator(9);
    let mut members = MEMBERS.to_vec();
    members.push(newcomer);
    for (node, operator) in nodes.iter().zip(MEMBERS).take(2) {
        let table = topics(2, &members, Some(operator.hello(&node.keys)));
        node.service.clone().sync(Context::current(), table).await.unwrap();
    }
    nodes[0].until(|status| status.connected_peers == 2).await;
    nodes[1].until(|status| status.topic_peer_counts[0].1 == 2).await;
    publish(&nodes[1], &newcomer.hello(&nodes[2].keys), b"").await;
    recognises(&nodes[0], newcomer).await;
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

/// Two operators that are connected tell each other what they sign.
async fn talk(one: &TestNode, other: &TestNode) {
    for (node, operator) in [(one, Operator(1)), (other, Operator(2))] {
        join(node, operator).await;
    }
    one.until(|status| status.topic_peer_counts.iter().any(|(_, count)| *count > 0))
        .await;
    let record = Operator(1).attest(1, 1, now_ms());
    publish(one, &record, b"").await;
    receives(other, &record).await;
}

/// Two operators that listen there and nowhere else talk. Answers the one that has called the other.
async fn talk_over(address: &str) -> TestNode {
    let only = || {
        let mut settings = settings(&[]);
        settings.listen = vec![listen(address)];
        settings
    };
    let first = TestNode::start_with(only()).await;
    let mut second = only();
    second.static_peers = vec![first.address().await];
    let second = TestNode::start_with(second).await;
    talk(&first, &second).await;
    second
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_talk_over_quic_alone() {
    let caller = talk_over("/ip4/127.0.0.1/udp/0/quic-v1").await;
    // The peer tells its addresses after the connection is made.
    let mut views = Vec::new();
    for _ in 0..3_000 {
        views = caller.network.peers().await.unwrap();
        if views.iter().any(|view| !view.addresses.is_empty()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let address = views.iter().flat_map(|view| &view.addresses).next();
    let address = address.unwrap_or_else(|| panic!("no address is told: {views:?}"));
    assert!(address.contains("/quic-v1"), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_talk_over_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    talk_over("/ip6/::1/tcp/0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_found_by_its_name() {
    let first = TestNode::start(&[]).await;
    let address = first.address().await.to_string();
    let named = address.replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    assert_ne!(named, address);
    let second = TestNode::start(&[named.parse().unwrap()]).await;
    talk(&first, &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_in_one_local_network_find_each_other() {
    let local = || {
        let mut settings = settings(&[]);
        settings.discovery = Discovery::Local;
        settings.listen = vec![listen("/ip4/0.0.0.0/tcp/0")];
        settings
    };
    let first = TestNode::start_with(local()).await;
    let status = first.until(|status| !status.listen_addresses.is_empty()).await;
    if status
        .listen_addresses
        .iter()
        .all(|address| address.contains("/127.0.0.1/"))
    {
        eprintln!("skipped: this machine has loopback addresses alone, where there is no multicast DNS");
        return;
    }
    let second = TestNode::start_with(local()).await;
    let id = second.network.local().to_string();
    first.until(|status| status.peer_ids.contains(&id)).await;
    talk(&first, &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_learns_from_another_under_which_address_it_is_reached() {
    let first = TestNode::start(&[]).await;
    let second = TestNode::start(&[first.address().await]).await;
    let own = second.address().await.to_string();
    let is_own = |address: &String| own.starts_with(address.as_str());
    second
        .until(|status| status.external_addresses.iter().any(is_own))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_nobody_can_dial_is_reached_through_an_operator_that_can_be() {
    // A node that says how it is reached lends its way to others.
    let port = 10_000 + std::process::id() % 20_000;
    let address: libp2p::Multiaddr = format!("/ip4/127.0.93.1/tcp/{port}").parse().unwrap();
    let mut open = settings(&[]);
    open.listen = vec![listen(&address.to_string())];
    open.external = vec![address.clone()];
    let open = TestNode::start_with(open).await;
    let mut hidden = settings(std::slice::from_ref(&address));
    hidden.listen = Vec::new();
    let hidden = TestNode::start_with(hidden).await;
    let circuit = hidden
        .until(|status| status.listen_addresses.iter().any(|one| one.contains("/p2p-circuit")))
        .await;
    let mut third = settings(&[]);
    third.static_peers = vec![circuit.listen_addresses[0].parse().unwrap()];
    let third = TestNode::start_with(third).await;
    talk(&hidden, &third).await;
    assert!(open.network.peers().await.unwrap().len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_on_the_list_is_not_let_in() {
    let guest = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
    let mut closed = settings(&[]);
    closed.allowed = vec![guest];
    let closed = TestNode::start_with(closed).await;
    let stranger = TestNode::start(&[closed.address().await]).await;
    // Its dials fail one after the other; a node that lets it in shows that it dials at all.
    let open = TestNode::start(&[]).await;
    let third = TestNode::start(&[closed.address().await, open.address().await]).await;
    third.until(|status| status.connected_peers == 1).await;
    assert!(stranger.network.status().await.unwrap().peer_ids.is_empty());
    assert!(closed.network.status().await.unwrap().peer_ids.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_came_before_its_author_was_an_operator_is_asked_for_again() {
    let nodes = three().await;
    for node in &nodes {
        node.until(|status| status.topic_peer_counts[0].1 == 2).await;
    }
    // The second node knows the author as nobody, so it drops the record for good; the others know better.
    let newcomer = Operator(9);
    let all = [Operator(1), Operator(2), Operator(3), newcomer];
    let sync = async |node: &TestNode, operator: Operator, members: &[Operator], strangers: &[Operator], generation| {
        let mut set = topics(generation, members, Some(operator.hello(&node.keys)));
        set.topics[0].strangers = strangers.iter().map(|one| one.address().into_array()).collect();
        node.service.clone().sync(Context::current(), set).await.unwrap();
    };
    sync(&nodes[1], Operator(2), &MEMBERS, &[newcomer], 2).await;
    sync(&nodes[0], Operator(1), &all, &[], 2).await;
    let record = newcomer.attest(1, 1, now_ms());
    publish(&nodes[0], &record, b"").await;
    let after = Operator(1).attest(2, 1, now_ms());
    publish(&nodes[0], &after, b"").await;
    receives(&nodes[1], &after).await;
    sync(&nodes[1], Operator(2), &all, &[], 3).await;
    receives(&nodes[1], &record).await;
}
