//! What is forgotten when, at times that the tests choose.

use rusqlite::params;

use super::*;
use crate::ledger::done;
use crate::ledger::history::{self, Actor, Note};
use crate::ledger::retention::{self, AUDIT_MS, BATCH, Bound, DONE_MS, Policy, TABLES};

const POLICY: Policy = Policy {
    tombstone_ms: 1_000,
    jobs_ms: 5_000,
    max_jobs: 100,
};

/// Runs the pass of a table until nothing is left for it; answers how many rows it took and in how many steps.
fn sweep(tx: &Connection, table: &str, policy: &Policy, now_ms: u64) -> Result<(usize, usize)> {
    let (_, pass) = retention::passes().find(|(name, _)| *name == table).unwrap();
    let (mut rows, mut steps) = (0, 0);
    loop {
        let deleted = pass(tx, policy, now_ms)?;
        (rows, steps) = (rows + deleted, steps + 1);
        if deleted < BATCH as usize {
            return Ok((rows, steps));
        }
    }
}

fn sweep_all(tx: &Connection, now_ms: u64) -> Result<()> {
    for (table, _) in retention::passes() {
        sweep(tx, table, &POLICY, now_ms)?;
    }
    Ok(())
}

fn count(tx: &Connection, table: &str) -> Result<u32> {
    tx.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
}

/// What signing stores for an event.
fn sign(tx: &Connection, number: u8) -> Result<()> {
    let signed = crate::ledger::signed::Signed {
        digest: B256::repeat_byte(number),
        signature: [1; 65],
    };
    let signer = wavs_types::EvmAddress::repeat_byte(9);
    crate::ledger::signed::insert(tx, &signer, &event_id(number), &signed, b"envelope", 1)
}

