//! Guests that are out to harm their host, in the real process: each meets a named end, another service runs meanwhile, and
//! the process lives on.

mod names;
#[path = "../support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::attacks::{self, Attack, Servers, with_module};
use support::process::{Engine, Launch};
use support::{Fixture, Job, guest_bytes};
use wavs_ipc::contract::job::GuestErrorClass;
use wavs_types::ComponentDigest;

/// The same attack at a time.
const COPIES: u8 = 3;
/// More than three guests with all the memory that they may have, and what the host keeps for them.
const ENOUGH_MEMORY: u64 = 2 << 30;
/// The service that has nothing to do with it.
const NEIGHBOUR: u8 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_ends_as_it_must_while_another_service_runs_and_the_process_lives_on() {
    let servers = Servers::start().await;
    let mut engine = attacks::engine().await;
    let echo = engine.upload(&guest_bytes("echo")).await;
    let pid = engine.pid();
    let mut wrong = Vec::new();
    for attack in attacks::attacks(&engine, &servers).await {
        wrong.extend(beside_a_neighbour(&engine, &attack, echo).await);
        if engine.pid() != pid {
            wrong.push(format!("{}: the process has ended", attack.name));
            break;
        }
    }
    let peak = engine.peak_resident();
    if peak > ENOUGH_MEMORY {
        wrong.push(format!("the process held {peak} bytes"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What was wrong with the ends of the attack, or with the neighbour's runs.
async fn beside_a_neighbour(engine: &Engine, attack: &Attack, echo: ComponentDigest) -> Vec<String> {
    let over = AtomicBool::new(false);
    let attackers = async {
        let copies: Vec<_> = (1..=COPIES).map(|n| attack.by(n)).collect();
        let ends = futures::future::join_all(copies.iter().map(|copy| copy.perform(engine))).await;
        over.store(true, Ordering::Release);
        ends
    };
    let neighbour = async {
        let (mut meanwhile, mut wrong) = (0, Vec::new());
        loop {
            let outcome = engine.outcome(&Job::new(echo, "fine").service(NEIGHBOUR)).await;
            let fine = outcome.as_ref().is_ok_and(|outcome| {
                outcome
                    .result
                    .as_ref()
                    .is_ok_and(|responses| responses[0].payload == b"fine")
            });
            if !fine {
                wrong.push(format!("the neighbour of {}: {outcome:?}", attack.name));
                break;
            }
            if over.load(Ordering::Acquire) {
                break;
            }
            meanwhile += 1;
        }
        if attack.lasts && meanwhile == 0 {
            wrong.push(format!("{}: the neighbour had to wait for its end", attack.name));
        }
        wrong
    };
    let (ends, mut wrong) = tokio::join!(attackers, neighbour);
    wrong.extend(ends.into_iter().filter_map(Result::err));
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_instance_may_have_is_refused_with_the_upload() {
    let mut engine = Engine::start().await;
    let pid = engine.pid();
    let echo = guest_bytes("echo");
    for (module, times, says) in [
        ("(module)", 100, "core module instances"),
        ("(module (memory 1))", 20, "memories"),
        ("(module (table 200000 funcref))", 1, "table index"),
        ("(module (memory 5000))", 1, "memory"),
    ] {
        let refused = engine.try_upload(&with_module(&echo, module, times)).await.unwrap_err();
        assert!(
            refused.detail.contains("asks for more than this node gives") && refused.detail.contains(says),
            "{module}: {refused:?}"
        );
    }
    let digest = engine
        .upload(&with_module(&echo, "(module (memory 1) (table 10 funcref))", 3))
        .await;
    engine.run(&Job::new(digest, "fine")).await;
    assert_eq!(engine.pid(), pid);
}

/// All runs together want more files than the process may have open.
#[tokio::test(flavor = "multi_thread")]
async fn guests_leave_the_process_the_descriptors_that_it_needs() {
    const DESCRIPTORS: u32 = 200;
    let mut engine = Engine::launch(Launch {
        descriptors: Some(DESCRIPTORS),
        ..Launch::default()
    })
    .await;
    let pid = engine.pid();
    let hostile = engine.upload(&guest_bytes("hostile")).await;
    let runs = (1..=16).map(|n| {
        let job = Job::new(hostile, "open:10000")
            .permissions(json!({"file_system": true}))
            .service(n);
        let engine = &engine;
        async move { engine.outcome(&job).await.unwrap().result.unwrap() }
    });
    for responses in futures::future::join_all(runs).await {
        let told = String::from_utf8_lossy(&responses[0].payload).into_owned();
        let got: u32 = told.split(' ').next().unwrap().parse().unwrap();
        assert!(got < DESCRIPTORS / 2 && told.contains("insufficient-memory"), "{told}");
    }
    // The process can still take over an upload, compile it, map its code and run it.
    let echo = engine.upload(&guest_bytes("echo")).await;
    engine.run(&Job::new(echo, "fine")).await;
    assert_eq!(engine.pid(), pid);
}

/// A service that was stopped by a quota may still clean up and go on.
#[tokio::test]
async fn files_end_at_the_quota_of_the_service_and_can_be_cleaned_up() {
    let fixture = Fixture::with(|settings| settings.caps.guest.files = 8 << 20);
    let hostile = fixture.guest("hostile").await;
    let job = |input: &str| {
        Job::new(hostile, input)
            .permissions(json!({"file_system": true}))
            .limit("time_limit_seconds", 60)
    };
    assert_eq!(fixture.text(&job("files:4")).await, "4 MiB");
    for input in ["files:12", "files:20"] {
        let failure = fixture.failure(&job(input)).await;
        assert_eq!(failure.class, GuestErrorClass::Limit, "{failure:?}");
        assert!(
            failure.detail.starts_with("File limit exceeded") && failure.detail.contains("8388608"),
            "{failure:?}"
        );
    }
    // Another service has a quota of its own.
    assert_eq!(fixture.text(&job("files:4").service(8)).await, "4 MiB");
    assert_eq!(fixture.text(&job("remove-files")).await, "1 removed");
    assert_eq!(fixture.text(&job("files:4")).await, "4 MiB");
}

#[tokio::test]
async fn the_sockets_of_a_run_are_closed_with_it_and_names_are_looked_up_with_permission_only() {
    let fixture = Fixture::new();
    let hostile = fixture.guest("hostile").await;
    let job = |input: &str, permissions: Value| Job::new(hostile, input).permissions(permissions);
    for _ in 0..3 {
        let told = fixture.text(&job("sockets:32", json!({"raw_sockets": true}))).await;
        assert_eq!(told, "32 sockets");
    }
    let failure = fixture.failure(&job("resolve:localhost", json!({}))).await;
    assert!(failure.detail.contains("permanent-resolver-failure"), "{failure:?}");
    let told = fixture
        .text(&job("resolve:localhost", json!({"dns_resolution": true})))
        .await;
    assert!(told.contains("127"), "{told}");
}

#[tokio::test]
async fn loops_of_one_service_leave_turns_to_another() {
    let fixture = Fixture::with(|settings| settings.workers = 1);
    let echo = fixture.guest("echo").await;
    let hog = Job::new(echo, "do:loop").limit("time_limit_seconds", 3).service(1);
    let over = AtomicBool::new(false);
    let hogs = async {
        let ends = futures::future::join_all((0..8).map(|_| fixture.run(&hog))).await;
        over.store(true, Ordering::Release);
        ends
    };
    let other = async {
        let mut done = 0;
        while !over.load(Ordering::Acquire) {
            assert_eq!(fixture.text(&Job::new(echo, "x").service(2)).await, "x");
            done += 1;
        }
        done
    };
    let (hogs, done) = tokio::join!(hogs, other);
    assert!(hogs.iter().all(|run| run.as_ref().unwrap().result.is_err()));
    assert!(done > 1, "{done}");
}

/// Fails unless the memory that it is given is all zeroes, then fills it: 6.4 MB, of which freed slots keep a part.
const CURIOUS: &str = "(module (memory 1) (func $look (local $at i32)
    (if (i32.eq (memory.grow (i32.const 99)) (i32.const -1)) (then unreachable))
    (loop $next
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
        (i64.store (local.get $at) (i64.const -1))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 6553600)))))
    (start $look))";

#[tokio::test(flavor = "multi_thread")]
async fn no_run_finds_what_another_left_in_memory() {
    let engine = Engine::start().await;
    let curious = engine.upload(&with_module(&guest_bytes("echo"), CURIOUS, 1)).await;
    // Several times as many runs as slots, so that slots are used again, after runs of the same service and of others.
    for round in 0..engine.slots().div_ceil(4) {
        let runs = (1..=16).map(|n| {
            let job = Job::new(curious, "fresh").service(n);
            let engine = &engine;
            async move { engine.outcome(&job).await.unwrap().result }
        });
        for result in futures::future::join_all(runs).await {
            let responses = result.unwrap_or_else(|failure| panic!("round {round}: {failure:?}"));
            assert_eq!(responses[0].payload, b"fresh");
        }
    }
}
