//! A node that is killed between any two statements of what goes wrong: a component that fails, a target that cannot be, one that
//! waits for weight, a transaction that is outbid, and one that a reorganisation takes back.
//!
//! As in `kills.rs` the victim is this test binary again, and a second process lives the same life to its end.

#![allow(missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use alloy::providers::Provider as _;
use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use rusqlite::Connection;
use serde_json::json;
use support::engine::response;
use support::trigger::action;
use support::{PHRASE, World, document, manager};
use wavs_ipc::ErrorCode;
use wavs_ipc::contract::engine::{Action, AggregatorCall};
use wavs_ipc::contract::job::{GuestError, GuestErrorClass};
use wavs_store::fault;
use wavs_types::{EvmAddress, Trigger, TriggerData};

/// Key 1 of the test phrase, which the first service gets.
const SIGNER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// Key 0 of it, which pays.
const ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const LIMIT: Duration = Duration::from_secs(120);

/// The points that only such a life passes. One that is missing here, or that it does not pass any more, fails the test.
const POINTS: [&str; 7] = [
    "input.failed",
    "target.ended",
    "target.held",
    "target.unmined",
    "tx.dropped",
    "tx.outbid",
    "tx.replaced",
];

/// What a life needs to know: it outlives the process, so it is written down for it.
fn write_place(dir: &Path, chain: &Anvil, contracts: &Contracts) {
    let text = format!(
        "{}\n{}\n{}\n{}",
        chain.http(),
        contracts.manager,
        contracts.handler,
        contracts.trigger
    );
    std::fs::write(dir.join("place"), text).unwrap();
}

struct Life {
    contracts: Contracts,
    ledger: Connection,
}

