//! A node that is killed between any two statements: whatever was under way goes on, once.
//!
//! The victim is this test binary again. It lives one fixed life: services come and go, events run through components,
//! timers and signatures to a real chain. It is killed at every fault point that it passes, then the same life is lived to
//! its end from what is on disk, and the books are audited.

#![allow(missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use rusqlite::Connection;
use support::engine::response;
use support::trigger::action;
use support::{World, document, manager};
use wavs_aggregator::ledger::Ledger;
use wavs_aggregator::ledger::retention::{self, BATCH, Policy};
use wavs_ipc::contract::engine::{Action, AggregatorCall};
use wavs_ipc::contract::registry::Registry as _;
use wavs_ipc::{Context, ErrorCode, WireError};
use wavs_store::{Durability, fault};
use wavs_types::EvmAddress;

/// Events of one life.
const EVENTS: usize = 3;
/// A service that is added and removed, and one that cannot be added.
const PASSING: &str = "0x2222222222222222222222222222222222222222";
const REFUSED: &str = "0x3333333333333333333333333333333333333333";
/// Key 1 of the test phrase, which the first service gets.
const SIGNER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// Every point that a life passes. One that is missing here, or that no life passes any more, fails the test.
const POINTS: [&str; 24] = [
    "actions.obtained",
    "actions.target",
    "add.activated",
    "add.pin_activated",
    "add.pinned",
    "add.stored",
    "intake.cursor",
    "intake.stored",
    "migration.before_version",
    "remove.deleted",
    "remove.ended",
    "remove.retired",
    "sign.accepted",
    "sign.event",
    "sign.linked",
    "sign.moved",
    "sign.once",
    "submit.reserved",
    "target.advanced",
    "target.mined",
    "target.quorum",
    "timer.armed",
    "undo.deleted",
    "undo.released",
];
/// Points of `setbacks.rs`, where they are passed on purpose; here a slow machine may bring one about.
const SETBACKS: [&str; 8] = [
    "input.failed",
    "target.ended",
    "target.held",
    "target.unmined",
    "tx.dropped",
    "tx.outbid",
    "tx.reopened",
    "tx.replaced",
];
/// Points around each commit: they are passed often, and every passage is another moment.
const COMMITS: [&str; 4] = [
    "writer.ran",
    "writer.before_commit",
    "writer.committed",
    "writer.answered",
];
/// Passages of each commit point at which a life is ended, spread evenly over it.
const COMMIT_KILLS: u64 = 10;

/// Where the chain of a life is: it outlives the process, so it is written down for it.
struct Place {
    chain: String,
    manager: String,
    handler: EvmAddress,
    /// Makes the events of this life its own.
    seed: String,
}

impl Place {
    fn write(&self, dir: &Path) {
        let text = [&self.chain, &self.manager, &self.handler.to_string(), &self.seed]
            .map(String::as_str)
            .join("\n");
        std::fs::write(dir.join("place"), text).unwrap();
    }

    fn read(dir: &Path) -> Self {
        let text = std::fs::read_to_string(dir.join("place")).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap();
        Self {
            chain: next(),
            manager: next(),
            handler: next().parse().unwrap(),
            seed: next(),
        }
    }
}

