//! Marks of runs whose writes were committed with their result: what tells a repeat from a new run.
//!
//! A process that dies between the commit and the answer leaves a caller who does not know, and who asks again with a higher
//! attempt. The mark, which is part of the same commit, then holds the answer.
//!
//! Marks are the node's, so they are outside of `engine.kv_mb_per_service`. They have a bound of their own: a service has at most
//! [`MARKS`] of them with [`MAX_RESULT`] bytes each, which is 256 MiB.

use rusqlite::{Connection, OptionalExtension, params};
use wavs_ipc::contract::job::RunId;

use super::ops::KvError;

/// Marks of one service that are kept. A repeat comes soon after the death that caused it; one whose mark is gone already
/// runs again, on top of what it stored.
const MARKS: i64 = 4_096;
/// Bytes of a result that a mark keeps; a run with a larger one has no mark, and its repeat runs again.
const MAX_RESULT: usize = 64 << 10;

/// Names a run: a job of the ledger, and which call of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The job and the attempt.
    pub(crate) run: RunId,
    /// A digest of the call with its arguments, since a job may make several.
    pub(crate) call: [u8; 32],
}

/// The result of an earlier attempt at the same call, if that was committed.
pub(super) fn find(db: &Connection, service: &[u8; 32], mark: &Mark) -> Result<Option<Vec<u8>>, KvError> {
    let found = db
        .prepare_cached("SELECT result FROM mark WHERE service = ?1 AND job = ?2 AND call = ?3 AND attempt < ?4")?
        .query_row(
            params![service, mark.run.job.to_be_bytes(), mark.call, mark.run.attempt],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found)
}

/// Marks a run as done with `result`.
pub(super) fn put(db: &Connection, service: &[u8; 32], mark: &Mark, result: &[u8]) -> Result<(), KvError> {
    if result.len() > MAX_RESULT {
        return Ok(());
    }
    // The marks of a service are numbered without gaps, so their numbers tell how many there are.
    let number: i64 = db
        .prepare_cached(
            "INSERT INTO mark (service, number, job, call, attempt, result)
             VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM mark WHERE service = ?1), ?2, ?3, ?4, ?5)
             ON CONFLICT (service, job, call) DO UPDATE SET attempt = excluded.attempt, result = excluded.result
             RETURNING number",
        )?
        .query_row(
            params![service, mark.run.job.to_be_bytes(), mark.call, mark.run.attempt, result],
            |row| row.get(0),
        )?;
    db.prepare_cached("DELETE FROM mark WHERE service = ?1 AND number <= ?2")?
        .execute(params![service, number - MARKS])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::schema::{V1, V2, V3, V4, in_memory};

    const SERVICE: [u8; 32] = [7; 32];

    fn mark(job: u128, attempt: u32) -> Mark {
        Mark {
            run: RunId { job, attempt },
            call: [1; 32],
        }
    }

    #[test]
    fn a_repeat_finds_the_result_and_nobody_else_does() {
        let db = in_memory();
        put(&db, &SERVICE, &mark(5, 1), b"done").unwrap();
        let found = |service: [u8; 32], mark| find(&db, &service, &mark).unwrap();
        assert_eq!(found(SERVICE, mark(5, 2)).as_deref(), Some(b"done".as_slice()));
        assert_eq!(found(SERVICE, mark(5, 1)), None);
        assert_eq!(found(SERVICE, mark(6, 2)), None);
        assert_eq!(found([8; 32], mark(5, 2)), None);
        let other = Mark {
            call: [2; 32],
            ..mark(5, 2)
        };
        assert_eq!(found(SERVICE, other), None);
        put(&db, &SERVICE, &mark(6, 1), &vec![0; MAX_RESULT + 1]).unwrap();
        assert_eq!(found(SERVICE, mark(6, 2)), None);
    }

    fn kept(db: &Connection, service: [u8; 32]) -> i64 {
        db.query_row("SELECT count(*) FROM mark WHERE service = ?1", [service], |row| {
            row.get(0)
        })
        .unwrap()
    }

    #[test]
    fn old_marks_go_whoever_else_commits() {
        let db = in_memory();
        let services = [SERVICE, [8; 32]];
        for job in 0..5_000 {
            for service in services {
                put(&db, &service, &mark(job, 1), b"").unwrap();
            }
        }
        for service in services {
            assert_eq!(kept(&db, service), MARKS);
            assert!(find(&db, &service, &mark(4_999, 2)).unwrap().is_some());
            assert!(find(&db, &service, &mark(5_000 - 4_096, 2)).unwrap().is_some());
        }
        // A repeat takes the place of its first attempt.
        put(&db, &SERVICE, &mark(4_000, 2), b"").unwrap();
        assert_eq!(kept(&db, SERVICE), MARKS);
    }

    #[test]
    fn marks_of_before_are_trimmed_and_keep_their_order() {
        let db = Connection::open_in_memory().unwrap();
        for migration in [V1, V2, V3] {
            db.execute_batch(migration).unwrap();
        }
        let mut old = db
            .prepare("INSERT INTO mark (service, job, call, attempt, result) VALUES (?1, ?2, ?3, 1, x'')")
            .unwrap();
        for job in 0..5_000_u128 {
            for service in [SERVICE, [8; 32]] {
                old.execute(params![service, job.to_be_bytes(), [1_u8; 32]]).unwrap();
            }
        }
        db.execute_batch(V4).unwrap();
        put(&db, &SERVICE, &mark(5_000, 1), b"").unwrap();
        assert_eq!((kept(&db, SERVICE), kept(&db, [8; 32])), (MARKS, MARKS));
        let found = |job| find(&db, &SERVICE, &mark(job, 2)).unwrap().is_some();
        assert!(found(5_000) && found(4_999) && found(5_001 - 4_096) && !found(5_000 - 4_096));
    }
}
