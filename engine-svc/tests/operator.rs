//! The operator world with the example guests: results, host functions, limits.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Fixture, Job, PATIENCE};
use wavs_ipc::contract::job::{GuestErrorClass, Usage};
use wavs_ipc::{ErrorCode, Retry};
use wavs_types::{EventId, TriggerData};

#[tokio::test]
async fn input_config_and_variables_reach_the_guest() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    assert_eq!(fixture.text(&Job::new(echo, "hello")).await, "hello");
    assert_eq!(
        fixture
            .text(&Job::new(echo, "configvar:greeting").config("greeting", "hi"))
            .await,
        "hi"
    );
    assert_eq!(
        fixture
            .text(&Job::new(echo, "envvar:WAVS_ENV_A").env("WAVS_ENV_A", "secret"))
            .await,
        "secret"
    );
    for (input, error) in [
        ("configvar:x", "config var x not found"),
        ("envvar:HOME", "env var HOME not found"),
    ] {
        let failure = fixture.failure(&Job::new(echo, input)).await;
        assert_eq!(failure.class, GuestErrorClass::Fault);
        assert!(failure.detail.contains(error), "{failure:?}");
    }
}

#[tokio::test]
async fn the_event_id_is_that_of_the_domain() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let job = Job::new(echo, "do:event-id");
    let data = TriggerData::Raw(b"do:event-id".to_vec());
    let expected = EventId::for_response(&job.service_id(), &job.workflow_id(), &data, None);
    assert_eq!(fixture.payload(&job).await, expected.as_bytes());
}

#[tokio::test]
async fn a_salt_takes_the_place_of_the_trigger_in_the_event_id() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let mut ids = Vec::new();
    for salt in ["", "one", "two"] {
        let input = format!("do:salted-event-id:{salt}");
        let job = Job::new(echo, &input);
        let data = TriggerData::Raw(input.clone().into_bytes());
        let expected = EventId::for_response(&job.service_id(), &job.workflow_id(), &data, Some(salt.as_bytes()));
        assert_eq!(fixture.payload(&job).await, expected.as_bytes(), "{salt:?}");
        let unsalted = EventId::for_response(&job.service_id(), &job.workflow_id(), &data, None);
        assert_ne!(expected, unsalted, "an empty salt is one too");
        ids.push(expected);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn the_guest_is_told_of_a_chain_by_the_key_of_its_own_family() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let evm = json!({"type": "evm", "chain_id": "31337", "http_endpoint": "http://127.0.0.1:8545",
        "ws_endpoints": ["ws://127.0.0.1:1", "ws://127.0.0.1:2"]});
    let bare = json!({"type": "evm", "chain_id": "5", "ws_endpoints": ["ws://127.0.0.1:3"]});
    let cosmos = json!({"type": "cosmos", "chain_id": "slay3r-local", "bech32_prefix": "layer", "rpc_endpoint": "http://127.0.0.1:26657",
        "grpc_endpoint": "http://127.0.0.1:9090", "gas_price": 0.025, "gas_denom": "uslay"});
    let told = async |wish: &str| {
        let job = Job::new(echo, &format!("do:{wish}"))
            .chain("evm:31337", evm.clone())
            .chain("evm:5", bare.clone())
            .chain("cosmos:slay3r-local", cosmos.clone());
        fixture.text(&job).await
    };
    for (wish, says) in [
        (
            "evm-chain:evm:31337",
            "Some(EvmChainConfig { chain-id: \"31337\", ws-endpoints: [\"ws://127.0.0.1:1\", \"ws://127.0.0.1:2\"], http-endpoint: Some(\"http://127.0.0.1:8545\") })",
        ),
        (
            "evm-chain:evm:5",
            "Some(EvmChainConfig { chain-id: \"5\", ws-endpoints: [\"ws://127.0.0.1:3\"], http-endpoint: None })",
        ),
        (
            "cosmos-chain:cosmos:slay3r-local",
            "Some(CosmosChainConfig { chain-id: \"slay3r-local\", rpc-endpoint: Some(\"http://127.0.0.1:26657\"), grpc-endpoint: Some(\"http://127.0.0.1:9090\"), grpc-web-endpoint: None, gas-price: 0.025, gas-denom: \"uslay\", bech32-prefix: \"layer\" })",
        ),
        ("evm-chain:cosmos:slay3r-local", "None"),
        ("cosmos-chain:evm:31337", "None"),
        ("evm-chain:evm:1", "None"),
        ("evm-chain:31337", "None"),
        ("evm-chain:", "None"),
        ("evm-chain:evm:31337:", "None"),
        ("cosmos-chain:not a key", "None"),
    ] {
        assert_eq!(told(wish).await, says, "{wish}");
    }
}

