//! The bounds on guests, configured so low that they are soon reached: whoever goes beyond one is told its key and its value, or gets
//! the error that its call has for that.

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use support::attacks::{GROWING_TABLE, RECURSION, with_module};
use support::{Fixture, Job, guest_bytes};
use wavs_engine::{CapGrant, Grant, Settings};
use wavs_fetch::AddressPolicy;
use wavs_ipc::contract::engine::AggregatorCall;
use wavs_ipc::contract::job::GuestErrorClass;
use wavs_types::ComponentDigest;

/// Lower than any of these guests expects, and enough for them to begin.
fn low(settings: &mut Settings) {
    let guest = &mut settings.caps.guest;
    guest.table_elements = 20_000;
    guest.stack = 64 << 10;
    guest.hostcall = 1 << 20;
    guest.handles = 500;
    guest.open_files = 8;
    guest.sockets = 4;
    guest.file_count = 10;
    guest.results = 3;
    guest.response = 1 << 10;
    guest.http_requests = 2;
    guest.http_body = 100 << 10;
    guest.http_headers = 8 << 10;
    guest.http_silence = Duration::from_secs(1);
    settings.guest_policy = loopback();
}

fn loopback() -> Arc<AddressPolicy> {
    Arc::new(AddressPolicy::new(vec!["127.0.0.1".parse().unwrap()]))
}

/// A limit that a run exceeds is named with the value in force and the key that raises it.
#[tokio::test]
async fn what_ends_a_run_is_named_with_its_key_and_value() {
    let fixture = Fixture::with(low);
    let hostile = fixture.guest("hostile").await;
    let echo = fixture.guest("echo").await;
    let made_of = async |module: &str| {
        let bytes = with_module(&guest_bytes("echo"), module, 1);
        Job::new(fixture.upload(&bytes).await.unwrap(), "x")
    };
    let files = |input: &str| Job::new(hostile, input).permissions(json!({"file_system": true}));
    for (job, says) in [
        (
            made_of(GROWING_TABLE).await,
            ["Table limit exceeded", "engine.table_elements", "20000"],
        ),
        (
            made_of(RECURSION).await,
            ["Stack limit exceeded", "engine.stack_kb", "65536"],
        ),
        (
            Job::new(hostile, "buckets:1"),
            ["Host call limit exceeded", "engine.hostcall_mb", "1048576"],
        ),
        (
            Job::new(echo, "do:payload:2000000"),
            ["Host call limit exceeded", "engine.hostcall_mb", "1048576"],
        ),
        (
            Job::new(hostile, "handles:501"),
            ["Handle limit exceeded", "engine.handles", "500"],
        ),
        (
            Job::new(hostile, "header:8193"),
            ["Header limit exceeded", "engine.http_headers_kb", "8192"],
        ),
        (
            Job::new(echo, "do:responses:4"),
            ["Result limit exceeded", "engine.results", "3"],
        ),
        (
            Job::new(echo, "do:payload:1025"),
            ["Result limit exceeded", "engine.response_max_mb", "1024"],
        ),
        (
            files("many-files:11"),
            ["File limit exceeded", "engine.files_per_service", "10"],
        ),
    ] {
        let failure = fixture.failure(&job).await;
        assert_eq!(failure.class, GuestErrorClass::Limit, "{failure:?}");
        for part in says {
            assert!(failure.detail.contains(part), "{part:?} is missing in {failure:?}");
        }
    }
    // What stays within them goes on as if there were none.
    for (job, says) in [
        (Job::new(hostile, "handles:200"), "200 handles"),
        (files("remove-files"), "removed"),
        (files("many-files:9"), "9 files"),
    ] {
        let told = fixture.text(&job).await;
        assert!(told.contains(says), "{told}");
    }
    let three = fixture.run(&Job::new(echo, "do:responses:3")).await.unwrap();
    assert_eq!(three.result.unwrap().len(), 3);
}