#[tokio::test]
async fn every_table_of_the_schema_has_a_bound() {
    in_ledger(|tx| {
        let mut tables: Vec<String> = tx
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_>>()?;
        let mut listed: Vec<_> = TABLES.iter().map(|(table, _)| (*table).to_owned()).collect();
        listed.sort();
        tables.sort();
        assert_eq!(tables, listed);
        for (table, bound) in TABLES {
            if let Bound::With(other) = bound {
                assert!(
                    TABLES
                        .iter()
                        .any(|(name, bound)| *name == other && !matches!(bound, Bound::With(_))),
                    "{table} goes with {other}, which is not bounded itself"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_event_loses_its_bodies_then_its_rows_and_is_never_opened_again() {
    in_ledger(|tx| {
        signed(tx, 1, 5)?;
        sign(tx, 1)?;
        let target = target(tx, 1, "a")?;
        targets::mined(tx, &target, "0xabc", State::Final, 10_000_000)?;
        targets::callback_done(tx, target.id, 0)?;

        // Within the life of the tombstone everything is there.
        sweep_all(tx, 11_000)?;
        assert_eq!((count(tx, "buckets")?, count(tx, "signatures")?), (1, 1));

        // After it the bodies are gone; the job still shows how the event ended.
        sweep_all(tx, 11_001)?;
        assert_eq!((count(tx, "buckets")?, count(tx, "signatures")?), (0, 0));
        let envelope: Vec<u8> = tx.query_row("SELECT envelope FROM signed", [], |row| row.get(0))?;
        assert!(envelope.is_empty());
        assert_eq!(state(tx, 1), State::Final);
        assert_eq!(done::closed(tx, &event_id(1))?, None);

        // After the life of the job only the index entry and the digest are left.
        sweep_all(tx, 15_001)?;
        for table in ["jobs", "job_events", "events", "targets"] {
            assert_eq!(count(tx, table)?, 0, "{table}");
        }
        let reason = done::closed(tx, &event_id(1))?.unwrap();
        assert!(
            reason.contains("ended before as final with transaction 0xabc"),
            "{reason}"
        );
        let again = NewEvent {
            event_id: event_id(1),
            service_id: SERVICE,
            workflow_id: "default".parse().unwrap(),
            own_digest: Some(B256::repeat_byte(1)),
            deadline_ms: 1,
        };
        assert!(events::insert(tx, &again, 1)?.is_none(), "a queue was opened again");

        // And when the entry goes too, the sign-once row still closes the event.
        sweep_all(tx, 10_000 + DONE_MS + 1)?;
        assert_eq!(count(tx, "done")?, 0);
        let reason = done::closed(tx, &event_id(1))?.unwrap();
        assert!(reason.contains("was signed before"), "{reason}");
        assert_eq!(done::closed(tx, &event_id(2))?, None, "an unknown event is open to all");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_due_callback_and_an_open_event_keep_their_input() {
    in_ledger(|tx| {
        for number in [1, 2] {
            signed(tx, number, 5)?;
        }
        let target = target(tx, 1, "a")?;
        targets::mined(tx, &target, "0xabc", State::Final, 6)?;
        sweep_all(tx, 1_000_000)?;
        assert_eq!(count(tx, "buckets")?, 2);
        targets::callback_done(tx, target.id, 0)?;
        sweep_all(tx, 1_000_000)?;
        assert_eq!(count(tx, "buckets")?, 1);
        assert_eq!(state(tx, 2), State::Collecting);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn too_many_jobs_cost_the_oldest_that_are_over_and_no_pass_is_large() {
    in_ledger(|tx| {
        for number in 0..600_u64 {
            let job = NewJob {
                job: (u128::from(number) << 80) + 1,
                source_key: format!("many/{number}"),
                ..job(7)
            };
            jobs::insert(tx, &job, number * 1_000)?;
            // Every tenth one still waits for its run.
            if number % 10 != 0 {
                jobs::end(tx, job.job, &Ending::skipped("paused", "x"), number * 1_000)?;
            }
        }
        let policy = Policy {
            max_jobs: 100,
            jobs_ms: 1_000_000,
            ..POLICY
        };
        let (rows, steps) = sweep(tx, "jobs", &policy, 600)?;
        assert_eq!(rows, 500);
        assert_eq!(steps, 2, "at most {BATCH} in one transaction");
        assert_eq!(count(tx, "jobs")?, 100);
        let waiting: u32 = tx.query_row("SELECT count(*) FROM jobs WHERE state = 'received'", [], |row| {
            row.get(0)
        })?;
        assert_eq!(waiting, 60);
        let oldest: [u8; 16] = tx.query_row("SELECT min(job) FROM jobs WHERE state <> 'received'", [], |row| {
            row.get(0)
        })?;
        assert!(u128::from_be_bytes(oldest) >> 80 > 500, "the newest stay");

        // Age takes the rest of those that are over, whatever their number.
        sweep(
            tx,
            "jobs",
            &Policy {
                max_jobs: 1_000,
                jobs_ms: 10,
                ..POLICY
            },
            10_000,
        )?;
        assert_eq!(count(tx, "jobs")?, 60);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_service_gave_up_goes_before_the_records_of_the_others() {
    in_ledger(|tx| {
        let quiet = ServiceId::new([5; 32]);
        for number in 0..20_u64 {
            let job = NewJob {
                job: (u128::from(number) << 80) + 1,
                service_id: if number < 10 { quiet } else { SERVICE },
                source_key: format!("many/{number}"),
                ..job(7)
            };
            jobs::insert(tx, &job, number * 1_000)?;
        }
        for number in 0..10_u64 {
            let job = (u128::from(number) << 80) + 1;
            jobs::end(tx, job, &Ending::failed("guest_fault", "no"), 20_000)?;
        }
        jobs::give_up(tx, &SERVICE, 10, &Ending::failed("backlog_full", "too many"), 20_000)?;

        let left = |max_jobs: u64| -> Result<(u32, u32)> {
            let policy = Policy {
                max_jobs,
                jobs_ms: 1_000_000,
                ..POLICY
            };
            let (_, steps) = sweep(tx, "jobs", &policy, 600)?;
            assert_eq!(steps, 1);
            tx.query_row("SELECT sum(given_up), sum(1 - given_up) FROM jobs", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        };
        assert_eq!(left(12)?, (2, 10));
        assert_eq!(left(5)?, (0, 5), "then the oldest");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn transactions_and_audit_entries_go_when_nothing_needs_them() {
    in_ledger(|tx| {
        let day = 24 * 3_600 * 1_000;
        signed(tx, 1, 5)?;
        let open = target(tx, 1, "a")?;
        let mut insert = tx.prepare(
            "INSERT INTO tx (chain, chain_id, account, nonce, target, kind, max_fee, gas, raw, hash, judged_at, state, created_ms)
             VALUES ('evm:1', 1, x'00', ?1, ?2, 'call', '1', 1, x'00', ?3, 1, ?4, 1)",
        )?;
        for (nonce, target, state) in [
            (1_u8, "target/999".to_owned(), "final"),
            (2, "target/999".to_owned(), "stored"),
            (3, format!("target/{}", open.id), "final"),
            (4, "cancel".to_owned(), "replaced"),
        ] {
            insert.execute(params![nonce, target, [nonce], state])?;
        }
        sweep(tx, "tx", &POLICY, 2 * day)?;
        assert_eq!(count(tx, "tx")?, 4, "a day's cost adds them up");
        sweep(tx, "tx", &POLICY, 2 * day + 2)?;
        let left: Vec<u64> = tx
            .prepare("SELECT nonce FROM tx ORDER BY nonce")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_>>()?;
        assert_eq!(left, [2, 3], "under way, and the proof of an open target");

        history::note(tx, &SERVICE, &Note::new("deleted", Actor::Api, ""), 5)?;
        sweep(tx, "audit", &POLICY, AUDIT_MS)?;
        assert_eq!(count(tx, "audit")?, 1);
        sweep(tx, "audit", &POLICY, AUDIT_MS + 6)?;
        assert_eq!(count(tx, "audit")?, 0);
        Ok(())
    })
    .await;
}