#[tokio::test]
async fn the_guest_sees_its_service_and_every_kind_of_trigger() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let hash = format!("0x{}", "ab".repeat(32));
    let address = "0x2222222222222222222222222222222222222222";
    let cosmos = "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2";
    let cases = [
        (
            json!({"evm_contract_event": {"address": address, "chain": "evm:31337", "event_hash": hash}}),
            json!({"EvmContractEvent": {"chain": "evm:31337", "contract_address": address, "log_data": {"topics": [hash], "data": "0x0102"},
                "tx_hash": hash, "block_number": 7, "log_index": 3, "block_hash": hash, "block_timestamp": 9, "tx_index": 1}}),
            "evm-contract-event|EvmContractEvent",
        ),
        (
            json!({"cosmos_contract_event": {"address": cosmos, "chain": "cosmos:c", "event_type": "x"}}),
            json!({"CosmosContractEvent": {"contract_address": cosmos, "chain": "cosmos:c", "event": {"type": "x", "attributes": [{"key": "k", "value": "v"}]},
                "block_height": 7, "event_index": 3}}),
            "CosmosContractEvent",
        ),
        (
            json!({"block_interval": {"chain": "evm:31337", "n_blocks": 5, "start_block": 1, "end_block": null}}),
            json!({"BlockInterval": {"chain": "evm:31337", "block_height": 10}}),
            "BlockInterval",
        ),
        (
            json!({"cron": {"schedule": "0 * * * * *", "start_time": 1, "end_time": null}}),
            json!({"Cron": {"trigger_time": 1_700_000_000_000_000_000_u64}}),
            "1700000000000000000",
        ),
        (
            json!({"at_proto_event": {"collection": "app.bsky.feed.post", "repo_did": null, "action": "create"}}),
            json!({"AtProtoEvent": {"sequence": 1, "timestamp": 2, "repo": "did:plc:x", "collection": "app.bsky.feed.post", "rkey": "r",
                "action": "create", "cid": null, "record": {"b": 1, "a": [2]}, "rev": null, "op_index": 0}}),
            "did:plc:x",
        ),
        (
            json!({"hypercore_append": {"feed_key": "ff".repeat(32)}}),
            json!({"HypercoreAppend": {"feed_key": "ff".repeat(32), "index": 4, "data": [1, 2]}}),
            "HypercoreAppend",
        ),
    ];
    for (trigger, data, expect) in cases {
        let mut job = Job::new(echo, "").config("do", "describe").data(data);
        job.trigger = trigger;
        let text = fixture.text(&job).await;
        assert!(expect.split('|').any(|word| text.contains(word)), "{expect}: {text}");
        assert!(
            text.contains(&job.service_id().to_string()) && text.contains(&echo.to_string()),
            "{text}"
        );
    }
}

#[tokio::test]
async fn several_responses_need_salts() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let job = |input: &str| {
        Job::new(echo, input)
            .config("event-id-salt", "s")
            .config("event-id-salt-1", "one")
            .config("event-id-salt-2", "two")
    };
    let salts = |responses: Vec<wavs_ipc::contract::job::Response>| {
        responses
            .into_iter()
            .map(|response| response.event_id_salt.unwrap())
            .collect::<Vec<_>>()
    };
    let one = fixture.run(&job("custom-event-id")).await.unwrap().result.unwrap();
    assert_eq!(salts(one), [b"s"]);
    let two = fixture.run(&job("multi-response")).await.unwrap().result.unwrap();
    assert_eq!(salts(two), [b"one", b"two"]);
    let failure = fixture.failure(&job("multi-response-bad")).await;
    assert_eq!(failure.class, GuestErrorClass::Fault);
    assert!(
        failure
            .detail
            .contains("When returning multiple responses, they must all have an event id salt"),
        "{failure:?}"
    );
    assert_eq!(fixture.run(&job("do:none")).await.unwrap().result.unwrap(), []);
}

