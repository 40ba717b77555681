//! The key-value store and the files of guests.

mod support;

use serde_json::{Value, json};
use support::{Fixture, Job};
use wavs_ipc::contract::engine_admin::{EngineAdmin, KvValue};
use wavs_ipc::tarpc::context;
use wavs_types::ComponentDigest;

async fn ask(fixture: &Fixture, kv: ComponentDigest, service: u8, request: Value) -> Result<Value, String> {
    reply(fixture, &Job::new(kv, &request.to_string()).service(service)).await
}

async fn reply(fixture: &Fixture, job: &Job) -> Result<Value, String> {
    let outcome = fixture.run(job).await.unwrap();
    let responses = outcome.result.map_err(|error| error.detail)?;
    // abi.encode(struct {uint64 triggerId; bytes data}): offset, id, offset, length, data.
    let payload = &responses[0].payload;
    let length = usize::try_from(u64::from_be_bytes(payload[120..128].try_into().unwrap())).unwrap();
    Ok(serde_json::from_slice(&payload[128..128 + length]).unwrap())
}

#[tokio::test]
async fn every_operation_of_the_store_works_and_survives_a_restart() {
    let mut fixture = Fixture::new();
    let kv = fixture.guest("kv").await;
    let values = |n: u8| {
        (0..n)
            .map(|n| (format!("k{n:02}"), json!([n])))
            .collect::<serde_json::Map<_, _>>()
    };
    let steps = [
        (
            json!({"write": {"bucket": "b", "key": "k", "value": [1, 2]}}),
            json!("write"),
        ),
        (
            json!({"read": {"bucket": "b", "key": "k"}}),
            json!({"read": {"value": [1, 2]}}),
        ),
        (
            json!({"atomic_increment": {"bucket": "b", "key": "k", "delta": 3}}),
            json!({"atomic_increment": {"value": 3}}),
        ),
        (
            json!({"atomic_swap": {"bucket": "b", "key": "new", "value": [9]}}),
            json!("atomic_swap"),
        ),
        (
            json!({"atomic_read": {"bucket": "b", "key": "new"}}),
            json!({"atomic_read": {"value": [9]}}),
        ),
        (
            json!({"batch_write": {"bucket": "many", "values": values(20)}}),
            json!("batch_write"),
        ),
        (
            json!({"batch_read": {"bucket": "many", "keys": ["k01", "nope"]}}),
            json!({"batch_read": {"values": {"k01": [1]}}}),
        ),
        (
            json!({"batch_delete": {"bucket": "many", "keys": ["k19", "nope"]}}),
            json!("batch_delete"),
        ),
    ];
    for (request, reply) in steps {
        assert_eq!(ask(&fixture, kv, 1, request.clone()).await.unwrap(), reply, "{request}");
    }
    let listed = ask(
        &fixture,
        kv,
        1,
        json!({"list_keys": {"bucket": "many", "cursor": "k05"}}),
    )
    .await
    .unwrap();
    assert_eq!(listed["list_keys"]["keys"].as_array().unwrap().len(), 14);
    assert_eq!(listed["list_keys"]["keys"][0], "k05");

    let Fixture { directory, node, .. } = fixture;
    drop(node);
    fixture = Fixture::reopen(directory, |_| {});
    // The component is still stored as well.
    assert_eq!(
        ask(&fixture, kv, 1, json!({"read": {"bucket": "b", "key": "k"}}))
            .await
            .unwrap(),
        json!({"read": {"value": [1, 2]}})
    );
    assert_eq!(
        ask(
            &fixture,
            kv,
            1,
            json!({"atomic_increment": {"bucket": "b", "key": "k", "delta": 1}})
        )
        .await
        .unwrap(),
        json!({"atomic_increment": {"value": 4}})
    );
    let other = ask(&fixture, kv, 2, json!({"read": {"bucket": "b", "key": "k"}}))
        .await
        .unwrap_err();
    assert!(other.contains("Missing key: k for bucket b"), "{other}");
}

/// A handle to compare and swap with knows the version that it was made or refreshed at, and one that failed leaves a fresh one.
#[tokio::test]
async fn a_swap_fails_after_another_writer_unless_its_handle_was_refreshed() {
    let fixture = Fixture::new();
    let kv = fixture.guest("kv").await;
    let mut number = 100;
    for transactional in [false, true] {
        // The key is new to the store at first, and there from then on.
        for (refresh, failed) in [(false, true), (false, true), (true, false)] {
            let race = json!({"bucket": "b", "key": format!("{transactional}"), "other": [1], "value": [2], "refresh": refresh});
            number += 1;
            let mut job = Job::new(kv, &json!({"atomic_race": race}).to_string())
                .service(1)
                .run(number, 1);
            if transactional {
                job = job.transactional();
            }
            assert_eq!(
                reply(&fixture, &job).await.unwrap(),
                json!({"atomic_race": {"failed": failed, "seen": [1]}}),
                "{race} {transactional}"
            );
            let read = json!({"read": {"bucket": "b", "key": format!("{transactional}")}});
            assert_eq!(
                ask(&fixture, kv, 1, read).await.unwrap(),
                json!({"read": {"value": [2]}})
            );
        }
    }
}

#[tokio::test]
async fn concurrent_runs_lose_no_increment_and_operators_can_read_values() {
    let fixture = Fixture::new();
    let kv = fixture.guest("kv").await;
    let add = || {
        ask(
            &fixture,
            kv,
            1,
            json!({"atomic_increment": {"bucket": "b", "key": "n", "delta": 1}}),
        )
    };
    futures::future::join_all((0..40).map(|_| add())).await;
    assert_eq!(add().await.unwrap(), json!({"atomic_increment": {"value": 41}}));
    ask(
        &fixture,
        kv,
        1,
        json!({"write": {"bucket": "b", "key": "k", "value": [7]}}),
    )
    .await
    .unwrap();
    let read = |key: &str| {
        fixture.node.clone().read_kv(
            context::current(),
            Job::new(kv, "").service(1).service_id(),
            "b".into(),
            key.into(),
        )
    };
    assert_eq!(read("k").await.unwrap(), Some(KvValue(vec![7])));
    assert_eq!(read("n").await.unwrap(), None, "counters are not values");
}

#[tokio::test]
async fn what_exceeds_a_size_is_an_error_to_the_guest_and_not_a_trap() {
    let fixture = Fixture::new();
    let kv = fixture.guest("kv").await;
    let error = ask(
        &fixture,
        kv,
        1,
        json!({"write": {"bucket": "b", "key": "k".repeat(1025), "value": []}}),
    )
    .await
    .unwrap_err();
    assert!(error.contains("the key is longer than 1024 bytes"), "{error}");
}
