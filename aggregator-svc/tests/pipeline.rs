//! From a spooled trigger to signed rows, over scripted processes behind real sockets.

#![allow(missing_docs)]

mod support;

use support::World;
use support::engine::response;
use support::trigger::action;
use wavs_ipc::contract::engine::{Action, AggregatorCall};
use wavs_ipc::contract::job::{GuestError, GuestErrorClass};
use wavs_ipc::contract::records::{DeadLetterQuery, Records as _};
use wavs_ipc::{Context, ErrorCode, WireError};
use wavs_types::Envelope;

#[tokio::test]
async fn an_injected_trigger_becomes_a_signed_row() {
    let world = World::new();
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    let action = action(service.service_id, "submit", b"abc");
    world.trigger.fire("manual/1/0", &action, Some(1));

    let progress = node.injected(1, 1).await;
    assert_eq!((progress.done, progress.failed), (1, 0));
    let job = node.job(|job| !job.events.is_empty() && job.state == "no_output").await;
    let event = &job.events[0];
    let expected =
        wavs_types::EventId::for_response(&service.service_id, &action.config.workflow_id, &action.data, None);
    assert_eq!(event.event_id, expected);
    let envelope = Envelope::new(expected, None, b"result".to_vec().into());
    assert_eq!(event.digest, envelope.digest().0);
    let names: Vec<_> = job.timeline.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["seen", "received", "signed", "collecting", "no_output"]);
    assert_eq!(job.attempts, 1);

    // The aggregator component saw exactly what was signed.
    let runs = world.engine.aggregator_runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (runs[0].event_id, &runs[0].call),
        (expected, &AggregatorCall::ProcessInput)
    );
    assert_eq!(runs[0].response.payload, b"result");
    node.stop().await;
}

