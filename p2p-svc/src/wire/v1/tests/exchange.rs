//! Two-way exchange with nodes of generation 1.

use gen1peer::{Event, Node, NodeConfig};
use wavs_ipc::contract::gossip::{Topic, TopicSet};
use wavs_types::ServiceId;

use super::support::{LIMIT, MEMBERS, OWN, Side, attest, result, service_text, settings, submission};
use crate::aside::Authored as _;
use crate::members::Members;
use crate::network::now_ms;
use crate::testing::{Operator, TTL, service};

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

/// The bytes of the next message that comes by gossip.
async fn gossiped(node: &mut Node) -> Vec<u8> {
    let bytes = |event: &Event| match event {
        Event::Gossiped(_, topic, bytes) => {
            assert_eq!(*topic, gen1peer::topic(&service_text()));
            Some(bytes.clone())
        }
        _ => None,
    };
    node.until(LIMIT, bytes).await.unwrap()
}

/// What the next answer with anything in it says.
async fn answered(node: &mut Node) -> Vec<String> {
    let said = |event: &Event| match event {
        Event::Answered(_, _, said) if !said.is_empty() => Some(said.clone()),
        _ => None,
    };
    node.until(LIMIT, said).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_go_both_ways() {
    let listen = "/ip4/127.0.88.1/tcp/19401";
    let mut theirs = node("/ip4/127.0.88.1/tcp/19402", &[]).await;
    let ours = Side::start(settings(listen, &["/ip4/127.0.88.1/tcp/19402"])).await;
    let expect = ours.publish(b"ours").await;
    assert_eq!(gossiped(&mut theirs).await, expect, "byte for byte");
    let said = submission(Operator(2), service(), b"theirs");
    theirs.publish(&service_text(), said.clone());
    assert_eq!(ours.receives(1).await, [said]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_caught_up_with_both_ways() {
    let listen = "/ip4/127.0.88.2/tcp/19401";
    let ours = Side::start(settings(listen, &[])).await;
    let first = ours.publish(b"first").await;
    let second = ours.publish(b"second").await;
    // It was not there when ours were said, and says its own to nobody.
    let mut theirs = node("/ip4/127.0.88.2/tcp/19402", &[]).await;
    let early = submission(Operator(2), service(), b"early");
    theirs.store(&service_text(), early.clone());
    drop(ours);
    let theirs_at = theirs.address.to_string();
    let ours = Side::start(settings("/ip4/127.0.88.2/tcp/19403", &[&theirs_at])).await;
    assert_eq!(ours.publish(b"first").await, first, "the same bytes at any time");
    ours.publish(b"second").await;
    assert_eq!(ours.receives(1).await, [early]);
    let peer = theirs
        .until(LIMIT, |event| match event {
            Event::Asked(peer, service) => {
                assert_eq!(*service, service_text());
                Some(*peer)
            }
            _ => None,
        })
        .await
        .unwrap();
    theirs.ask(peer, &service_text());
    let said = answered(&mut theirs).await;
    let newest_first = [second, first].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(said, newest_first);
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_may_restart_and_a_new_peer_id_is_no_matter() {
    let (at, theirs_at) = ("/ip4/127.0.88.3/tcp/19401", "/ip4/127.0.88.3/tcp/19402");
    let ours = Side::start(settings(at, &[theirs_at])).await;
    let mut theirs = node(theirs_at, &[]).await;
    let first = ours.publish(b"first").await;
    assert_eq!(gossiped(&mut theirs).await, first);
    drop(theirs);
    let second = ours.publish(b"second").await;
    let mut theirs = again(theirs_at).await;
    // The bridge dials it again, and it asks whoever connects.
    let said = answered(&mut theirs).await;
    assert!(said.contains(&String::from_utf8(second).unwrap()), "{said:?}");
    let third = submission(Operator(3), service(), b"third");
    theirs.publish(&service_text(), third.clone());
    assert_eq!(ours.receives(1).await, [third]);
}

/// A node on an address that its last owner is about to leave.
async fn again(listen: &str) -> Node {
    let mut polls = tokio::time::interval(std::time::Duration::from_millis(50));
    let free = async {
        loop {
            polls.tick().await;
            let config = NodeConfig {
                listen: listen.parse().unwrap(),
                dial: Vec::new(),
                services: vec![service_text()],
                local: false,
            };
            if let Ok(node) = Node::start(config).await {
                return node;
            }
        }
    };
    tokio::time::timeout(LIMIT, free)
        .await
        .expect("the address stays taken")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_submission_by_many_ways_is_one_and_our_own_is_none() {
    let hub = "/ip4/127.0.88.4/tcp/19401";
    let ours = Side::start(settings(hub, &[])).await;
    let one = node("/ip4/127.0.88.4/tcp/19402", &[hub]).await;
    let other = node("/ip4/127.0.88.4/tcp/19403", &[hub]).await;
    let own = ours.publish(b"own").await;
    let said = submission(Operator(2), service(), b"said");
    for node in [&one, &other] {
        node.publish(&service_text(), own.clone());
        node.publish(&service_text(), said.clone());
        node.publish(&service_text(), said.clone());
    }
    // Comes last over the same connections, so whatever was before it has been judged.
    one.publish(&service_text(), submission(Operator(3), service(), b"end"));
    other.publish(&service_text(), submission(Operator(3), service(), b"end of the other"));
    let inbox = ours.receives(3).await;
    assert_eq!(inbox.iter().filter(|one| **one == said).count(), 1);
    assert_eq!(inbox.len(), 3, "{inbox:?}");
    assert!(!inbox.contains(&own));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_asked_about_and_heard_when_it_is_an_operator() {
    let listen = "/ip4/127.0.88.5/tcp/19401";
    let ours = Side::start(settings(listen, &[])).await;
    let theirs = node("/ip4/127.0.88.5/tcp/19402", &[listen]).await;
    let said = submission(Operator(9), service(), b"new");
    theirs.publish(&service_text(), said.clone());
    let mut unknown = ours.bridge.unknown();
    let asked = unknown.wait_for(|unknown| !unknown.is_empty());
    let asked = tokio::time::timeout(LIMIT, asked).await.unwrap().unwrap().clone();
    assert_eq!(asked, [(service(), Operator(9).address())]);
    assert!(ours.inbox().await.is_empty());
    ours.know(&[MEMBERS[0], Operator(9)]);
    assert_eq!(ours.receives(1).await, [said]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_operators_signed_is_sent_on_if_it_is_wanted_and_came_by_another_wire() {
    for (relay, ports) in [(true, [19_401, 19_402]), (false, [19_403, 19_404])] {
        let at = ports.map(|port| format!("/ip4/127.0.88.6/tcp/{port}"));
        let mut theirs = node(&at[1], &[]).await;
        let mut wanted = settings(&at[0], &[&at[1]]);
        wanted.relay = relay;
        let ours = Side::start(wanted).await;
        let (action, response) = result(service(), b"both");
        let (record, _) = attest(Operator(2), &action, &response);
        ours.store.receive(vec![(record, 3_600_000)], now_ms()).await.unwrap();
        // The body comes with our own.
        let own = ours.publish(b"both").await;
        let mut heard = vec![gossiped(&mut theirs).await];
        if relay {
            heard.push(gossiped(&mut theirs).await);
        } else {
            let last = ours.publish(b"last").await;
            assert_eq!(gossiped(&mut theirs).await, last);
        }
        let others = submission(Operator(2), service(), b"both");
        assert_eq!(heard.contains(&others), relay);
        assert!(heard.contains(&own));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_over_is_neither_offered_nor_taken() {
    let listen = "/ip4/127.0.88.7/tcp/19401";
    let ours = Side::start(settings(listen, &[])).await;
    let (action, response) = result(service(), b"over");
    let (record, _) = attest(OWN, &action, &response);
    let event = record.record().event_id().unwrap();
    ours.publish(b"over").await;
    let open = ours.publish(b"open").await;
    ours.bridge.retire(service(), vec![event]);
    ours.store
        .retire(service(), vec![event], now_ms() + 3_600_000)
        .await
        .unwrap();
    let mut theirs = node("/ip4/127.0.88.7/tcp/19402", &[listen]).await;
    assert_eq!(answered(&mut theirs).await, [String::from_utf8(open).unwrap()]);
    theirs.publish(&service_text(), submission(Operator(2), service(), b"over"));
    let last = submission(Operator(2), service(), b"open");
    theirs.publish(&service_text(), last.clone());
    assert_eq!(ours.receives(1).await, [last]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_services_are_caught_up_with() {
    let listen = "/ip4/127.0.88.8/tcp/19401";
    let services: Vec<ServiceId> = (0..100).map(|n| ServiceId::new([n; 32])).collect();
    let theirs = Node::start(NodeConfig {
        listen: listen.parse().unwrap(),
        dial: Vec::new(),
        services: services.iter().map(ToString::to_string).collect(),
        local: true,
    })
    .await
    .unwrap();
    for id in &services {
        theirs.store(&id.to_string(), submission(Operator(2), *id, b"missed"));
    }
    let ours = Side::start(settings("/ip4/127.0.88.8/tcp/19402", &[listen])).await;
    let topic = |service_id: &ServiceId| Topic {
        service_id: *service_id,
        signers: vec![Operator(2).address().into_array()],
        strangers: Vec::new(),
        ttl_secs: TTL.as_secs(),
        hello: Vec::new(),
    };
    let set = TopicSet {
        generation: 1,
        topics: services.iter().map(topic).collect(),
    };
    ours.bridge.sync(Members::read(&set).unwrap());
    let inbox = ours.receives(100).await;
    let found: std::collections::BTreeSet<ServiceId> = inbox
        .iter()
        .map(|text| {
            let value: serde_json::Value = serde_json::from_slice(text).unwrap();
            let id: ServiceId = value["trigger_action"]["config"]["service_id"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            super::super::Heard::read(&id, text).unwrap().service()
        })
        .collect();
    assert_eq!(found.len(), 100);
}