#[tokio::test]
async fn errors_traps_and_exhausted_stacks_are_the_guests_fault() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    for (input, expect) in [
        ("do:fail:no luck", "the component returned an error: no luck"),
        (
            "do:trap",
            "the component trapped: wasm trap: wasm `unreachable` instruction executed",
        ),
        ("do:stack", "the component trapped: wasm trap: "),
        ("custom-event-id", "trapped"),
    ] {
        let failure = fixture.failure(&Job::new(echo, input)).await;
        assert_eq!(failure.class, GuestErrorClass::Fault, "{input}: {failure:?}");
        assert!(failure.detail.contains(expect), "{input}: {failure:?}");
    }
    // None of them hurt the next run.
    assert_eq!(fixture.text(&Job::new(echo, "fine")).await, "fine");
}

#[tokio::test]
async fn fuel_is_metered_only_under_a_limit_and_the_limit_is_named() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let failure = fixture.failure(&Job::new(echo, "x").limit("fuel_limit", 1)).await;
    assert_eq!(failure.class, GuestErrorClass::Limit);
    assert!(
        failure.detail.contains("Max fuel consumed") && failure.detail.contains("limit of 1 set by the component"),
        "{failure:?}"
    );
    let metered = fixture
        .run(&Job::new(echo, "x").limit("fuel_limit", 10_000_000))
        .await
        .unwrap();
    assert!(metered.result.is_ok());
    assert!(
        matches!(
            metered.usage,
            Usage {
                fuel: Some(1..10_000_000),
                ..
            }
        ),
        "{:?}",
        metered.usage
    );
    let free = fixture.run(&Job::new(echo, "x")).await.unwrap();
    assert_eq!(free.usage.fuel, None);
    assert!(
        free.usage.duration_us > 0 && free.usage.memory_peak >= 65536,
        "{:?}",
        free.usage
    );
}

#[tokio::test]
async fn a_node_cap_on_fuel_meters_everything() {
    let fixture = Fixture::with(|settings| settings.caps.max_fuel = 2);
    let echo = fixture.guest("echo").await;
    let failure = fixture.failure(&Job::new(echo, "x")).await;
    assert!(
        failure.detail.contains("limit of 2 set by this node's configuration"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn time_is_up_for_loops_and_for_sleepers_alike() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let sleep = |kind: &str, ms: u64| {
        Job::new(echo, "slept")
            .config("sleep-kind", kind)
            .config("sleep-ms", &ms.to_string())
            .limit("time_limit_seconds", 1)
    };
    let jobs = [
        sleep("async", 10_000),
        sleep("sync", 10_000),
        sleep("hotloop", 10_000),
        Job::new(echo, "do:loop").limit("time_limit_seconds", 1),
    ];
    let started = Instant::now();
    for outcome in futures::future::join_all(jobs.iter().map(|job| fixture.run(job))).await {
        let outcome = outcome.unwrap();
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.class, GuestErrorClass::Limit);
        assert!(
            failure.detail.contains("Time limit exceeded") && failure.detail.contains("1 s"),
            "{failure:?}"
        );
        assert!(outcome.usage.duration_us >= 1_000_000, "{:?}", outcome.usage);
    }
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(fixture.text(&sleep("async", 100)).await, "slept");
}

#[tokio::test]
async fn a_run_without_any_time_fails_however_short_it_is() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    for n in 0..20 {
        let failure = fixture
            .failure(&Job::new(echo, "x").limit("time_limit_seconds", 0))
            .await;
        assert_eq!(failure.class, GuestErrorClass::Limit, "run {n}: {failure:?}");
        assert!(failure.detail.contains("Time limit exceeded"), "run {n}: {failure:?}");
    }
}