/// A guest that copes with a refusal is to blame for what it does afterwards.
#[tokio::test]
async fn a_refusal_is_the_reason_only_of_ends_that_it_can_have() {
    let fixture = Fixture::with(|settings| settings.caps.guest.memory = 4 << 20);
    let echo = guest_bytes("echo");
    let refused_then = |end: &str| {
        format!(
            "(module (memory 1) (func $begin (if (i32.ne (memory.grow (i32.const 60)) (i32.const -1)) (then (loop (br 0)))) {end})
                (start $begin))"
        )
    };
    for (module, times, class, says) in [
        (
            refused_then("unreachable"),
            1,
            GuestErrorClass::Limit,
            "Memory limit exceeded",
        ),
        (
            refused_then("(drop (i32.div_u (i32.const 1) (i32.const 0)))"),
            1,
            GuestErrorClass::Fault,
            "divide by zero",
        ),
        (
            "(module (memory 40))".to_owned(),
            2,
            GuestErrorClass::Limit,
            "Memory limit exceeded",
        ),
    ] {
        let digest = fixture.upload(&with_module(&echo, &module, times)).await.unwrap();
        let failure = fixture.failure(&Job::new(digest, "x")).await;
        assert_eq!(failure.class, class, "{module}: {failure:?}");
        assert!(failure.detail.contains(says), "{module}: {failure:?}");
    }
    let coped = with_module(&echo, &refused_then(""), 1);
    let coped = fixture.upload(&coped).await.unwrap();
    assert_eq!(fixture.text(&Job::new(coped, "fine")).await, "fine");
}

/// The host has room on the stack of a run beyond what the guest may use, however much that is.
#[tokio::test]
async fn the_largest_stack_ends_as_the_smallest() {
    for stack in [64 << 10, 8 << 20] {
        let fixture = Fixture::with(|settings| settings.caps.guest.stack = stack);
        let bytes = with_module(&guest_bytes("echo"), RECURSION, 1);
        let recursion = fixture.upload(&bytes).await.unwrap();
        let failure = fixture.failure(&Job::new(recursion, "x")).await;
        assert_eq!(failure.class, GuestErrorClass::Limit, "{failure:?}");
        assert!(
            failure.detail.contains(&format!("more than {stack} bytes of stack")),
            "{failure:?}"
        );
        let echo = fixture.guest("echo").await;
        assert_eq!(fixture.text(&Job::new(echo, "fine")).await, "fine");
    }
}

#[tokio::test]
async fn actions_are_counted_like_responses() {
    let fixture = Fixture::with(|settings| settings.caps.guest.results = 1);
    let guest = fixture.guest("aggregator").await;
    let job = Job::new(guest, "x")
        .chain(
            "evm:31337",
            json!({"type": "evm", "chain_id": "31337", "http_endpoint": "http://127.0.0.1:1"}),
        )
        .config("chain", "evm:31337")
        .config("service_handler", "0x3333333333333333333333333333333333333333")
        .config("fault", "mixed");
    let outcome = fixture.aggregate(&job, AggregatorCall::ProcessInput).await.unwrap();
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.class, GuestErrorClass::Limit, "{failure:?}");
    assert!(
        failure.detail.contains("number of actions") && failure.detail.contains("above 1, which engine.results"),
        "{failure:?}"
    );
}

/// What a component can be refused for before it runs.
#[tokio::test]
async fn what_a_component_is_made_of_is_bounded() {
    let fixture = Fixture::with(|settings| {
        let guest = &mut settings.caps.guest;
        guest.core_instances = 12;
        guest.memories = 4;
        guest.tables = 6;
        guest.table_elements = 5_000;
    });
    let echo = guest_bytes("echo");
    for (module, times, says) in [
        ("(module)", 12, ["engine.core_instances", "maximum of 12"]),
        ("(module (memory 1))", 4, ["engine.memories", "maximum of 4"]),
        ("(module (table 1 funcref))", 6, ["engine.tables", "maximum of 6"]),
        (
            "(module (table 5001 funcref))",
            1,
            ["engine.table_elements", "limit of 5000"],
        ),
    ] {
        let refused = fixture.upload(&with_module(&echo, module, times)).await.unwrap_err();
        for part in says {
            assert!(
                refused.detail.contains(part),
                "{module}: {part:?} is missing in {refused}"
            );
        }
    }
    let within = with_module(&echo, "(module (memory 1) (table 5000 funcref))", 2);
    let within = fixture.upload(&within).await.unwrap();
    assert_eq!(fixture.text(&Job::new(within, "fine")).await, "fine");
}

