//! A service whose jobs cannot run, or take for ever, keeps no other from being served, however many of its triggers wait.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::engine::response;
use support::trigger::action;
use support::{Running, World};
use wavs_ipc::contract::records::{DeadLetterQuery, Records as _, RetryDeadLetters};
use wavs_ipc::{Context, ErrorCode, WireError};
use wavs_types::ServiceId;

const OTHER: &str = "0x2222222222222222222222222222222222222222";
/// More than memory holds: the queue of the tests and one batch.
const TRIGGERS: u32 = 2_500;

fn fire(world: &World, service: ServiceId, injection: u128, count: u32) {
    for number in 0..count {
        let action = action(service, "silent", &number.to_be_bytes());
        world
            .trigger
            .fire(&format!("manual/{injection}/{number}"), &action, Some(injection));
    }
}

async fn add(world: &World, node: &Running, address: &str) -> ServiceId {
    world.trigger.publish(address, support::document(address, "active"));
    node.add(address).await.unwrap().service_id
}

async fn start(world: &World) -> (Running, ServiceId, ServiceId) {
    let node = world.start().await;
    let stuck = add(world, &node, support::ADDRESS).await;
    let other = add(world, &node, OTHER).await;
    (node, stuck, other)
}

#[tokio::test]
async fn a_component_that_cannot_be_fetched_keeps_no_other_service_waiting() {
    let world = World::new();
    let (node, stuck, other) = start(&world).await;
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    world.engine.on_operator(move |_, job| {
        if is_back.load(Ordering::SeqCst) || String::from_utf8_lossy(job.action.text()).contains(&other.to_string()) {
            Ok(Ok(vec![response(b"result")]))
        } else {
            Err(WireError::backoff(ErrorCode::Fetch, "the registry does not answer"))
        }
    });
    fire(&world, stuck, 1, TRIGGERS);
    world.engine.began(1_500).await;
    fire(&world, other, 2, 3);
    assert_eq!(node.injected(2, 3).await.failed, 0);

    back.store(true, Ordering::SeqCst);
    assert_eq!(node.injected(1, TRIGGERS).await.failed, 0);
    node.stop().await;
}

/// Few enough that what waits does not fit: half of it.
const FEW_STORED: &str = "[wavs]\njobs.max_stored = 100\n";

/// Opens as many dead letters of a service as there is room for.
async fn retry(node: &Running, service: ServiceId) -> Result<u32, WireError> {
    let request = RetryDeadLetters {
        service_id: Some(service),
        max: 100,
        ..RetryDeadLetters::default()
    };
    let records = node.node.records.clone();
    records.retry_dead_letters(Context::current(), request).await
}

#[tokio::test]
async fn a_service_that_fills_the_ledger_keeps_no_other_out() {
    let mut world = World::new();
    world.toml = FEW_STORED.to_owned();
    let (node, stuck, other) = start(&world).await;
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    world.engine.on_operator(move |_, job| {
        if is_back.load(Ordering::SeqCst) || String::from_utf8_lossy(job.action.text()).contains(&other.to_string()) {
            Ok(Ok(vec![response(b"result")]))
        } else {
            Err(WireError::backoff(ErrorCode::Fetch, "the registry does not answer"))
        }
    });
    fire(&world, stuck, 1, 400);
    fire(&world, other, 2, 20);
    assert_eq!(node.injected(2, 20).await.failed, 0);
    // All are stored, as many as may wait do, and the rest can be retried as soon as there is room.
    let query = DeadLetterQuery {
        max: 500,
        ..DeadLetterQuery::default()
    };
    let records = node.node.records.clone();
    let letters = records.dead_letters(Context::current(), query).await.unwrap();
    assert!((350..=370).contains(&letters.len()), "{}", letters.len());
    assert!(
        letters
            .iter()
            .all(|letter| letter.reason == "backlog_full" && letter.job.service_id == stuck)
    );
    assert!(node.metrics.render().contains(&format!(
        "wavs_job_dead_letters_total{{reason=\"backlog_full\"}} {}",
        letters.len()
    )));
    while retry(&node, stuck).await.is_ok() {}
    assert_eq!(retry(&node, stuck).await.unwrap_err().code, ErrorCode::Busy);

    back.store(true, Ordering::SeqCst);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while retry(&node, stuck).await != Ok(0) {
        assert!(tokio::time::Instant::now() < deadline, "there is no room for the rest");
    }
    assert_eq!(node.injected(1, 400).await.failed, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_service_alone_is_held_back_and_loses_nothing() {
    let mut world = World::new();
    world.toml = FEW_STORED.to_owned();
    let node = world.start().await;
    let service = add(&world, &node, support::ADDRESS).await;
    world.engine.close();
    fire(&world, service, 1, 400);
    world.engine.began(8).await;
    world.engine.open();
    assert_eq!(node.injected(1, 400).await.failed, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_service_has_no_more_runs_under_way_than_engine_svc_gives_it() {
    let mut world = World::new();
    world.toml = "[wavs]\nengine.max_parallel_per_service = 2\n".to_owned();
    let (node, stuck, other) = start(&world).await;
    world.engine.hold(stuck);
    fire(&world, stuck, 1, 20);
    world.engine.began(2).await;
    fire(&world, other, 2, 20);
    assert_eq!(node.injected(2, 20).await.failed, 0);
    assert_eq!(
        world.engine.runs().len(),
        2 + 20,
        "its other runs wait here, where no deadline meets them"
    );
    node.stop().await;
}

#[tokio::test]
async fn runs_that_never_end_keep_no_other_service_waiting() {
    let world = World::new();
    let (node, stuck, other) = start(&world).await;
    let too = add(&world, &node, "0x3333333333333333333333333333333333333333").await;
    for (injection, service) in [(1, stuck), (3, too)] {
        world.engine.hold(service);
        fire(&world, service, injection, TRIGGERS);
    }
    // 12 of the 16 slots are shared, and each has one beside them.
    world.engine.began(14).await;
    fire(&world, other, 2, 3);
    assert_eq!(node.injected(2, 3).await.failed, 0);
    node.stop().await;
}
