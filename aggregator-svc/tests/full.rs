//! A service with as many open events as it may have waits, also over a restart; others go on, and so does it when some have ended.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::trigger::action;
use support::{Running, World};
use wavs_ipc::contract::records::Records as _;
use wavs_ipc::contract::registry::{InjectionProgress, Registry as _, ServiceSummary};
use wavs_ipc::{Context, ErrorCode, WireError};
use wavs_types::ServiceId;

const OTHER: &str = "0x2222222222222222222222222222222222222222";
const CAP: u64 = 4;
const TRIGGERS: u32 = 10;

async fn summary(node: &Running, service: ServiceId) -> ServiceSummary {
    let registry = node.node.service.clone();
    registry.service(Context::current(), service).await.unwrap().summary
}

async fn injection(node: &Running, id: u128) -> InjectionProgress {
    let registry = node.node.service.clone();
    registry.injection(Context::current(), id, 0).await.unwrap()
}

/// Waits until the service is full and as many of its jobs as may be are past their runs.
async fn full(node: &Running, service: ServiceId) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let progress = injection(node, 1).await;
        let seen = summary(node, service).await;
        assert!(u64::from(progress.done) <= CAP, "a run began beyond the cap");
        if seen.state == "degraded" && progress.received == TRIGGERS && u64::from(progress.done) == CAP {
            assert!(seen.reason.unwrap().contains("max_open_events"));
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{progress:?} {seen:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_service_waits_while_others_go_on_and_goes_on_when_events_have_ended() {
    let mut world = World::new();
    world.max_open_events = CAP;
    world.trigger.publish(OTHER, support::document(OTHER, "active"));
    let released = Arc::new(AtomicBool::new(false));
    let release = Arc::clone(&released);
    world.engine.on_aggregator(move |_| {
        if released.load(Ordering::SeqCst) {
            Ok(Ok(vec![]))
        } else {
            // Nothing decides about the events, so they stay open.
            Err(WireError::backoff(ErrorCode::Busy, "not now"))
        }
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap().service_id;
    let other = node.add(OTHER).await.unwrap().service_id;
    for number in 0..TRIGGERS {
        let action = action(service, "submit", &number.to_be_bytes());
        world.trigger.fire(&format!("manual/1/{number}"), &action, Some(1));
    }
    full(&node, service).await;
    let waiting = node.node.records.clone();
    let waiting = waiting.progress(Context::current(), service).await.unwrap();
    assert_eq!((waiting.pending, waiting.held), (0, u64::from(TRIGGERS) - CAP));

    // Another service is not concerned, nor is a trigger that comes later.
    for number in 0..3_u8 {
        let action = action(other, "submit", &[number]);
        world.trigger.fire(&format!("manual/2/{number}"), &action, Some(2));
    }
    assert_eq!(node.injected(2, 3).await.failed, 0);
    assert_eq!(summary(&node, other).await.state, "active");

    // A restart counts anew, and finds it as full as it was.
    node.stop().await;
    let node = world.start().await;
    full(&node, service).await;

    release.store(true, Ordering::SeqCst);
    assert_eq!(node.injected(1, TRIGGERS).await.failed, 0);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while summary(&node, service).await.state != "active" {
        assert!(tokio::time::Instant::now() < deadline, "the service stays full");
        tokio::task::yield_now().await;
    }
    let mut sources: Vec<_> = world
        .engine
        .runs()
        .iter()
        .map(|run| run.action.text().to_vec())
        .collect();
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(sources.len(), world.engine.runs().len(), "no job ran twice");
    node.stop().await;
}