/// Where a call has an error for it, the guest is told and may cope with it.
#[tokio::test]
async fn what_a_call_refuses_is_refused_at_the_configured_number() {
    let fixture = Fixture::with(low);
    let hostile = fixture.guest("hostile").await;
    let job = |input: &str, permissions: Value| Job::new(hostile, input).permissions(permissions);
    let told = fixture.text(&job("open:20", json!({"file_system": true}))).await;
    // The directory itself is one, and the three standard streams of the guest may be others.
    assert!(
        told.contains("InsufficientMemory") || told.contains("insufficient-memory"),
        "{told}"
    );
    let got: usize = told.split(' ').next().unwrap().parse().unwrap();
    assert!((4..8).contains(&got), "{told}");
    let told = fixture.text(&job("sockets:20", json!({"raw_sockets": true}))).await;
    assert!(
        told.starts_with("4 sockets, then") && told.contains("new-socket-limit"),
        "{told}"
    );
    let told = fixture.text(&job("header:8000", json!({}))).await;
    assert_eq!(told, "Ok(())");
}

/// A connection from outside is a socket like one that the guest makes.
#[tokio::test]
async fn accepted_sockets_count_like_made_ones() {
    let listening = |sockets: usize| {
        Fixture::with(|settings| {
            settings.caps.guest.sockets = sockets;
            let grant = Grant {
                caps: CapGrant::default(),
                addresses: loopback(),
                listen: true,
            };
            let service = Job::new(ComponentDigest::new([0; 32]), "").service(9).service_id();
            settings.grants.insert(service, grant);
        })
    };
    let accept = |digest| {
        Job::new(digest, "accept:20")
            .permissions(json!({"raw_sockets": true}))
            .service(9)
    };
    // A listener, and two sockets for each connection: at four the second connection is refused where it is accepted.
    for (sockets, says) in [
        (4, "1 accepted, then the next accepted"),
        (5, "2 accepted, then the next dialled"),
    ] {
        let fixture = listening(sockets);
        let hostile = fixture.guest("hostile").await;
        let told = fixture.text(&accept(hostile)).await;
        assert!(
            told.starts_with(says) && told.contains("new-socket-limit"),
            "{sockets}: {told}"
        );
        // They are closed with the run.
        assert_eq!(fixture.text(&accept(hostile)).await, told);
        let failure = fixture.failure(&accept(hostile).service(8)).await;
        assert!(failure.detail.contains("access-denied"), "{failure:?}");
    }
}