#[tokio::test]
async fn a_workflow_without_submission_ends_at_executed_and_no_response_at_no_output() {
    let world = World::new();
    world.engine.on_operator(|_, job| {
        let text = String::from_utf8(job.action.text().to_vec()).unwrap();
        Ok(Ok(if text.contains("[1]") {
            vec![]
        } else {
            vec![response(b"x")]
        }))
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    world
        .trigger
        .fire("manual/1/0", &action(service.service_id, "silent", &[0]), Some(1));
    node.injected(1, 1).await;
    assert_eq!(node.jobs().await[0].state, "executed");
    world
        .trigger
        .fire("manual/2/0", &action(service.service_id, "submit", &[1]), Some(2));
    node.injected(2, 1).await;
    assert_eq!(node.jobs().await[0].state, "no_output");
    node.stop().await;
}

#[tokio::test]
async fn an_occurrence_is_one_job_and_injected_copies_are_many_that_share_one_event() {
    let world = World::new();
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    let abc = action(service.service_id, "submit", b"abc");
    for _ in 0..3 {
        world.trigger.fire("evm:31337/0x01/0", &abc, None);
    }
    world.trigger.fire(
        "evm:31337/0x02/0",
        &action(service.service_id, "silent", b"end"),
        Some(9),
    );
    node.injected(9, 1).await;
    assert_eq!(node.jobs().await.len(), 2);

    for copy in 0..20 {
        let copies = action(service.service_id, "submit", b"copies");
        world.trigger.fire(&format!("manual/5/{copy}"), &copies, Some(5));
    }
    let progress = node.injected(5, 20).await;
    assert_eq!(progress.failed, 0);
    let jobs = node.jobs().await;
    let copies: Vec<_> = jobs
        .iter()
        .filter(|job| job.source_key.starts_with("manual/5/"))
        .collect();
    assert_eq!(copies.len(), 20);
    assert!(
        copies
            .iter()
            .all(|job| job.events.len() == 1 && job.events[0].event_id == copies[0].events[0].event_id)
    );
    node.stop().await;
}

#[tokio::test]
async fn a_second_digest_for_an_event_is_refused() {
    let world = World::new();
    world
        .engine
        .on_operator(|number, _| Ok(Ok(vec![response(&[u8::try_from(number).unwrap()])])));
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    let same = action(service.service_id, "submit", b"same");
    world.trigger.fire("manual/1/0", &same, Some(1));
    node.injected(1, 1).await;
    world.trigger.fire("manual/2/0", &same, Some(2));
    let progress = node.injected(2, 1).await;
    assert_eq!(progress.failed, 1);
    let error = progress.first_error.unwrap();
    assert!(error.starts_with("equivocation_refused: "), "{error}");
    node.stop().await;
}

#[tokio::test]
async fn several_responses_need_salts_of_their_own() {
    let world = World::new();
    world.engine.on_operator(|_, _| {
        let salted = |salt: &[u8], payload: &[u8]| wavs_ipc::contract::job::Response {
            event_id_salt: Some(salt.to_vec()),
            ..response(payload)
        };
        Ok(Ok(vec![salted(b"a", b"1"), salted(b"b", b"2"), salted(b"a", b"3")]))
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    world
        .trigger
        .fire("manual/1/0", &action(service.service_id, "submit", b"x"), Some(1));
    node.injected(1, 1).await;
    let job = node.job(|job| job.state == "no_output").await;
    assert_eq!(job.events.len(), 2);
    assert!(
        job.error.as_deref().unwrap().starts_with("duplicate_event_id: "),
        "{job:?}"
    );
    let metrics = node.metrics.render();
    let counted = metrics
        .lines()
        .find(|line| line.starts_with("submission_sign_error_count_total"));
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{counted:?}");
    node.stop().await;
}

#[tokio::test]
async fn what_the_guest_did_wrong_is_final_and_what_engine_svc_did_is_repeated() {
    let world = World::new();
    world.engine.on_operator(|number, _| match number {
        1 => Err(WireError::backoff(ErrorCode::Busy, "no slot")),
        2 => Err(WireError::backoff(ErrorCode::Internal, "disk")),
        3 => Ok(Ok(vec![response(b"fine")])),
        _ => Ok(Err(GuestError {
            class: GuestErrorClass::Limit,
            detail: "Time limit exceeded: 1 s".to_owned(),
        })),
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    world
        .trigger
        .fire("manual/1/0", &action(service.service_id, "silent", b"1"), Some(1));
    node.injected(1, 1).await;
    let job = node.jobs().await.remove(0);
    assert_eq!(
        (job.state.as_str(), job.attempts),
        ("executed", 2),
        "busy is not an attempt"
    );
    world
        .trigger
        .fire("manual/2/0", &action(service.service_id, "silent", b"2"), Some(2));
    let progress = node.injected(2, 1).await;
    assert_eq!(progress.first_error.as_deref(), Some("limit: Time limit exceeded: 1 s"));
    node.stop().await;
}

#[tokio::test]
async fn a_job_that_kills_the_engine_three_times_is_quarantined() {
    let world = World::new();
    world
        .engine
        .on_operator(|_, _| Err(WireError::ambiguous(ErrorCode::Transport, "the connection broke")));
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    world
        .trigger
        .fire("manual/1/0", &action(service.service_id, "silent", b"1"), Some(1));
    let progress = node.injected(1, 1).await;
    assert!(progress.first_error.unwrap().starts_with("quarantined: "));
    let attempts: Vec<_> = world.engine.runs().iter().map(|job| job.context.run.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    let query = DeadLetterQuery {
        max: 10,
        ..DeadLetterQuery::default()
    };
    let records = node.node.records.clone();
    let letters = records.dead_letters(Context::current(), query).await.unwrap();
    assert_eq!((letters.len(), letters[0].deaths), (1, 3));
    node.stop().await;
}

#[tokio::test]
async fn a_job_that_is_cut_off_by_stops_of_the_engine_is_repeated_and_nobody_is_blamed() {
    const STOPS: usize = 5;
    let world = World::new();
    world.engine.on_operator(|number, _| {
        if number <= STOPS {
            return Err(WireError::ambiguous(ErrorCode::Draining, "the process was stopped"));
        }
        Ok(Ok(vec![response(b"fine")]))
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    world
        .trigger
        .fire("manual/1/0", &action(service.service_id, "silent", b"1"), Some(1));
    assert_eq!(node.injected(1, 1).await.first_error, None);
    let job = node.jobs().await.remove(0);
    assert_eq!((job.state.as_str(), job.attempts as usize), ("executed", STOPS + 1));
    node.stop().await;
}

#[tokio::test]
async fn jobs_that_shared_a_death_are_tried_one_by_one() {
    const JOBS: usize = 3;
    let world = World::new();
    let engine = world.engine.clone();
    world.engine.on_operator(move |number, _| {
        if number <= JOBS {
            return Err(WireError::ambiguous(ErrorCode::Transport, "the connection broke"));
        }
        assert_eq!(engine.runs().len(), number, "another suspect runs beside this one");
        Ok(Ok(vec![]))
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    let loaded = world.engine.prefetched().len();
    world.engine.close();
    for number in 0..JOBS {
        let source = format!("manual/1/{number}");
        let data = [u8::try_from(number).unwrap()];
        world
            .trigger
            .fire(&source, &action(service.service_id, "silent", &data), Some(1));
    }
    world.engine.began(JOBS).await;
    world.engine.admit(JOBS);
    for tried in 1..=JOBS {
        world.engine.began(JOBS + tried).await;
        assert_eq!(
            world.engine.prefetched().len(),
            loaded + tried,
            "each is loaded before it runs"
        );
        world.engine.admit(1);
    }
    let progress = node.injected(1, 3).await;
    assert_eq!(progress.first_error, None);
    node.stop().await;
}

#[tokio::test]
async fn a_restart_resumes_what_was_running_and_never_signs_twice() {
    let world = World::new();
    let killable = world.start_killable().await;
    let node = &killable.node;
    let service = node.add(support::ADDRESS).await.unwrap();
    world.engine.close();
    world
        .trigger
        .fire("evm:31337/0x01/0", &action(service.service_id, "submit", b"abc"), None);
    node.job(|job| job.state == "received").await;
    // The node goes away in the middle of the run: nothing of the run is committed.
    killable.kill().await;

    world.engine.open();
    let node = world.start().await;
    let job = node.job(|job| job.state == "no_output").await;
    assert_eq!(job.attempts, 2);
    assert_eq!(job.events.len(), 1);
    // What was taken over is not taken over again.
    assert_eq!(node.jobs().await.len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn timers_fire_and_lead_to_targets_whose_end_is_told() {
    let world = World::new();
    world.engine.on_aggregator(|job| {
        Ok(Ok(match &job.call {
            AggregatorCall::ProcessInput => vec![Action::Timer { delay_secs: 0 }],
            AggregatorCall::Timer => vec![Action::SubmitEvm {
                chain: "evm:404".parse().unwrap(),
                address: [7; 20],
                gas_price: None,
            }],
            AggregatorCall::Submitted(_) => vec![],
        }))
    });
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    world
        .trigger
        .fire("manual/1/0", &action(service.service_id, "submit", b"1"), Some(1));
    let job = node.job(|job| job.state == "failed").await;
    let target = &job.events[0].targets[0];
    assert_eq!(target.chain.as_str(), "evm:404");
    assert!(
        target.error.as_deref().unwrap().starts_with("unknown_chain: "),
        "{target:?}"
    );
    // The callback comes after the end is durable.
    while world.engine.aggregator_runs().len() < 3 {
        tokio::task::yield_now().await;
    }
    let calls: Vec<_> = world.engine.aggregator_runs().into_iter().map(|run| run.call).collect();
    assert_eq!(calls[..2], [AggregatorCall::ProcessInput, AggregatorCall::Timer]);
    assert!(
        matches!(&calls[2], AggregatorCall::Submitted(Err(reason)) if reason.contains("evm:404")),
        "{calls:?}"
    );
    node.stop().await;
}

#[tokio::test]
async fn a_backlog_beyond_the_queue_waits_in_the_spool_and_drains() {
    let world = World::new();
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap();
    world.engine.close();
    for copy in 0..500_u32 {
        let data = copy.to_be_bytes();
        world.trigger.fire(
            &format!("manual/1/{copy}"),
            &action(service.service_id, "submit", &data),
            Some(1),
        );
    }
    node.job(|_| true).await;
    world.engine.open();
    let progress = node.injected(1, 500).await;
    assert_eq!(progress.failed, 0);
    assert_eq!(world.engine.runs().len(), 500);
    node.stop().await;
}

#[tokio::test]
async fn a_service_runs_in_the_mode_that_the_configuration_gives_it() {
    const OTHER: &str = "0x2222222222222222222222222222222222222222";
    let mut world = World::new();
    let (chosen, other) = [support::ADDRESS, OTHER]
        .map(|address| support::manager(address).service_id())
        .into();
    world.toml = format!("[wavs.service.{chosen}]\ndeterministic = true\nkv_mode = \"transactional\"\n");
    world.trigger.publish(OTHER, support::document(OTHER, "active"));
    let node = world.start().await;
    for (number, address) in [support::ADDRESS, OTHER].into_iter().enumerate() {
        let service = node.add(address).await.unwrap().service_id;
        let injection = number as u128 + 1;
        let action = action(service, "silent", b"x");
        world
            .trigger
            .fire(&format!("manual/{injection}/0"), &action, Some(injection));
        node.injected(injection, 1).await;
    }
    let runs = world.engine.runs();
    let mode = |service| {
        let run = runs.iter().find(|run| run.context.service_id == service).unwrap();
        (run.context.mode.deterministic, run.context.mode.transactional)
    };
    assert_eq!((mode(chosen), mode(other)), ((true, true), (false, false)));
    node.stop().await;
}
