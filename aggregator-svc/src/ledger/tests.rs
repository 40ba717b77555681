//! The ledger across files: an event's way through its targets, removal, retention, and the views.

use rusqlite::{Connection, Result};
use wavs_ipc::contract::registry::JobQuery;
use wavs_store::Durability;
use wavs_types::{B256, EventId, ServiceDigest, ServiceId, SignatureKind, WasmResponse};

use super::buckets::{self, NewBucket, SignatureRow};
use super::due::DueQuery;
use super::events::{self, NewEvent};
use super::jobs::{self, NewJob};
use super::targets::{self, NewTarget};
use super::{Ending, Ledger, State, timers, views};

mod blame;
mod others;
mod parked;
mod retention;
mod waiting;

const SERVICE: ServiceId = ServiceId::new([3; 32]);

fn event_id(number: u8) -> EventId {
    EventId::new([number; 20])
}

/// A job that nothing happened to yet.
fn job(number: u8) -> NewJob {
    NewJob {
        job: u128::from(number),
        service_id: SERVICE,
        workflow_id: "default".parse().unwrap(),
        service_digest: ServiceDigest::new([4; 32]),
        trigger_kind: "manual".to_owned(),
        source_key: format!("source/{number}"),
        injection: None,
        action: b"{}".to_vec(),
        event_id: event_id(number),
        seen_us: 5,
    }
}

/// A job of its own with one signed event.
fn signed(tx: &Connection, number: u8, now_us: u64) -> Result<()> {
    let job = job(number);
    assert!(jobs::insert(tx, &job, now_us)?);
    assert!(
        !jobs::insert(
            tx,
            &NewJob {
                job: 999,
                ..job.clone()
            },
            now_us
        )?,
        "one occurrence is one job"
    );
    let event = NewEvent {
        event_id: event_id(number),
        service_id: SERVICE,
        workflow_id: "default".parse().unwrap(),
        own_digest: Some(B256::repeat_byte(number)),
        deadline_ms: 1_000,
    };
    events::insert(tx, &event, now_us)?;
    events::link(tx, job.job, &event.event_id)?;
    let bucket = NewBucket {
        event_id: event.event_id,
        digest: B256::repeat_byte(number),
        response: WasmResponse {
            payload: vec![number].into(),
            ordering: None,
            event_id_salt: None,
        },
        action: b"{}".to_vec(),
        kind: SignatureKind::EIP191,
    };
    buckets::insert(tx, &bucket)?;
    let signature = SignatureRow {
        signer: [1; 20].into(),
        signature: [2; 65],
    };
    assert!(buckets::insert_signature(
        tx,
        &event.event_id,
        &B256::repeat_byte(number),
        &signature,
        now_us
    )?);
    let other = SignatureRow {
        signature: [9; 65],
        ..signature
    };
    assert!(
        !buckets::insert_signature(tx, &event.event_id, &B256::repeat_byte(number), &other, now_us)?,
        "the first one wins"
    );
    jobs::leave_received(tx, job.job, State::Signed, &job.service_digest, None, now_us)?;
    Ok(())
}

fn target(tx: &Connection, number: u8, handler: &str) -> Result<targets::TargetRow> {
    let new = NewTarget {
        event_id: event_id(number),
        digest: B256::repeat_byte(number),
        chain: "evm:1".parse().unwrap(),
        handler: handler.to_owned(),
        gas_hint: None,
        deadline_ms: 1_000,
    };
    let id = targets::insert(tx, &new)?.unwrap();
    assert_eq!(
        targets::insert(
            tx,
            &NewTarget {
                gas_hint: Some(7),
                ..new
            }
        )?,
        None,
        "the fee is in no key"
    );
    let row = targets::load(tx, id)?.unwrap();
    assert_eq!(row.gas_hint, Some(7));
    Ok(row)
}

fn state(tx: &Connection, number: u8) -> State {
    events::load(tx, &event_id(number)).unwrap().unwrap().state
}

fn all() -> DueQuery {
    DueQuery {
        each: 10,
        ..DueQuery::default()
    }
}

async fn in_ledger(check: impl FnOnce(&Connection) -> Result<()> + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
    ledger.write(Durability::Process, move |tx| check(tx)).await.unwrap();
}

#[tokio::test]
async fn an_event_follows_its_least_advanced_target() {
    in_ledger(|tx| {
        signed(tx, 1, 5)?;
        let (one, two) = (target(tx, 1, "a")?, target(tx, 1, "b")?);
        targets::reached_quorum(tx, &one, 100, 2_000, 6)?;
        assert_eq!(state(tx, 1), State::Collecting);
        targets::mined(tx, &one, "0x01", State::Final, 7)?;
        targets::hold(tx, &two, State::Waiting, "no posting key", false, 9_000, 8)?;
        assert_eq!(state(tx, 1), State::Waiting);
        targets::end(tx, &two, &Ending::failed("handler_revert", "no"), 9)?;
        assert_eq!(state(tx, 1), State::Failed, "of two ends the worse one shows");
        assert!(
            !targets::advance(tx, two.id, &two.event_id, State::Submitting, None, 10)?,
            "an end is an end"
        );
        assert_eq!(targets::due_callbacks(tx, &all())?.len(), 2);

        let failed = JobQuery {
            state: Some("failed".to_owned()),
            max: 10,
            ..JobQuery::default()
        };
        let view = views::jobs(tx, &failed)?.remove(0);
        assert_eq!(view.events[0].targets.len(), 2);
        let steps: Vec<_> = view.timeline.iter().map(|(step, _)| step.as_str()).collect();
        assert_eq!(steps, ["seen", "received", "signed", "collecting", "waiting", "failed"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_armed_timer_keeps_its_event_open_and_timers_are_capped() {
    in_ledger(|tx| {
        signed(tx, 1, 5)?;
        let one = target(tx, 1, "a")?;
        let digest = B256::repeat_byte(1);
        let timer = timers::arm(tx, &event_id(1), &digest, 50_000)?.unwrap();
        targets::mined(tx, &one, "0x01", State::Final, 7)?;
        assert_eq!(state(tx, 1), State::Collecting);
        timers::close(tx, timer, "fired")?;
        events::follow_targets(tx, &event_id(1), 8)?;
        assert_eq!(state(tx, 1), State::Final);
        for number in 1..timers::MAX_TIMERS {
            assert!(timers::arm(tx, &event_id(1), &digest, 60_000 + u64::from(number))?.is_some());
        }
        assert_eq!(timers::arm(tx, &event_id(1), &digest, 99_000)?, None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn removal_ends_what_is_open_but_follows_what_was_sent() {
    in_ledger(|tx| {
        for number in [1, 2] {
            signed(tx, number, 5)?;
            target(tx, number, "a")?;
        }
        let sent = targets::of_event(tx, &event_id(2))?.remove(0);
        targets::advance(tx, sent.id, &sent.event_id, State::Submitting, None, 6)?;
        events::end_of_service(tx, &SERVICE, &Ending::skipped("removed", "gone"), 7)?;
        assert_eq!((state(tx, 1), state(tx, 2)), (State::Skipped, State::Submitting));
        assert!(buckets::due_inputs(tx, &all())?.is_empty());
        Ok(())
    })
    .await;
}