/// Longest wait for anything.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Lives from what is in `dir` to the end: every event is on chain, every callback told, the passing service gone.
async fn live(dir: &Path) {
    let place = Place::read(dir);
    let mut world = World::at(dir);
    (world.chain, world.posts) = (Some(place.chain.clone()), true);
    for address in [place.manager.as_str(), PASSING, REFUSED] {
        world.trigger.publish(address, document(address, "active"));
    }
    world
        .engine
        .on_operator(|_, job| Ok(Ok(vec![response(job.action.text())])));
    let handler = place.handler.into_array();
    world.engine.on_aggregator(move |job| {
        let submit = Action::SubmitEvm {
            chain: "evm:31337".parse().unwrap(),
            address: handler,
            gas_price: None,
        };
        Ok(Ok(match job.call {
            AggregatorCall::ProcessInput => vec![Action::Timer { delay_secs: 0 }],
            AggregatorCall::Timer => vec![submit],
            AggregatorCall::Submitted(_) => vec![],
        }))
    });
    let node = world.start().await;
    let registry = || node.node.service.clone();
    let add = async |address: &str| {
        match node.add(address).await {
            Ok(_) => {}
            // An earlier life got that far, and this one completes it.
            Err(error) => assert!(error.code == ErrorCode::Conflict, "{error}"),
        }
        let id = manager(address).service_id();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let summary = registry().service(Context::current(), id).await.unwrap().summary;
            if summary.state == "active" {
                break;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{address} is not active: {summary:?}"
            );
            tokio::task::yield_now().await;
        }
    };
    add(&place.manager).await;
    for number in 0..EVENTS {
        let data = format!("{}/{number}", place.seed);
        let action = action(manager(&place.manager).service_id(), "submit", data.as_bytes());
        world.trigger.fire(&format!("evm:31337/{data}"), &action, None);
    }
    add(PASSING).await;
    world
        .trigger
        .refuse_sync(Some(WireError::never(ErrorCode::Invalid, "no room")));
    assert!(node.add(REFUSED).await.is_err());
    world.trigger.refuse_sync(None);
    // The refused one is there only if an earlier life was killed in the middle of its add.
    for address in [PASSING, REFUSED] {
        while let Err(error) = registry()
            .remove_service(Context::current(), manager(address), false)
            .await
        {
            assert!(error.code == ErrorCode::Conflict, "{error}");
        }
    }

    let ledger = Connection::open(world.ledger()).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let told = || -> usize {
        ledger
            .query_row(
                "SELECT count(*) FROM targets WHERE rank >= 8 AND callback = 'done'",
                [],
                |row| row.get(0),
            )
            .unwrap()
    };
    while told() < EVENTS {
        assert!(
            tokio::time::Instant::now() < deadline,
            "only {} events are done: {:#?}",
            told(),
            node.jobs().await
        );
        node.jobs().await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn life() {
    let Some(dir) = fault::directory() else { return };
    live(&dir).await;
    fault::acknowledge("end");
}

/// Nothing is lost, nothing is there twice, nothing needs repair.
fn audit(dir: &Path, moment: &str) {
    let ledger = Connection::open(dir.join("ledger.db")).unwrap();
    let ask = |sql: &str| -> u64 { ledger.query_row(sql, [], |row| row.get(0)).unwrap() };
    let sound: String = ledger
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok", "{moment}");
    let events = EVENTS as u64;
    for (what, sql, expected) in [
        ("jobs", "SELECT count(*) FROM jobs", events),
        (
            "occurrences",
            "SELECT count(DISTINCT source_key) FROM jobs WHERE state = 'signed'",
            events,
        ),
        ("signatures", "SELECT count(*) FROM signed", events),
        (
            "signed events",
            "SELECT count(DISTINCT event_id) FROM signed JOIN events USING (event_id)",
            events,
        ),
        ("links", "SELECT count(*) FROM job_events", events),
        ("buckets", "SELECT count(*) FROM buckets WHERE input = 'done'", events),
        ("collected signatures", "SELECT count(*) FROM signatures", events),
        ("timers", "SELECT count(*) FROM timers WHERE state = 'fired'", events),
        (
            "targets",
            "SELECT count(*) FROM targets WHERE rank >= 8 AND tx IS NOT NULL",
            events,
        ),
        (
            "nonces",
            "SELECT count(*) FROM (SELECT DISTINCT target, nonce FROM tx)",
            events,
        ),
        (
            "transactions",
            "SELECT count(DISTINCT target) FROM tx WHERE kind = 'call'",
            events,
        ),
        ("services", "SELECT count(*) FROM services WHERE state = 'active'", 1),
        ("all services", "SELECT count(*) FROM services", 1),
        (
            "pins",
            "SELECT count(*) FROM pins WHERE (hd_index, state) IN (VALUES (1, 'active'), (2, 'retired'))",
            2,
        ),
        (
            "other pins",
            "SELECT count(*) FROM pins WHERE hd_index > 3 OR state = 'pending'",
            0,
        ),
    ] {
        assert_eq!(ask(sql), expected, "{what} after a kill at {moment}");
    }
}

/// The moments of a survey at which a life is ended.
fn moments(passed: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut moments = Vec::new();
    for (point, times) in passed {
        let spread = if COMMITS.contains(&point.as_str()) {
            COMMIT_KILLS.min(*times)
        } else {
            2.min(*times)
        };
        for part in 0..spread {
            moments.push((point.clone(), 1 + part * times / spread));
        }
    }
    moments
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_between_any_two_statements_goes_on_and_does_everything_once() {
    let chain = Anvil::start().await.unwrap();
    let contracts = Contracts::deploy(&chain).await.unwrap();
    contracts.register(SIGNER.parse().unwrap(), 100).await.unwrap();
    // A key counts from the block after its registration.
    contracts.fire(b"block").await.unwrap();
    let begin = |seed: &str| {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            chain: chain.http(),
            manager: contracts.manager.to_string(),
            handler: contracts.handler,
            seed: seed.to_owned(),
        };
        place.write(dir.path());
        dir
    };

    let dir = begin("survey");
    let path = dir.path().to_owned();
    let passed = tokio::task::spawn_blocking(move || fault::survey("life", &path))
        .await
        .unwrap();
    audit(dir.path(), "no point");
    let seen: BTreeSet<&str> = passed
        .keys()
        .map(String::as_str)
        .filter(|point| !SETBACKS.contains(point))
        .collect();
    let listed: BTreeSet<&str> = POINTS.into_iter().chain(COMMITS).collect();
    assert_eq!(seen, listed, "the list of fault points is not what a life passes");

    for (point, nth) in moments(&passed) {
        let moment = format!("{point}:{nth}");
        let dir = begin(&moment);
        let landed = contracts.result_count().await.unwrap();
        let (path, at) = (dir.path().to_owned(), point.clone());
        let crash = tokio::task::spawn_blocking(move || fault::Crash::run("life", &at, nth, &path))
            .await
            .unwrap();
        // Group commits make the passages of a life vary a little, so a late one may not be reached.
        assert!(crash.killed || nth > 1, "nothing died at {moment}");
        live(dir.path()).await;
        audit(dir.path(), &moment);
        assert_eq!(
            contracts.result_count().await.unwrap() - landed,
            EVENTS as u64,
            "on chain after {moment}"
        );
    }
}

/// Triggers of a service whose component cannot be had, and of another one.
const STUCK: usize = 30;
const BRIEF: usize = 2;

/// Jobs that are kept, more than there are, so that no sweep takes one; half of them may wait.
const KEPT: usize = 40;

/// Lives from what is in `dir` until every trigger is stored, and the other service is served.
async fn overflow(dir: &Path) {
    let mut world = World::at(dir);
    world.toml = format!("[wavs]\njobs.max_stored = {KEPT}\n");
    world.trigger.publish(PASSING, document(PASSING, "active"));
    let (stuck, other) = (manager(support::ADDRESS).service_id(), manager(PASSING).service_id());
    world.engine.on_operator(move |_, job| {
        if String::from_utf8_lossy(job.action.text()).contains(&other.to_string()) {
            Ok(Ok(vec![]))
        } else {
            Err(WireError::backoff(ErrorCode::Fetch, "the registry does not answer"))
        }
    });
    let node = world.start().await;
    for address in [support::ADDRESS, PASSING] {
        match node.add(address).await {
            Ok(_) => {}
            Err(error) => assert!(error.code == ErrorCode::Conflict, "{error}"),
        }
    }
    let services = std::iter::repeat_n(stuck, STUCK).chain(std::iter::repeat_n(other, BRIEF));
    for (number, service) in services.enumerate() {
        let action = action(service, "silent", &number.to_be_bytes());
        world.trigger.fire(&format!("evm:31337/{number}"), &action, None);
    }
    let ledger = Connection::open(world.ledger()).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let served = || -> usize {
        let sql = "SELECT count(*) FROM jobs WHERE state = 'no_output'";
        ledger.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    while served() < BRIEF {
        assert!(tokio::time::Instant::now() < deadline, "{:#?}", node.jobs().await);
        tokio::task::yield_now().await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overflowing() {
    let Some(dir) = fault::directory() else { return };
    overflow(&dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_while_it_gives_jobs_up_stores_each_once_and_counts_right() {
    let audit = |dir: &Path, moment: &str| {
        let ledger = Connection::open(dir.join("ledger.db")).unwrap();
        let ask = |sql: &str| -> usize { ledger.query_row(sql, [], |row| row.get(0)).unwrap() };
        let waiting = ask("SELECT count(*) FROM jobs WHERE state = 'received'");
        assert!(waiting <= KEPT / 2, "{waiting} jobs wait after a kill at {moment}");
        for (what, sql, expected) in [
            ("jobs", "SELECT count(*) FROM jobs", STUCK + BRIEF),
            ("the count", "SELECT sum(jobs) FROM waiting", waiting),
            (
                "given up",
                "SELECT count(*) FROM jobs WHERE state = 'failed' AND given_up = 1 AND error LIKE 'backlog_full: %'",
                STUCK - waiting,
            ),
        ] {
            assert_eq!(ask(sql), expected, "{what} after a kill at {moment}");
        }
    };
    let point = "intake.given_up";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let passed = tokio::task::spawn_blocking(move || fault::survey("overflowing", &path))
        .await
        .unwrap();
    audit(dir.path(), "no point");
    for nth in BTreeSet::from([1, passed[point]]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let crash = tokio::task::spawn_blocking(move || fault::Crash::run("overflowing", point, nth, &path))
            .await
            .unwrap();
        // How many batches there are depends on the speed of the machine.
        assert!(crash.killed || nth > 1, "nothing died at {point}:{nth}");
        overflow(dir.path()).await;
        audit(dir.path(), &format!("{point}:{nth}"));
    }
}

/// Everything is old and over: what a sweep may delete.
const OLD: Policy = Policy {
    tombstone_ms: 0,
    jobs_ms: 0,
    max_jobs: 0,
};

async fn forget(dir: &Path) {
    let ledger = Ledger::open(&dir.join("ledger.db")).unwrap();
    let later = wavs_aggregator::clock::now_ms() + 1_000;
    for (_, pass) in retention::passes() {
        let deleted = ledger
            .write(Durability::Process, move |tx| pass(tx, &OLD, later))
            .await
            .unwrap();
        assert!(deleted < BATCH as usize);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting() {
    let Some(dir) = fault::directory() else { return };
    forget(&dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_killed_between_any_two_statements_forgets_no_end() {
    let world = World::new();
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap().service_id;
    for number in 0..EVENTS {
        let data = number.to_be_bytes();
        world.trigger.fire(
            &format!("manual/1/{number}"),
            &action(service, "submit", &data),
            Some(1),
        );
    }
    node.injected(1, EVENTS.try_into().unwrap()).await;
    node.job(|job| job.state == "no_output").await;
    while node.jobs().await.iter().any(|job| job.state != "no_output") {}
    node.stop().await;

    let copy = || {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(world.ledger(), dir.path().join("ledger.db")).unwrap();
        dir
    };
    // The last connection that closes checkpoints, so that the one file is the whole ledger.
    let open = Connection::open(world.ledger()).unwrap();
    open.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(open);
    let dir = copy();
    let passed = {
        let path = dir.path().to_owned();
        tokio::task::spawn_blocking(move || fault::survey("forgetting", &path))
            .await
            .unwrap()
    };
    for point in ["retention.stripped", "retention.unlinked", "done.entered"] {
        assert!(passed.contains_key(point), "{point} is never passed: {passed:?}");
    }
    for (point, times) in passed {
        for nth in [1, times] {
            let dir = copy();
            let (path, at) = (dir.path().to_owned(), point.clone());
            let crash = tokio::task::spawn_blocking(move || fault::Crash::run("forgetting", &at, nth, &path))
                .await
                .unwrap();
            // The test may end before the writer thread passes its last point.
            assert!(
                crash.killed || COMMITS.contains(&point.as_str()),
                "nothing died at {point}:{nth}"
            );
            forget(dir.path()).await;
            let ledger = Connection::open(dir.path().join("ledger.db")).unwrap();
            let ask = |sql: &str| -> usize { ledger.query_row(sql, [], |row| row.get(0)).unwrap() };
            for (table, rows) in [
                ("jobs", 0),
                ("events", 0),
                ("buckets", 0),
                ("done", EVENTS),
                ("signed", EVENTS),
            ] {
                assert_eq!(
                    ask(&format!("SELECT count(*) FROM {table}")),
                    rows,
                    "{table} after a kill at {point}:{nth}"
                );
            }
        }
    }
}
