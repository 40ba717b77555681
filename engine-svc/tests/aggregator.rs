//! The aggregator world with the example guests.

mod support;

use serde_json::json;
use support::{Fixture, Job};
use wavs_ipc::contract::engine::{Action, AggregatorCall, TxHash};
use wavs_ipc::contract::engine_admin::{EngineAdmin, KvValue};
use wavs_ipc::contract::job::GuestErrorClass;
use wavs_ipc::tarpc::context;

const HANDLER: &str = "0x3333333333333333333333333333333333333333";

fn job(digest: wavs_types::ComponentDigest) -> Job {
    Job::new(digest, "input")
        .chain(
            "evm:31337",
            json!({"type": "evm", "chain_id": "31337", "http_endpoint": "http://127.0.0.1:1"}),
        )
        .config("chain", "evm:31337")
        .config("service_handler", HANDLER)
}

#[tokio::test]
async fn an_input_becomes_a_submission_and_its_end_is_recorded() {
    let fixture = Fixture::new();
    let guest = fixture.guest("aggregator").await;
    let job = job(guest);
    let actions = fixture
        .aggregate(&job, AggregatorCall::ProcessInput)
        .await
        .unwrap()
        .result
        .unwrap();
    let submit = Action::SubmitEvm {
        chain: "evm:31337".parse().unwrap(),
        address: [0x33; 20],
        gas_price: None,
    };
    assert_eq!(actions, [submit]);
    assert_eq!(
        fixture
            .aggregate(&job, AggregatorCall::Timer)
            .await
            .unwrap()
            .result
            .unwrap(),
        []
    );
    for (result, success) in [
        (Err("reverted".to_owned()), "false"),
        (Ok(TxHash::Evm([1; 32])), "true"),
    ] {
        let ended = fixture
            .aggregate(&job, AggregatorCall::Submitted(result))
            .await
            .unwrap();
        assert_eq!(ended.result.unwrap(), []);
        let read = |key: &str| {
            fixture
                .node
                .clone()
                .read_kv(context::current(), job.service_id(), "submit-result".into(), key.into())
        };
        assert_eq!(read("completed").await.unwrap(), Some(KvValue(b"true".to_vec())));
        assert_eq!(read("success").await.unwrap(), Some(KvValue(success.into())));
    }
}

#[tokio::test]
async fn a_bad_action_is_the_guests_fault() {
    let fixture = Fixture::new();
    let guest = fixture.guest("aggregator").await;
    for (fault, expect) in [
        ("error", "told to fail"),
        ("trap", "trapped"),
        ("bad-chain", "not a chain"),
        ("bad-address", "5 bytes"),
        ("mixed", "5 bytes"),
    ] {
        let outcome = fixture
            .aggregate(&job(guest).config("fault", fault), AggregatorCall::ProcessInput)
            .await
            .unwrap();
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.class, GuestErrorClass::Fault, "{fault}: {failure:?}");
        assert!(failure.detail.contains(expect), "{fault}: {failure:?}");
    }
    let unknown = fixture
        .aggregate(&job(guest).config("chain", "evm:1"), AggregatorCall::ProcessInput)
        .await
        .unwrap();
    assert!(unknown.result.unwrap_err().detail.contains("no chain config for evm:1"));
    let looping = job(guest).config("fault", "loop").limit("time_limit_seconds", 1);
    let failure = fixture
        .aggregate(&looping, AggregatorCall::ProcessInput)
        .await
        .unwrap()
        .result
        .unwrap_err();
    assert_eq!(failure.class, GuestErrorClass::Limit, "{failure:?}");
}

#[tokio::test]
async fn timers_carry_whole_seconds() {
    let fixture = Fixture::new();
    let guest = fixture.guest("timer-aggregator").await;
    let job = job(guest).config("timer_delay_secs", "7");
    let actions = fixture
        .aggregate(&job, AggregatorCall::ProcessInput)
        .await
        .unwrap()
        .result
        .unwrap();
    assert_eq!(actions, [Action::Timer { delay_secs: 7 }]);
    let due = fixture
        .aggregate(&job, AggregatorCall::Timer)
        .await
        .unwrap()
        .result
        .unwrap();
    assert!(matches!(due.as_slice(), [Action::SubmitEvm { .. }]), "{due:?}");
}