impl Life {
    async fn rpc(&self, method: &'static str, params: serde_json::Value) -> serde_json::Value {
        let answer = self.contracts.provider.raw_request(method.into(), params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Whether the ledger has such a row.
    fn is(&self, sql: &str) -> bool {
        self.ledger.prepare(sql).unwrap().exists([]).unwrap()
    }

    /// Waits until the ledger has such a row.
    async fn until(&self, sql: &str) {
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !self.is(sql) {
            assert!(tokio::time::Instant::now() < deadline, "never: {sql}");
            tokio::task::yield_now().await;
        }
    }
}

const MINED: &str = "SELECT 1 FROM targets JOIN job_events USING (event_id) JOIN jobs USING (job)
                     WHERE source_key = 'stuck' AND targets.rank = 8";

/// Lives from what is in `dir` to the end.
#[allow(clippy::too_many_lines)] // One story, told in order.
async fn live(dir: &Path) {
    let place = std::fs::read_to_string(dir.join("place")).unwrap();
    let mut lines = place.lines();
    let http = lines.next().unwrap().to_owned();
    let mut address = || -> EvmAddress { lines.next().unwrap().parse().unwrap() };
    let contracts = Contracts::at(&http, address(), address(), address()).unwrap();
    let manager_text = contracts.manager.to_string();
    let service = manager(&manager_text).service_id();

    let mut world = World::at(dir);
    assert_eq!(world.phrase, Some(PHRASE));
    (world.chain, world.posts, world.receipt_deadline_secs) = (Some(http), true, Some(1));
    world.trigger.publish(&manager_text, document(&manager_text, "active"));
    world.engine.on_operator(|_, job| {
        let TriggerData::Raw(data) = job.action.decode().unwrap().data else {
            unreachable!("all triggers are raw")
        };
        Ok(Ok(vec![response(&data)]))
    });
    let handler = contracts.handler.into_array();
    world.engine.on_aggregator(move |job| {
        let submit = |chain: &str| Action::SubmitEvm {
            chain: chain.parse().unwrap(),
            address: handler,
            gas_price: None,
        };
        if job.call != AggregatorCall::ProcessInput {
            return Ok(Ok(vec![]));
        }
        Ok(match job.response.payload.as_slice() {
            b"fails" => Err(GuestError {
                class: GuestErrorClass::Limit,
                detail: "too long".to_owned(),
            }),
            b"nowhere" => Ok(vec![submit("evm:404")]),
            _ => Ok(vec![submit("evm:31337")]),
        })
    });
    let node = world.start().await;
    let life = Life {
        contracts,
        ledger: Connection::open(world.ledger()).unwrap(),
    };
    // An earlier life may have left the chain in its hands.
    life.rpc("evm_setAutomine", json!([true])).await;
    life.rpc("evm_mine", json!([])).await;
    match node.add(&manager_text).await {
        Ok(_) => {}
        Err(error) => assert!(error.code == ErrorCode::Conflict, "{error}"),
    }
    let fire = |data: &str| {
        let action = action(service, "submit", data.as_bytes());
        assert_eq!(action.config.trigger, Trigger::Manual);
        world.trigger.fire(data, &action, None);
    };

    for data in ["fails", "nowhere", "waits"] {
        fire(data);
    }
    // The key has no weight yet, so this one is held; then it gets some.
    life.until("SELECT 1 FROM targets WHERE chain = 'evm:31337' AND (attempt > 0 OR rank >= 8)")
        .await;
    life.contracts.register(SIGNER.parse().unwrap(), 100).await.unwrap();
    life.rpc("evm_mine", json!([])).await;
    life.until("SELECT 1 FROM targets WHERE chain = 'evm:31337' AND rank >= 8")
        .await;

    // Nothing is mined until it was outbid; then another transaction takes its place in a reorganisation.
    let is_first = !dir.join("stuck").exists();
    std::fs::write(dir.join("stuck"), "").unwrap();
    if is_first {
        life.rpc("evm_setAutomine", json!([false])).await;
        let snapshot = life.rpc("evm_snapshot", json!([])).await;
        fire("stuck");
        life.until("SELECT 1 FROM tx GROUP BY nonce HAVING count(*) > 1").await;
        life.rpc("evm_mine", json!([])).await;
        life.until(MINED).await;
        life.rpc("evm_revert", json!([snapshot])).await;
        let foreign = json!({"from": ACCOUNT, "to": ACCOUNT,
            "maxFeePerGas": "0x174876e800", "maxPriorityFeePerGas": "0x174876e800"});
        life.rpc("eth_sendTransaction", json!([foreign])).await;
        life.rpc("anvil_mine", json!(["0x3"])).await;
        life.rpc("evm_setAutomine", json!([true])).await;
    } else {
        fire("stuck");
    }
    let deadline = tokio::time::Instant::now() + LIMIT;
    while life.contracts.result_count().await.unwrap() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "{:#?}", node.jobs().await);
    }
    life.until(
        "SELECT 1 FROM (SELECT count(*) AS told FROM targets WHERE rank >= 8 AND callback = 'done') WHERE told = 3",
    )
    .await;
    life.until("SELECT 1 FROM buckets WHERE input = 'failed'").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn setbacks() {
    let Some(dir) = fault::directory() else { return };
    live(&dir).await;
    fault::acknowledge("end");
}

fn audit(dir: &Path, moment: &str) {
    let ledger = Connection::open(dir.join("ledger.db")).unwrap();
    let ask = |sql: &str| -> u64 { ledger.query_row(sql, [], |row| row.get(0)).unwrap() };
    for (what, sql, expected) in [
        ("jobs", "SELECT count(*) FROM jobs", 4),
        ("signatures", "SELECT count(*) FROM signed", 4),
        (
            "failed inputs",
            "SELECT count(*) FROM events JOIN buckets USING (event_id) WHERE input = 'failed' AND events.state = 'failed'",
            1,
        ),
        (
            "targets that ended",
            "SELECT count(*) FROM targets JOIN events USING (event_id) WHERE targets.state = 'failed' AND events.state = 'failed'",
            1,
        ),
        (
            "targets that landed",
            "SELECT count(*) FROM targets WHERE state IN ('mined', 'final') AND tx IS NOT NULL",
            2,
        ),
        ("targets", "SELECT count(*) FROM targets", 3),
        (
            "transactions without an end",
            "SELECT count(*) FROM tx WHERE state = 'stored'",
            0,
        ),
    ] {
        assert_eq!(ask(sql), expected, "{what} after a kill at {moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_in_the_middle_of_a_setback_ends_it_as_if_nothing_had_been() {
    // A chain of its own for each life, because a life turns it back.
    let begin = async || {
        let chain = Anvil::start().await.unwrap();
        let contracts = Contracts::deploy(&chain).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        write_place(dir.path(), &chain, &contracts);
        (chain, contracts, dir)
    };
    let (_chain, _, dir) = begin().await;
    let path = dir.path().to_owned();
    let passed = tokio::task::spawn_blocking(move || fault::survey("setbacks", &path))
        .await
        .unwrap();
    audit(dir.path(), "no point");
    let seen: BTreeSet<&str> = passed.keys().map(String::as_str).collect();
    for point in POINTS {
        assert!(seen.contains(point), "{point} is never passed: {passed:?}");
    }
    let moments: BTreeMap<&str, u64> = POINTS.into_iter().map(|point| (point, passed[point])).collect();
    for (point, times) in moments {
        for nth in BTreeSet::from([1, times]) {
            let moment = format!("{point}:{nth}");
            let (_chain, contracts, dir) = begin().await;
            let path = dir.path().to_owned();
            let crash = tokio::task::spawn_blocking(move || fault::Crash::run("setbacks", point, nth, &path))
                .await
                .unwrap();
            // How often a target is held or outbid depends on the speed of the machine.
            assert!(crash.killed || nth > 1, "nothing died at {moment}");
            live(dir.path()).await;
            audit(dir.path(), &moment);
            assert_eq!(contracts.result_count().await.unwrap(), 2, "on chain after {moment}");
        }
    }
}