/// The clock of this test stands still while guests, on threads of their own, take their time.
#[tokio::test]
async fn a_run_that_gets_no_slot_is_told_so_in_time_and_had_no_effect() {
    let fixture = Fixture::with(|settings| settings.max_parallel_per_service = 1);
    let echo = fixture.guest("echo").await;
    assert_eq!(fixture.text(&Job::new(echo, "ready")).await, "ready");
    let long = Job::new(echo, "do:loop").limit("time_limit_seconds", 2);
    let (waiting, other) = (Job::new(echo, "waiting"), Job::new(echo, "other").service(2));
    tokio::time::pause();
    let (long, waiting, other) = tokio::join!(
        biased;
        fixture.run(&long),
        fixture.run(&waiting),
        fixture.run(&other),
    );
    let busy = waiting.unwrap_err();
    assert_eq!((busy.code, busy.retry), (ErrorCode::Busy, Retry::Backoff), "{busy:?}");
    assert!(other.unwrap().result.is_ok());
    assert!(long.unwrap().result.unwrap_err().detail.contains("Time limit exceeded"));
}

#[tokio::test]
async fn a_short_run_overtakes_long_ones_on_one_thread() {
    let fixture = Fixture::with(|settings| settings.workers = 1);
    let echo = fixture.guest("echo").await;
    for kind in ["async", "sync", "hotloop"] {
        let long = Job::new(echo, "long")
            .config("sleep-kind", kind)
            .config("sleep-ms", "1500");
        let short = Job::new(echo, "short")
            .config("sleep-kind", "async")
            .config("sleep-ms", "10");
        let (long, short) = tokio::join!(
            async {
                fixture.text(&long).await;
                Instant::now()
            },
            async {
                fixture.text(&short).await;
                Instant::now()
            },
        );
        assert!(long.duration_since(short) > Duration::from_millis(500), "{kind}");
    }
}

#[tokio::test]
async fn memory_and_results_are_bounded() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let failure = fixture.failure(&Job::new(echo, "do:memory")).await;
    assert_eq!(failure.class, GuestErrorClass::Limit, "{failure:?}");
    assert!(
        failure.detail.contains("Memory limit exceeded") && failure.detail.contains("268435456"),
        "{failure:?}"
    );
    for input in ["do:payload:5000000", "do:responses:65"] {
        let failure = fixture.failure(&Job::new(echo, input)).await;
        assert_eq!(failure.class, GuestErrorClass::Limit, "{failure:?}");
        assert!(failure.detail.contains("Result limit exceeded"), "{failure:?}");
    }
    assert_eq!(
        fixture
            .run(&Job::new(echo, "do:responses:64"))
            .await
            .unwrap()
            .result
            .unwrap()
            .len(),
        64
    );
}

#[tokio::test]
async fn output_is_captured_escaped_and_bounded() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let job = Job::new(echo, "do:stdout:red \u{1b}[31m");
    fixture.payload(&job).await;
    let flood = Job::new(echo, "do:logs:5000").service(2);
    fixture.payload(&flood).await;
    assert_eq!(
        fixture.log_lines(&job).await,
        [("stdout".to_owned(), "red \\u{1b}[31m".to_owned())]
    );
    let lines = fixture.log_lines(&flood).await;
    assert!(
        lines.len() < 500 && lines[0] == ("info".to_owned(), "line 0 of the flood".to_owned()),
        "{}",
        lines.len()
    );
    assert!(lines.last().unwrap().1.contains("were dropped"), "{:?}", lines.last());
}

#[tokio::test]
async fn many_runs_share_the_slots() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let jobs = (0..200).map(|n| Job::new(echo, &n.to_string()).service(u8::try_from(n % 5).unwrap()));
    let runs = jobs.map(|job| async { (fixture.text(&job).await, job) });
    let done = tokio::time::timeout(PATIENCE, futures::future::join_all(runs))
        .await
        .unwrap();
    for (n, (text, _)) in done.iter().enumerate() {
        assert_eq!(*text, n.to_string());
    }
}

#[tokio::test]
async fn only_declared_variables_are_visible() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let mut job = Job::new(echo, "envvar:WAVS_ENV_B").env("WAVS_ENV_A", "a");
    job.env.push(("WAVS_ENV_B".into(), "not declared".into()));
    assert!(
        fixture
            .failure(&job)
            .await
            .detail
            .contains("env var WAVS_ENV_B not found")
    );
    let home = Job::new(echo, "envvar:HOME").env("HOME", "declared, but of the node itself");
    assert!(fixture.failure(&home).await.detail.contains("env var HOME not found"));
}
