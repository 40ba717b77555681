//! Peers that send junk, and a bridge that cannot run.

use std::time::Duration;

use gen1peer::{Event, Node, NodeConfig};

use super::support::{LIMIT, Side, service_text, settings, submission};
use crate::testing::{Operator, service};

async fn node(listen: &str, dial: &[&str]) -> Node {
    Node::start(NodeConfig {
        listen: listen.parse().unwrap(),
        dial: dial.iter().map(|address| address.parse().unwrap()).collect(),
        services: vec![service_text()],
        local: true,
    })
    .await
    .unwrap()
}

/// Waits until `condition` holds for the peers of a bridge.
async fn until(side: &Side, condition: impl Fn(&[wavs_ipc::contract::p2p_admin::PeerView]) -> bool) {
    let mut polls = tokio::time::interval(Duration::from_millis(50));
    let found = async {
        loop {
            polls.tick().await;
            if condition(&side.bridge.peers()) {
                return;
            }
        }
    };
    let found = tokio::time::timeout(LIMIT, found).await;
    found.unwrap_or_else(|_| panic!("it did not happen: {:?}", side.bridge.peers()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_junk_is_turned_away_and_the_others_are_heard() {
    let hub = "/ip4/127.0.89.1/tcp/19401";
    let ours = Side::start(settings(hub, &[])).await;
    let mut bad = node("/ip4/127.0.89.1/tcp/19402", &[hub]).await;
    let good = node("/ip4/127.0.89.1/tcp/19403", &[hub]).await;
    until(&ours, |peers| peers.len() == 2).await;
    for n in 0..10_u8 {
        bad.publish_only(&service_text(), vec![n; 100]);
    }
    let gone = |event: &Event| matches!(event, Event::Disconnected(_)).then_some(());
    bad.until(LIMIT, gone).await.unwrap();
    let id = bad.id.to_string();
    until(&ours, |peers| {
        peers
            .iter()
            .any(|peer| peer.id == id && !peer.connected && peer.reasons[0].starts_with("turned away"))
    })
    .await;
    let said = submission(Operator(2), service(), b"good");
    good.publish(&service_text(), said.clone());
    assert_eq!(ours.receives(1).await, [said]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sends_on_the_junk_of_another_is_not_blamed_and_its_own_word_counts() {
    let (hub, relay_at) = ("/ip4/127.0.89.2/tcp/19401", "/ip4/127.0.89.2/tcp/19402");
    let ours = Side::start(settings(hub, &[])).await;
    let mut relay = node(relay_at, &[hub]).await;
    let bad = node("/ip4/127.0.89.2/tcp/19403", &[relay_at]).await;
    until(&ours, |peers| peers.iter().any(|peer| !peer.topics.is_empty())).await;
    for n in 0..2_000_u32 {
        bad.publish_only(&service_text(), n.to_be_bytes().repeat(16));
    }
    // The relay has heard some of it, and sends it on without looking.
    let heard = |event: &Event| matches!(event, Event::Gossiped(..)).then_some(());
    for _ in 0..500 {
        relay.until(LIMIT, heard).await.unwrap();
    }
    let said = submission(Operator(2), service(), b"own word");
    relay.publish(&service_text(), said.clone());
    assert_eq!(ours.receives(1).await, [said]);
    let id = relay.id.to_string();
    until(&ours, |peers| {
        peers
            .iter()
            .any(|peer| peer.id == id && peer.connected && peer.score >= 0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throwaway_keys_fill_nothing() {
    let hub = "/ip4/127.0.89.3/tcp/19401";
    let ours = Side::start(settings(hub, &[])).await;
    let bad = node("/ip4/127.0.89.3/tcp/19402", &[hub]).await;
    for key in 10..200_u8 {
        bad.publish_only(&service_text(), submission(Operator(key), service(), &[key]));
    }
    let said = submission(Operator(2), service(), b"member");
    bad.publish_only(&service_text(), said.clone());
    assert_eq!(ours.receives(1).await, [said]);
    assert!(
        ours.bridge.unknown().borrow().len() <= 64,
        "who is asked about is bounded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_cannot_listen_tries_again_and_finds_the_state_in_force() {
    let at = "127.0.89.4:19401";
    let taken = std::net::TcpListener::bind(at).unwrap();
    let ours = Side::start(settings("/ip4/127.0.89.4/tcp/19401", &[])).await;
    let own = ours.publish(b"meanwhile").await;
    let mut theirs = node("/ip4/127.0.89.4/tcp/19402", &[]).await;
    drop(taken);
    // It dials once, so it has to find the bridge listening.
    let mut polls = tokio::time::interval(Duration::from_millis(50));
    let listening = async {
        while std::net::TcpStream::connect(at).is_err() {
            polls.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, listening)
        .await
        .expect("the bridge did not start again");
    drop(theirs);
    theirs = node("/ip4/127.0.89.4/tcp/19403", &["/ip4/127.0.89.4/tcp/19401"]).await;
    let said = |event: &Event| match event {
        Event::Answered(_, _, said) if !said.is_empty() => Some(said.clone()),
        _ => None,
    };
    let said = theirs.until(LIMIT, said).await.unwrap();
    assert_eq!(said, [String::from_utf8(own).unwrap()]);
}
