use std::collections::HashSet;

use wavs_ipc::contract::gossip::InboxCursor;
use wavs_types::{EventId, RecordBody};

use super::*;
use crate::testing::{Operator, service};

const NOW: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600_000;

async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("p2p.db")).await.unwrap();
    (dir, store)
}

fn window(have: HashSet<[u8; SHORT_ID]>, max: usize) -> Window {
    Window {
        service: service(),
        from_ms: 0,
        to_ms: u64::MAX,
        have,
        max,
    }
}

#[tokio::test]
async fn the_inbox_has_each_record_of_others_once_and_survives_a_restart() {
    let (dir, store) = store().await;
    let one = Operator(1).attest(1, 1, NOW);
    store
        .publish(Operator(9).attest(1, 1, NOW), b"body".to_vec(), NOW, HOUR)
        .await
        .unwrap();
    assert_eq!(
        store
            .receive(vec![(one.clone(), HOUR), (one.clone(), HOUR)], NOW)
            .await
            .unwrap(),
        1
    );
    let id = store.id();
    drop(store);
    let store = Store::open(&dir.path().join("p2p.db")).await.unwrap();
    assert_eq!(store.id(), id);
    let items = store.inbox(InboxCursor::default(), 10).await.unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].record, one.encoded());
    let after = InboxCursor {
        store: id,
        seq: items[0].seq,
    };
    assert!(store.inbox(after, 10).await.unwrap().is_empty());
    // A cursor into a lost store starts over.
    let foreign = InboxCursor { store: id ^ 1, seq: 99 };
    assert_eq!(store.inbox(foreign, 10).await.unwrap().len(), 1);
    assert_eq!(store.body(RecordBody::digest(b"body")).await.unwrap().unwrap(), b"body");
}

#[tokio::test]
async fn what_is_retired_is_gone_and_does_not_come_back() {
    let (_dir, store) = store().await;
    let record = Operator(1).attest(1, 1, NOW);
    let event: EventId = record.record().event_id().unwrap();
    store
        .publish(Operator(9).attest(1, 1, NOW), b"body".to_vec(), NOW, HOUR)
        .await
        .unwrap();
    store.receive(vec![(record.clone(), HOUR)], NOW).await.unwrap();
    store.retire(service(), vec![event], NOW + HOUR).await.unwrap();
    assert_eq!(store.receive(vec![(record, HOUR)], NOW).await.unwrap(), 0);
    assert!(store.missing(window(HashSet::new(), 10)).await.unwrap().0.is_empty());
    assert!(store.body(RecordBody::digest(b"body")).await.unwrap().is_none());
    assert_eq!(store.retired().await.unwrap(), [(service(), event)]);
    store.sweep(NOW + 2 * HOUR).await.unwrap();
    assert!(store.retired().await.unwrap().is_empty());
}

#[tokio::test]
async fn two_stores_find_what_one_of_them_misses() {
    let (_dir, store) = store().await;
    let records: Vec<_> = (0..10)
        .map(|event| Operator(1).attest(event, 1, NOW + u64::from(event)))
        .collect();
    let all = records.iter().map(|record| (record.clone(), HOUR)).collect();
    store.receive(all, NOW).await.unwrap();
    let held = store.held(service(), u64::MAX, 4).await.unwrap();
    assert_eq!(held.short_ids.len(), 4 * SHORT_ID);
    assert_eq!(held.from_ms, NOW + 6);
    let have: HashSet<_> = held.short_ids.as_chunks().0.iter().copied().collect();
    let (missing, more) = store.missing(window(have, 4)).await.unwrap();
    assert!(more);
    let newest: Vec<_> = records[2..6]
        .iter()
        .rev()
        .map(|record| record.encoded().to_vec())
        .collect();
    assert_eq!(missing, newest);
}

#[tokio::test]
async fn an_author_displaces_only_what_is_its_own_and_was_taken_over() {
    let (_dir, store) = store().await;
    let quiet = Operator(2).attest(1, 1, NOW);
    store.receive(vec![(quiet.clone(), HOUR)], NOW).await.unwrap();
    let loud: Vec<_> = (0..2_048)
        .map(|event| (Operator(1).attest(event, 1, NOW), HOUR))
        .collect();
    assert_eq!(store.receive(loud, NOW).await.unwrap(), 2_048);
    let further = Operator(1).attest(9_999, 1, NOW);
    assert_eq!(
        store.receive(vec![(further.clone(), HOUR)], NOW).await.unwrap(),
        0,
        "nothing was taken over yet"
    );
    let upto = InboxCursor {
        store: store.id(),
        seq: 100,
    };
    store.ack(upto).await.unwrap();
    assert_eq!(store.receive(vec![(further, HOUR)], NOW).await.unwrap(), 1);
    let first = store.inbox(InboxCursor::default(), 1).await.unwrap();
    assert_eq!(first[0].record, quiet.encoded());
}

#[tokio::test]
async fn of_the_hellos_of_an_author_the_newest_stays() {
    let (_dir, store) = store().await;
    let keys = libp2p::identity::Keypair::generate_ed25519();
    let hello = Operator(1).hello(&keys);
    assert_eq!(store.receive(vec![(hello.clone(), HOUR)], NOW).await.unwrap(), 1);
    assert_eq!(store.receive(vec![(hello, HOUR)], NOW).await.unwrap(), 0);
    assert_eq!(store.inbox(InboxCursor::default(), 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn met_peers_are_remembered() {
    let (_dir, store) = store().await;
    let known = KnownPeer {
        peer: libp2p::PeerId::random(),
        address: "/ip4/127.0.0.1/tcp/1".parse().unwrap(),
    };
    store.met(known.clone(), NOW).await.unwrap();
    store.met(known.clone(), NOW + 1).await.unwrap();
    assert_eq!(store.known_peers().await.unwrap(), [known]);
}
