//! Forgetting jobs that ended long ago. Sign-once rows and pins are never forgotten.

use rusqlite::{Connection, Result, params};

/// Jobs deleted in one transaction, so that a sweep never holds the writer for long.
pub const BATCH: u32 = 1_000;

/// Jobs that are over: past `received`, and without open event.
const OVER: &str = "state <> 'received' AND NOT EXISTS (
    SELECT 1 FROM job_events JOIN events USING (event_id) WHERE job_events.job = jobs.job AND rank < 10)";

/// Deletes up to [`BATCH`] jobs that are over and not changed since `before_us`, or that are beyond the newest
/// `max_stored`, with the events that only they led to. Answers how many; fewer than [`BATCH`] means that none are left.
pub fn sweep(tx: &Connection, before_us: u64, max_stored: u64) -> Result<usize> {
    let mut jobs = tx.execute(
        &format!("DELETE FROM jobs WHERE job IN (SELECT job FROM jobs WHERE updated_us < ?1 AND {OVER} ORDER BY job LIMIT ?2)"),
        params![before_us, BATCH],
    )?;
    let stored: u64 = tx.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))?;
    if let Some(surplus) = stored.checked_sub(max_stored).filter(|surplus| *surplus > 0) {
        jobs += tx.execute(
            &format!("DELETE FROM jobs WHERE job IN (SELECT job FROM jobs WHERE {OVER} ORDER BY job LIMIT ?1)"),
            [surplus.min(u64::from(BATCH))],
        )?;
    }
    if jobs > 0 {
        tx.execute("DELETE FROM job_events WHERE job NOT IN (SELECT job FROM jobs)", [])?;
    }
    // A due callback keeps its event, whose input it needs.
    tx.execute(
        "DELETE FROM events WHERE rank >= 10 AND updated_us < ?1
             AND event_id NOT IN (SELECT event_id FROM job_events)
             AND event_id NOT IN (SELECT event_id FROM targets WHERE callback = 'due')",
        [before_us],
    )?;
    for table in ["buckets", "signatures", "targets", "timers"] {
        tx.execute(
            &format!("DELETE FROM {table} WHERE event_id NOT IN (SELECT event_id FROM events)"),
            [],
        )?;
    }
    Ok(jobs)
}
