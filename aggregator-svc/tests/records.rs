//! What is on record about the work, and failures that are repaired, over scripted processes behind real sockets.

#![allow(missing_docs)]

mod support;

use support::engine::response;
use support::trigger::action;
use support::{Running, World};
use wavs_ipc::contract::engine::{Action, AggregatorCall};
use wavs_ipc::contract::job::{GuestError, GuestErrorClass};
use wavs_ipc::contract::records::{
    DeadLetter, DeadLetterQuery, ExecutionQuery, ExecutionView, GuestKind, HistoryEntry, QuorumQuery, Records as _,
    RetryDeadLetters, ServiceProgress, Stage,
};
use wavs_ipc::contract::registry::{PauseMode, Registry as _};
use wavs_ipc::{Context, ErrorCode, WireError};
use wavs_types::ServiceId;

fn fault(text: &str) -> GuestError {
    GuestError {
        class: GuestErrorClass::Fault,
        detail: text.to_owned(),
    }
}

async fn letters(node: &Running) -> Vec<DeadLetter> {
    let query = DeadLetterQuery {
        max: 100,
        ..DeadLetterQuery::default()
    };
    let records = node.node.records.clone();
    records.dead_letters(Context::current(), query).await.unwrap()
}

async fn retry(node: &Running, request: RetryDeadLetters) -> Result<u32, WireError> {
    let request = RetryDeadLetters { max: 100, ..request };
    let records = node.node.records.clone();
    records.retry_dead_letters(Context::current(), request).await
}

async fn executions(node: &Running, query: ExecutionQuery) -> Vec<ExecutionView> {
    let query = ExecutionQuery { max: 100, ..query };
    let records = node.node.records.clone();
    records.executions(Context::current(), query).await.unwrap()
}

async fn history(node: &Running, service: ServiceId) -> Vec<HistoryEntry> {
    let records = node.node.records.clone();
    records.history(Context::current(), service, None, 100).await.unwrap()
}

async fn progress(node: &Running, service: ServiceId) -> ServiceProgress {
    let records = node.node.records.clone();
    records.progress(Context::current(), service).await.unwrap()
}

fn job(job: u128) -> RetryDeadLetters {
    RetryDeadLetters {
        job: Some(job),
        ..RetryDeadLetters::default()
    }
}

#[tokio::test]
async fn a_failed_run_is_recorded_and_goes_on_as_the_same_job_when_it_is_retried() {
    let world = World::new();
    world.engine.on_operator(|_, _| Ok(Err(fault("division by zero"))));
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap().service_id;
    world
        .trigger
        .fire("evm:31337/0x01/0", &action(service, "submit", b"abc"), None);
    let failed = node.job(|job| job.state == "failed").await;

    let found = letters(&node).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].job.job, found[0].stage), (failed.job, Stage::Execute));
    assert_eq!(
        (found[0].reason.as_str(), found[0].detail.as_str()),
        ("guest_fault", "division by zero")
    );
    assert!(found[0].size > 0);
    let runs = executions(&node, ExecutionQuery::default()).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (runs[0].outcome.as_str(), runs[0].error.as_deref(), runs[0].attempt),
        ("guest_fault", Some("division by zero"), 1)
    );

    world.engine.on_operator(|_, _| Ok(Ok(vec![response(b"fixed")])));
    assert_eq!(retry(&node, job(failed.job)).await, Ok(1));
    let done = node.job(|job| job.state == "no_output").await;
    assert_eq!(
        (done.job, done.attempts, done.events.len()),
        (failed.job, 2, 1),
        "the same job, a further attempt"
    );
    assert!(done.timeline.iter().any(|(step, _)| step == "retried"));
    assert_eq!(letters(&node).await, []);
    assert_eq!(
        retry(&node, job(failed.job)).await.unwrap_err().code,
        ErrorCode::NotFound,
        "nothing is retried twice"
    );

    let of_job = ExecutionQuery {
        job: Some(failed.job),
        ..ExecutionQuery::default()
    };
    let runs = executions(&node, of_job).await;
    let calls: Vec<_> = runs
        .iter()
        .map(|run| (run.call.as_str(), run.outcome.as_str(), run.attempt))
        .collect();
    assert_eq!(
        calls,
        [("process-input", "ok", 1), ("run", "ok", 2), ("run", "guest_fault", 1)]
    );
    assert_eq!((runs[1].responses, runs[1].response_bytes), (1, 5));
    let aggregators = ExecutionQuery {
        kind: Some(GuestKind::Aggregator),
        ..ExecutionQuery::default()
    };
    assert_eq!(executions(&node, aggregators).await.len(), 1);

    let check = |progress: ServiceProgress| {
        let workflow = &progress.workflows[0];
        let counters = workflow.counters;
        assert_eq!(workflow.workflow_id.as_str(), "submit");
        assert_eq!(
            (counters.triggers, counters.executions_ok, counters.executions_failed),
            (1, 2, 1)
        );
        assert_eq!((counters.signed, counters.failed, counters.no_output), (1, 1, 1));
        let error = workflow.last_error.as_ref().unwrap();
        assert_eq!((error.stage.as_str(), error.job), ("execute", Some(failed.job)));
        assert_eq!((progress.pending, progress.running, progress.held), (0, 0, 0));
    };
    check(progress(&node, service).await);
    node.stop().await;
    let node = world.start().await;
    check(progress(&node, service).await);
    node.stop().await;
}

