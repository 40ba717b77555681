//! How many jobs wait, as the database counts them, and which are given up when they are too many.

use std::collections::BTreeMap;

use wavs_ipc::contract::records::{DeadLetterQuery, RetryDeadLetters, Stage};

use super::*;
use crate::ledger::counters;
use crate::ledger::dead_letters::{self, Deadlines, Due, Retried};

const OTHER: ServiceId = ServiceId::new([5; 32]);

fn insert(tx: &Connection, service_id: ServiceId, numbers: std::ops::RangeInclusive<u8>) -> Result<()> {
    for number in numbers {
        let job = NewJob {
            service_id,
            ..job(number)
        };
        assert!(jobs::insert(tx, &job, 5)?);
    }
    Ok(())
}

/// Waiting jobs of both services, counted in every way.
fn waiting(tx: &Connection) -> Result<[u64; 2]> {
    let counted: BTreeMap<_, _> = counters::waiting(tx)?
        .into_iter()
        .filter(|(_, jobs)| *jobs > 0)
        .collect();
    let rows: BTreeMap<_, _> = tx
        .prepare("SELECT service_id, count(*) FROM jobs WHERE state = 'received' GROUP BY service_id")?
        .query_map([], |row| Ok((ServiceId::new(row.get(0)?), row.get(1)?)))?
        .collect::<Result<_>>()?;
    assert_eq!(counted, rows);
    let both = [counters::received(tx, &SERVICE)?, counters::received(tx, &OTHER)?];
    assert_eq!(counters::backlog(tx)?, both.iter().sum::<u64>());
    Ok(both)
}

fn too_many() -> Ending {
    Ending::failed("backlog_full", "too many")
}

fn give_up(tx: &Connection, count: u64) -> Result<Vec<u128>> {
    let mut jobs = jobs::give_up(tx, &SERVICE, count, &too_many(), 10)?;
    jobs.sort_unstable();
    Ok(jobs)
}

fn retry(tx: &Connection, max_waiting: u64) -> Result<Retried> {
    let all = RetryDeadLetters {
        max: 100,
        ..RetryDeadLetters::default()
    };
    let deadlines = Deadlines {
        collect_ms: 1,
        submit_ms: 1,
    };
    dead_letters::retry(tx, &all, |_| Some(deadlines), max_waiting, 20)
}

#[tokio::test]
async fn the_count_of_waiting_jobs_is_that_of_their_rows() {
    in_ledger(|tx| {
        assert_eq!(waiting(tx)?, [0, 0]);
        insert(tx, SERVICE, 1..=6)?;
        insert(tx, OTHER, 7..=9)?;
        assert!(!jobs::insert(tx, &job(1), 5)?, "known already");
        assert_eq!(waiting(tx)?, [6, 3]);

        jobs::end(tx, 1, &Ending::failed("guest_fault", "no"), 10)?;
        assert_eq!(waiting(tx)?, [5, 3]);
        for first in [true, false] {
            let digest = ServiceDigest::new([4; 32]);
            assert_eq!(jobs::leave_received(tx, 2, State::Executed, &digest, None, 10)?, first);
        }
        jobs::repeat(tx, 4, jobs::Repeat::Death, "gone", 99, 10)?;
        assert_eq!(waiting(tx)?, [4, 3]);
        assert_eq!(jobs::orphan(tx, "source/3", 10)?, 1);
        assert_eq!(waiting(tx)?, [3, 3]);
        assert_eq!(give_up(tx, 2)?.len(), 2);
        assert_eq!(waiting(tx)?, [1, 3]);
        assert_eq!(retry(tx, 100)?.jobs, 3);
        assert_eq!(waiting(tx)?, [4, 3]);

        jobs::end_of_service(tx, &SERVICE, &Ending::skipped("removed", "gone"), 30)?;
        assert_eq!(waiting(tx)?, [0, 3]);
        for service in [SERVICE, OTHER] {
            counters::forget(tx, &service)?;
        }
        assert_eq!(counters::waiting(tx)?, [(OTHER, 3)], "what waits is counted on");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_service_would_do_last_is_given_up_and_retried_when_there_is_room() {
    in_ledger(|tx| {
        insert(tx, SERVICE, 1..=5)?;
        insert(tx, OTHER, 6..=6)?;
        jobs::repeat(tx, 2, jobs::Repeat::HostFault, "disk", 9_000, 6)?;
        assert!(give_up(tx, 0)?.is_empty());
        assert_eq!(give_up(tx, 2)?, [2, 5]);
        let query = DeadLetterQuery {
            max: 10,
            ..DeadLetterQuery::default()
        };
        let letters = dead_letters::list(tx, &query)?;
        assert_eq!(letters.len(), 2);
        for letter in letters {
            assert_eq!((letter.stage, letter.reason.as_str()), (Stage::Execute, "backlog_full"));
            assert_eq!(letter.job.timeline.last(), Some(&("failed".to_owned(), 10)));
        }

        // What left its chain meanwhile is not run, nor is what there is no room for.
        assert_eq!(jobs::orphan(tx, "source/5", 11)?, 1);
        let none = Retried {
            beyond: 1,
            ..Retried::default()
        };
        assert_eq!(retry(tx, 4)?, none);
        assert_eq!(retry(tx, 5)?.due, [Due::Job(SERVICE, 2)]);
        assert_eq!(waiting(tx)?, [4, 1]);
        assert_eq!(jobs::load(tx, 5)?.unwrap().state, State::Orphaned);
        Ok(())
    })
    .await;
}
