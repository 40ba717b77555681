//! What becomes of components that engine-svc dies of, over scripted processes behind real sockets.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::engine::response;
use support::trigger::action;
use support::{Running, World, document, eventually, manager};
use wavs_ipc::contract::job::Response;
use wavs_ipc::contract::records::{DeadLetter, DeadLetterQuery, Records as _};
use wavs_ipc::contract::registry::{JobView, Registry as _, ServiceSummary};
use wavs_ipc::{Context, ErrorCode, WireError};

const OTHER: &str = "0x2222222222222222222222222222222222222222";
/// The operator component of all workflows.
const COMPONENT: &str = "abababababababababababababababababababababababababababababababab";
/// Another component.
const MENDED: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

fn death<T>() -> Result<T, WireError> {
    Err(WireError::ambiguous(ErrorCode::Transport, "the connection broke"))
}

async fn service(node: &Running, address: &str) -> ServiceSummary {
    let all = node.node.service.clone().services(Context::current()).await.unwrap();
    all.into_iter()
        .find(|service| service.manager == manager(address))
        .unwrap()
}

async fn job(node: &Running, source: &str) -> Option<JobView> {
    node.jobs().await.into_iter().find(|job| job.source_key == source)
}

async fn dead_letters(node: &Running) -> Vec<DeadLetter> {
    let query = DeadLetterQuery {
        max: 10,
        ..DeadLetterQuery::default()
    };
    let records = node.node.records.clone();
    records.dead_letters(Context::current(), query).await.unwrap()
}