#[tokio::test]
async fn an_event_whose_actions_failed_resumes_there_and_is_signed_once() {
    let world = World::new();
    world.engine.on_aggregator(|_| {
        Ok(Err(GuestError {
            class: GuestErrorClass::Limit,
            detail: "Time limit exceeded: 1 s".to_owned(),
        }))
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap().service_id;
    world
        .trigger
        .fire("evm:31337/0x01/0", &action(service, "submit", b"abc"), None);
    let failed = node.job(|job| job.state == "failed").await;
    let found = letters(&node).await.remove(0);
    assert_eq!((found.stage, found.reason.as_str()), (Stage::Aggregate, "limit"));

    world.engine.on_aggregator(|_| Ok(Ok(vec![])));
    let of_stage = |stage| RetryDeadLetters {
        service_id: Some(service),
        stage: Some(stage),
        ..RetryDeadLetters::default()
    };
    assert_eq!(
        retry(&node, of_stage(Stage::Execute)).await,
        Ok(0),
        "the filter leaves others alone"
    );
    assert_eq!(retry(&node, of_stage(Stage::Aggregate)).await, Ok(1));
    let done = node.job(|job| job.state == "no_output").await;
    assert_eq!(done.events[0].digest, failed.events[0].digest);
    assert_eq!(world.engine.runs().len(), 1, "the operator component is not run again");

    let records = node.node.records.clone();
    let query = QuorumQuery {
        state: Some("burned".to_owned()),
        max: 10,
        ..QuorumQuery::default()
    };
    let quorums = records.quorums(Context::current(), query).await.unwrap();
    assert_eq!(quorums.len(), 1);
    assert_eq!(quorums[0].event_id, done.events[0].event_id);
    assert_eq!((quorums[0].buckets.len(), quorums[0].buckets[0].own), (1, true));
    assert_eq!(quorums[0].buckets[0].signers.len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn a_dropped_dead_letter_leaves_the_list_and_a_trace() {
    let world = World::new();
    world.engine.on_operator(|_, _| Ok(Err(fault("no"))));
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap().service_id;
    for number in 0..3_u8 {
        let action = action(service, "silent", &[number]);
        world.trigger.fire(&format!("manual/1/{number}"), &action, Some(1));
    }
    node.injected(1, 3).await;
    let found = letters(&node).await;
    assert_eq!(found.len(), 3);
    assert!(
        found.windows(2).all(|pair| pair[0].job.job > pair[1].job.job),
        "newest first"
    );
    let first = found[0].job.job;
    let records = || node.node.records.clone();
    records().drop_dead_letter(Context::current(), first).await.unwrap();
    assert_eq!(letters(&node).await.len(), 2);
    let again = records().drop_dead_letter(Context::current(), first).await;
    assert_eq!(again.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(retry(&node, job(first)).await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(node.jobs().await.len(), 3, "the job itself stays");

    // Without its service there is nothing to run.
    let manager = support::manager(support::ADDRESS);
    node.node
        .service
        .clone()
        .remove_service(Context::current(), manager, false)
        .await
        .unwrap();
    let orphan = retry(&node, job(found[1].job.job)).await.unwrap_err();
    assert_eq!(orphan.code, ErrorCode::Conflict, "{orphan}");
    let what: Vec<_> = history(&node, service)
        .await
        .into_iter()
        .map(|entry| entry.what)
        .collect();
    assert_eq!(what, ["deleted", "dead-letter-dropped", "added"]);
    node.stop().await;
}

#[tokio::test]
async fn a_held_service_keeps_its_triggers_and_a_dropped_one_counts_them() {
    let world = World::new();
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap().service_id;
    let pause = async |node: &Running, mode| {
        let registry = node.node.service.clone();
        registry
            .pause_service(Context::current(), service, mode, String::new())
            .await
            .unwrap()
    };
    pause(&node, Some(PauseMode::Hold)).await;
    for number in 0..3_u8 {
        let action = action(service, "silent", &[number]);
        world.trigger.fire(&format!("evm:31337/0x0{number}/0"), &action, None);
    }
    node.job(|job| job.source_key.contains("0x02")).await;
    let waiting = progress(&node, service).await;
    assert_eq!((waiting.pending, waiting.held), (0, 3));
    // They wait over a restart too.
    node.stop().await;
    let node = world.start().await;
    assert_eq!(progress(&node, service).await.held, 3);
    assert_eq!(world.engine.runs().len(), 0);
    pause(&node, None).await;
    node.job(|job| job.source_key.contains("0x02") && job.state == "executed")
        .await;

    pause(&node, Some(PauseMode::Drop)).await;
    world
        .trigger
        .fire("evm:31337/0x09/0", &action(service, "silent", &[9]), None);
    node.job(|job| job.state == "skipped").await;
    let counters = progress(&node, service).await.workflows[0].counters;
    assert_eq!((counters.triggers, counters.triggers_dropped), (4, 1));
    node.stop().await;
}

#[tokio::test]
async fn a_target_that_is_retried_tells_its_new_end_too() {
    let world = World::new();
    world.engine.on_aggregator(|job| {
        Ok(Ok(match &job.call {
            AggregatorCall::ProcessInput => vec![Action::SubmitEvm {
                chain: "evm:404".parse().unwrap(),
                address: [7; 20],
                gas_price: None,
            }],
            _ => vec![],
        }))
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap().service_id;
    world
        .trigger
        .fire("manual/1/0", &action(service, "submit", b"1"), Some(1));
    let told = async |times: usize| {
        let is_callback = |call: &AggregatorCall| matches!(call, AggregatorCall::Submitted(Err(_)));
        let count = || {
            world
                .engine
                .aggregator_runs()
                .iter()
                .filter(|run| is_callback(&run.call))
                .count()
        };
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while count() < times {
            assert!(tokio::time::Instant::now() < deadline, "the callback did not come");
            tokio::task::yield_now().await;
        }
    };
    let failed = node.job(|job| job.state == "failed").await;
    told(1).await;
    let found = letters(&node).await.remove(0);
    assert_eq!((found.stage, found.reason.as_str()), (Stage::Submit, "unknown_chain"));

    assert_eq!(retry(&node, job(failed.job)).await, Ok(1));
    told(2).await;
    let again = node.job(|job| job.state == "failed").await;
    assert_eq!(again.events[0].digest, failed.events[0].digest);
    assert_eq!(again.events[0].targets.len(), 1, "the target is the same one");
    assert_eq!(letters(&node).await.len(), 1);
    assert_eq!(world.engine.runs().len(), 1);
    node.stop().await;
}
