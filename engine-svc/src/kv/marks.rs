//! Marks of runs whose writes were committed with their result: what tells a repeat from a new run.
//!
//! A process that dies between the commit and the answer leaves a caller who does not know, and who asks again with a higher
//! attempt. The mark, which is part of the same commit, then holds the answer.

use rusqlite::{Connection, OptionalExtension, params};
use wavs_ipc::contract::job::RunId;

use super::ops::KvError;

/// Marks of one service that are kept. A repeat comes soon after the death that caused it; one whose mark is gone already
/// runs again, on top of what it stored.
const MARKS: i64 = 4_096;
/// Bytes of a result that a mark keeps; a run with a larger one has no mark, and its repeat runs again.
const MAX_RESULT: usize = 64 << 10;
/// Marks are counted after this many new ones, so that a commit costs no count.
const COUNT_EVERY: i64 = 64;

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
    let number: i64 = db
        .prepare_cached(
            "INSERT INTO mark (service, job, call, attempt, result) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (service, job, call) DO UPDATE SET attempt = excluded.attempt, result = excluded.result
             RETURNING number",
        )?
        .query_row(
            params![service, mark.run.job.to_be_bytes(), mark.call, mark.run.attempt, result],
            |row| row.get(0),
        )?;
    if number % COUNT_EVERY == 0 {
        db.prepare_cached(
            "DELETE FROM mark WHERE service = ?1 AND number <=
             (SELECT number FROM mark WHERE service = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![service, MARKS])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::schema::in_memory;

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

    #[test]
    fn old_marks_go() {
        let db = in_memory();
        for job in 0..10_000 {
            put(&db, &SERVICE, &mark(job, 1), b"").unwrap();
        }
        let kept: i64 = db.query_row("SELECT count(*) FROM mark", [], |row| row.get(0)).unwrap();
        assert!((MARKS..MARKS + COUNT_EVERY).contains(&kept), "{kept}");
        assert!(find(&db, &SERVICE, &mark(9_999, 2)).unwrap().is_some());
    }
}