async fn server() -> String {
    let router = Router::new()
        .route(
            "/size/{bytes}",
            get(|size: axum::extract::Path<usize>| async move { "x".repeat(*size) }),
        )
        .route(
            "/headers/{bytes}",
            get(|size: axum::extract::Path<usize>| async move { [("x-long", "x".repeat(*size))] }),
        )
        .route("/silent", get(std::future::pending::<&'static str>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

#[tokio::test]
async fn http_is_bounded_in_size_time_and_number() {
    let fixture = Fixture::with(low);
    let at = server().await;
    let getter = fixture.guest("http-get").await;
    let get =
        |path: &str| Job::new(getter, &format!("http://{at}/{path}")).permissions(json!({"allowed_http_hosts": "all"}));
    for (path, says) in [
        ("size/102401", "body size exceeds limit: 102400 bytes"),
        ("headers/20000", "the component returned an error"),
        ("silent", "ConnectionReadTimeout"),
    ] {
        let failure = fixture.failure(&get(path)).await;
        assert!(failure.detail.contains(says), "{path}: {failure:?}");
    }
    // The answer of this guest is as long as the body, which is another bound.
    let outcome = fixture.run(&get("size/500")).await.unwrap();
    assert!(outcome.result.is_ok(), "{outcome:?}");
    let hostile = fixture.guest("hostile").await;
    let requests =
        |n: usize| Job::new(hostile, &format!("requests:{n} {at}")).permissions(json!({"allowed_http_hosts": "all"}));
    let told = fixture.text(&requests(3)).await;
    assert!(
        told.contains("connection-limit-reached") || told.contains("ConnectionLimitReached"),
        "{told}"
    );
    let told = fixture.text(&requests(2)).await;
    assert_eq!(told, "2 requests, the last: 404");
}

/// A bound of 0 is taken literally.
#[tokio::test]
async fn none_is_none() {
    let fixture = Fixture::with(|settings| {
        let guest = &mut settings.caps.guest;
        (guest.sockets, guest.open_files, guest.kv, guest.log_lines_per_second) = (0, 0, 0, 0);
    });
    let hostile = fixture.guest("hostile").await;
    for (input, says) in [("sockets:1", "0 sockets"), ("open:1", "0 files"), ("kv:1", "0 ")] {
        let job = Job::new(hostile, input).permissions(json!({"file_system": true, "raw_sockets": true}));
        let told = fixture.text(&job).await;
        assert!(told.starts_with(says), "{input}: {told}");
    }
    let silent = Job::new(fixture.guest("echo").await, "do:logs:3");
    fixture.payload(&silent).await;
    let lines = fixture.log_lines(&silent).await;
    assert!(lines.iter().all(|(stream, _)| stream == "warn"), "{lines:?}");

    let fixture = Fixture::with(|settings| settings.caps.guest.results = 0);
    let none = fixture.failure(&Job::new(fixture.guest("echo").await, "x")).await;
    assert!(none.detail.contains("engine.results"), "{none:?}");
}

/// What no run could have is a limit, however much of it is allowed, and the process lives on.
#[tokio::test]
async fn all_guests_together_leave_the_process_memory() {
    let fixture = Fixture::with(|settings| settings.memory = 64 << 20);
    let echo = fixture.guest("echo").await;
    for _ in 0..3 {
        let failure = fixture.failure(&Job::new(echo, "do:memory")).await;
        assert_eq!(failure.class, GuestErrorClass::Limit, "{failure:?}");
        assert!(failure.detail.contains("process.engine.memory_max_mb"), "{failure:?}");
        assert_eq!(fixture.payload(&Job::new(echo, "x")).await, b"x");
    }
}

#[tokio::test]
async fn logs_are_bounded_by_line_rate_and_size() {
    let fixture = Fixture::with(|settings| {
        settings.caps.guest.log_line = 1 << 10;
        settings.caps.guest.log_lines_per_second = 5;
        settings.caps.guest.log_bytes = 4 << 10;
    });
    let echo = fixture.guest("echo").await;
    let line = Job::new(echo, &format!("do:stdout:{}", "x".repeat(3_000))).service(1);
    fixture.payload(&line).await;
    let lines = fixture.log_lines(&line).await;
    assert_eq!(lines, [("stdout".to_owned(), format!("{}…", "x".repeat(1_024)))]);

    let flood = Job::new(echo, "do:logs:1000").service(2);
    fixture.payload(&flood).await;
    let lines = fixture.log_lines(&flood).await;
    // A second may begin anew while it writes.
    assert!((6..=16).contains(&lines.len()), "{lines:?}");
    let (stream, last) = lines.last().unwrap();
    let says = "further lines were dropped: engine.log_lines_per_second of this node allows a run 5, and engine.log_kb_per_run 4096 bytes in all";
    assert!(stream == "warn" && last.ends_with(says), "{last}");
}