/// Two jobs of `workflow`: engine-svc dies of the first three times, the last of which is put down to the component, and then of
/// the second, which runs by itself from the start, two times.
async fn kill(world: &World, node: &Running, service: &ServiceSummary, workflow: &str) {
    for number in 1..=2_u8 {
        let source = format!("evm:31337/0x0{number}/0");
        let fired = action(service.service_id, workflow, &[number]);
        world.trigger.fire(&source, &fired, None);
        eventually(async || match number {
            1 => dead_letters(node).await.len() == 1,
            _ => {
                let reason = self::service(node, support::ADDRESS).await.reason;
                reason.is_some_and(|reason| reason.contains("is quarantined"))
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_component_of_which_engine_svc_dies_is_not_run_until_the_operator_says_so() {
    let world = World::new();
    let deadly = Arc::new(AtomicBool::new(true));
    let script = Arc::clone(&deadly);
    world.engine.on_operator(move |_, _| {
        if script.load(Ordering::SeqCst) {
            return death();
        }
        Ok(Ok(vec![response(b"fine")]))
    });
    let node = world.start().await;
    let added = node.add(support::ADDRESS).await.unwrap();
    kill(&world, &node, &added, "silent").await;
    assert_eq!(world.engine.runs().len(), 5);

    // The next job waits, also over a restart, and does not reach engine-svc.
    let next = action(added.service_id, "silent", b"next");
    world.trigger.fire("evm:31337/0x0a/0", &next, None);
    eventually(async || {
        let waits = job(&node, "evm:31337/0x0a/0").await;
        waits.is_some_and(|job| job.error.is_some_and(|error| error.contains("quarantined")))
    })
    .await;
    let found = service(&node, support::ADDRESS).await;
    assert_eq!(found.state, "degraded");
    let reason = found.reason.unwrap();
    assert!(
        reason.contains(COMPONENT) && reason.contains("wavs-cli service resume"),
        "{reason}"
    );
    let records = node.node.records.clone();
    let history = records
        .history(Context::current(), added.service_id, None, 10)
        .await
        .unwrap();
    assert!(
        history.iter().any(|entry| entry.what == "component-quarantined"),
        "{history:?}"
    );
    node.stop().await;
    let node = world.start().await;
    assert_eq!(service(&node, support::ADDRESS).await.state, "degraded");
    assert_eq!(world.engine.runs().len(), 5);

    // The operator has seen to it. The second job goes on as well.
    deadly.store(false, Ordering::SeqCst);
    let resumed = node
        .node
        .service
        .clone()
        .pause_service(Context::current(), added.service_id, None, String::new())
        .await
        .unwrap();
    assert_eq!((resumed.state.as_str(), resumed.reason), ("active", None));
    eventually(async || {
        job(&node, "evm:31337/0x0a/0")
            .await
            .is_some_and(|job| job.state == "executed")
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn another_service_goes_on_and_a_document_with_another_component_ends_the_quarantine() {
    let world = World::new();
    let text = String::from_utf8(document(OTHER, "active")).unwrap();
    world.trigger.publish(OTHER, text.into_bytes());
    let node = world.start().await;
    let added = node.add(support::ADDRESS).await.unwrap();
    let other = node.add(OTHER).await.unwrap();
    let deadly = added.service_id.to_string();
    world.engine.on_operator(move |_, job| {
        let run = &job.context;
        let document = String::from_utf8_lossy(run.service.text()).into_owned();
        if run.service_id.to_string() == deadly && document.contains(COMPONENT) {
            return death();
        }
        Ok(Ok(vec![response(b"fine")]))
    });
    kill(&world, &node, &added, "silent").await;
    assert_eq!(service(&node, support::ADDRESS).await.state, "degraded");
    assert_eq!(service(&node, OTHER).await.state, "active");
    world
        .trigger
        .fire("evm:31337/0x0b/0", &action(other.service_id, "silent", b"x"), None);
    eventually(async || {
        job(&node, "evm:31337/0x0b/0")
            .await
            .is_some_and(|job| job.state == "executed")
    })
    .await;

    let text = String::from_utf8(document(support::ADDRESS, "active")).unwrap();
    world
        .trigger
        .publish(support::ADDRESS, text.replace(COMPONENT, MENDED).into_bytes());
    let service = node.node.service.clone();
    let updated = service
        .refresh_service(Context::current(), added.service_id)
        .await
        .unwrap();
    assert_eq!((updated.state.as_str(), updated.reason), ("active", None));
    world
        .trigger
        .fire("evm:31337/0x0c/0", &action(added.service_id, "silent", b"x"), None);
    eventually(async || {
        job(&node, "evm:31337/0x0c/0")
            .await
            .is_some_and(|job| job.state == "executed")
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn an_aggregator_component_that_engine_svc_dies_of_costs_its_events_and_is_quarantined_too() {
    let world = World::new();
    let text = String::from_utf8(document(support::ADDRESS, "active")).unwrap();
    let place = text.find(r#""aggregator":"#).unwrap();
    let (before, after) = text.split_at(place);
    let text = format!("{before}{}", after.replacen(COMPONENT, MENDED, 1));
    world.trigger.publish(support::ADDRESS, text.into_bytes());
    world.engine.on_aggregator(|_| death());
    let node = world.start().await;
    let added = node.add(support::ADDRESS).await.unwrap();
    world.engine.on_operator(|number, _| {
        let text = format!("result {number}");
        Ok(Ok(vec![Response {
            payload: text.into_bytes(),
            ordering: None,
            event_id_salt: None,
        }]))
    });
    kill(&world, &node, &added, "submit").await;
    let letters = dead_letters(&node).await;
    assert!(
        letters.iter().all(|letter| letter.reason == "quarantined"),
        "{letters:?}"
    );
    assert_eq!(world.engine.aggregator_runs().len(), 5);
    let reason = service(&node, support::ADDRESS).await.reason.unwrap();
    assert!(reason.contains(MENDED) && !reason.contains(COMPONENT), "{reason}");

    // What the operator component would give could not go on, so that it does not run either. The other workflow does.
    let runs = world.engine.runs().len();
    world
        .trigger
        .fire("evm:31337/0x0d/0", &action(added.service_id, "submit", b"x"), None);
    eventually(async || {
        let waits = job(&node, "evm:31337/0x0d/0").await;
        waits.is_some_and(|job| job.error.is_some_and(|error| error.contains("quarantined")))
    })
    .await;
    world
        .trigger
        .fire("evm:31337/0x0e/0", &action(added.service_id, "silent", b"x"), None);
    eventually(async || {
        job(&node, "evm:31337/0x0e/0")
            .await
            .is_some_and(|job| job.state == "executed")
    })
    .await;
    assert_eq!(
        (world.engine.runs().len(), world.engine.aggregator_runs().len()),
        (runs + 1, 5)
    );
    node.stop().await;
}

#[tokio::test]
async fn the_last_trial_of_a_job_runs_beside_no_suspect_of_another_service() {
    let world = World::new();
    world.trigger.publish(OTHER, document(OTHER, "active"));
    let engine = world.engine.clone();
    world.engine.on_operator(move |number, _| match number {
        1..=4 => death(),
        _ => {
            assert_eq!(engine.runs().len(), number, "another suspect runs beside this one");
            Ok(Ok(vec![]))
        }
    });
    let node = world.start().await;
    world.engine.close();
    for (address, source) in [(support::ADDRESS, "manual/1/0"), (OTHER, "manual/1/1")] {
        let added = node.add(address).await.unwrap();
        world
            .trigger
            .fire(source, &action(added.service_id, "silent", b"x"), Some(1));
    }
    let prepared = world.engine.prefetched().len();
    // The first runs, and the first trials, of both share a death.
    for round in 1..=2 {
        world.engine.began(2 * round).await;
        world.engine.admit(2);
    }
    // Two loads for the first trials, and one for the last trial that has its turn.
    world.engine.began(5).await;
    eventually(async || world.engine.prefetched().len() == prepared + 3).await;
    world.engine.admit(1);
    world.engine.began(6).await;
    world.engine.admit(1);
    let progress = node.injected(1, 2).await;
    assert_eq!(progress.first_error, None);
    node.stop().await;
}
