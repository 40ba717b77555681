//! The two modes that an operator may give a service: runs that follow from their input alone, and key-value writes that
//! are committed with the run.

mod support;

use serde_json::json;
use support::{Fixture, Job};
use wavs_ipc::contract::engine_admin::EngineAdmin;
use wavs_ipc::tarpc::context;
use wavs_ipc::{ErrorCode, Retry};
use wavs_types::ComponentDigest;

#[tokio::test]
async fn a_deterministic_run_sees_the_same_chance_and_time_each_time() {
    // Two nodes: nothing of it comes from the machine.
    let (here, there) = (Fixture::new(), Fixture::new());
    let guest = here.guest("hostile").await;
    there.guest("hostile").await;
    let dice = |n: u128| Job::new(guest, "dice").run(n, 1);
    let first = here.text(&dice(1).deterministic()).await;
    assert_eq!(here.text(&dice(2).deterministic()).await, first);
    assert_eq!(there.text(&dice(3).deterministic()).await, first);
    assert!(first.contains("wall 0.0") && first.contains("monotonic 0 "), "{first}");
    // Another event, another sequence.
    let other = here.text(&Job::new(guest, "dice:again").deterministic()).await;
    assert_ne!(first.split(" wall").next(), other.split(" wall").next());
    // Without the mode it is chance.
    assert_ne!(here.text(&dice(5)).await, here.text(&dice(6)).await);
}

#[tokio::test]
async fn a_deterministic_guest_may_sleep_and_wait_for_a_time() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    for kind in ["async", "sync", "hotloop"] {
        let job = Job::new(echo, "slept")
            .config("sleep-kind", kind)
            .config("sleep-ms", "20")
            .deterministic();
        let outcome = fixture.run(&job).await.unwrap();
        assert_eq!(outcome.result.unwrap()[0].payload, b"slept", "{kind}");
        // Fuel is the limit that counts, so it is counted, and is the same for each repeat.
        let again = fixture.run(&job).await.unwrap();
        assert_eq!(
            (outcome.usage.fuel.is_some(), outcome.usage.fuel),
            (true, again.usage.fuel),
            "{kind}"
        );
    }
    let endless = Job::new(echo, "do:loop")
        .limit("fuel_limit", 50_000_000)
        .deterministic();
    let failure = fixture.failure(&endless).await;
    assert!(failure.detail.contains("Max fuel consumed"), "{failure:?}");
}

/// A request to the key-value guest.
fn request(guest: ComponentDigest, request: &serde_json::Value) -> Job {
    Job::new(guest, &request.to_string()).transactional()
}

async fn stored(fixture: &Fixture, job: &Job, bucket: &str, key: &str) -> Option<Vec<u8>> {
    let node = fixture.node.clone();
    let found = node
        .read_kv(context::current(), job.service_id(), bucket.into(), key.into())
        .await;
    found.unwrap().map(|value| value.0)
}

#[tokio::test]
async fn writes_are_kept_with_the_success_of_the_run_alone() {
    let fixture = Fixture::new();
    let guest = fixture.guest("kv").await;
    let write =
        |n: u128, value: u8| request(guest, &json!({"write": {"bucket": "b", "key": "k", "value": [value]}})).run(n, 1);
    fixture.payload(&write(1, 1)).await;
    assert_eq!(stored(&fixture, &write(1, 1), "b", "k").await, Some(vec![1]));
    // A run that writes and then panics leaves nothing behind; without the mode what it wrote stays.
    let failing = Job::new(fixture.guest("hostile").await, "kv-and-panic:1").run(2, 1);
    for (job, stays) in [(failing.clone().transactional(), false), (failing, true)] {
        assert!(fixture.failure(&job).await.detail.contains("trapped"));
        let left = stored(&fixture, &job, "flood", "0").await;
        assert_eq!(left.is_some(), stays);
    }
}

#[tokio::test]
async fn a_repeat_of_a_run_that_was_committed_gets_its_result_and_does_nothing() {
    let fixture = Fixture::new();
    let guest = fixture.guest("kv").await;
    let add = |job: u128, attempt: u32| {
        let add = json!({"atomic_increment": {"bucket": "b", "key": "n", "delta": 1}});
        request(guest, &add).run(job, attempt)
    };
    let first = fixture.payload(&add(1, 1)).await;
    // As after a death between the commit and the answer.
    let fixture = fixture.restart();
    assert_eq!(fixture.payload(&add(1, 2)).await, first);
    let second = fixture.payload(&add(2, 1)).await;
    assert_ne!(second, first);
    assert!(
        String::from_utf8_lossy(&second).contains("\"value\":2"),
        "{}",
        String::from_utf8_lossy(&second)
    );
}

#[tokio::test]
async fn runs_that_cross_each_other_are_repeated_and_lose_nothing() {
    let fixture = Fixture::new();
    let guest = fixture.guest("kv").await;
    let add = |job: u128| {
        let add = json!({"atomic_increment": {"bucket": "b", "key": "n", "delta": 1}});
        request(guest, &add).run(job, 1)
    };
    let runs = (0..24_u128).map(|job| {
        let fixture = &fixture;
        async move {
            // The caller's part: what was not started is tried again.
            loop {
                match fixture.run(&add(job)).await {
                    Ok(outcome) => return outcome.result.map(drop),
                    Err(cause) => assert_eq!((cause.code, cause.retry), (ErrorCode::Busy, Retry::Backoff), "{cause}"),
                }
            }
        }
    });
    assert!(futures::future::join_all(runs).await.into_iter().all(|end| end.is_ok()));
    let last = fixture.payload(&add(100)).await;
    assert!(
        String::from_utf8_lossy(&last).contains("\"value\":25"),
        "{}",
        String::from_utf8_lossy(&last)
    );
}
