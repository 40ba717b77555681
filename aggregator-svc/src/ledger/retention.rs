//! How long every table of the ledger keeps its rows, and the passes that delete the others.
//!
//! [`TABLES`] is the one list; a test compares it with the schema. A pass deletes at most [`BATCH`] rows or events in one
//! transaction, found by index, so that housekeeping never holds the writer for long however much there is to forget.

use rusqlite::{Connection, Result, params};
use wavs_types::EventId;

use super::columns::blob;
use super::done;

/// Rows, or events with all that belongs to them, that one pass deletes at most.
pub const BATCH: u32 = 256;
/// How long the index of events that are done is kept: as long as a peer could plausibly send a record again.
pub const DONE_MS: u64 = 90 * DAY_MS;
/// How long the audit trail of a service that is gone is kept.
pub const AUDIT_MS: u64 = 90 * DAY_MS;
/// Transactions are kept at least this long after they were made, because the cap on a day's cost adds them up.
const MIN_TX_MS: u64 = 2 * DAY_MS;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// What the configuration says about keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Life of payloads, triggers, signatures and timers after the end of their event (`aggregator.burned_queue_ttl_secs`).
    pub tombstone_ms: u64,
    /// Life of jobs and of what they led to after their last change (`jobs.retention_days`).
    pub jobs_ms: u64,
    /// Most jobs stored (`jobs.max_stored`). Beyond it those that were given up go first, then the oldest that are over, open ones
    /// never.
    pub max_jobs: u64,
}

/// What bounds a table.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// One row per thing that the operator or this program names; rows are replaced, not added.
    Named,
    /// Kept for ever, on purpose: about a hundred bytes each.
    Forever,
    /// The write that adds a row makes room for it.
    OnWrite,
    /// A pass, which answers how many it deleted: fewer than [`BATCH`] means that none are left.
    Swept(Pass),
    /// Deleted with the rows of another table.
    With(&'static str),
}

/// One bounded step of housekeeping at a time in milliseconds since the Unix epoch.
pub type Pass = fn(&Connection, &Policy, u64) -> Result<usize>;

/// Every table, and what bounds it.
pub const TABLES: [(&str, Bound); 29] = [
    ("meta", Bound::Named),
    ("services", Bound::Named),
    ("chains", Bound::Named),
    ("pins", Bound::Forever),
    ("former_pins", Bound::Forever),
    ("signed", Bound::Forever),
    ("signed_keys", Bound::Forever),
    ("documents", Bound::OnWrite),
    ("executions", Bound::OnWrite),
    ("counters", Bound::With("services")),
    ("waiting", Bound::With("services")),
    ("blamed", Bound::With("services")),
    ("events", Bound::Swept(strip_events)),
    ("buckets", Bound::With("events")),
    ("signatures", Bound::With("events")),
    ("timers", Bound::With("events")),
    ("targets", Bound::With("events")),
    ("namings", Bound::With("events")),
    ("jobs", Bound::Swept(forget_jobs)),
    ("job_events", Bound::With("jobs")),
    ("done", Bound::Swept(forget_done)),
    ("audit", Bound::Swept(forget_audit)),
    ("tx", Bound::Swept(forget_transactions)),
    ("operators", Bound::OnWrite),
    ("parked", Bound::Swept(forget_parked)),
    ("notices", Bound::Swept(forget_notices)),
    ("announcements", Bound::Swept(forget_announcements)),
    ("gossiped", Bound::Swept(forget_gossiped)),
    ("schedule", Bound::Swept(forget_schedule)),
];

/// The passes, in the order in which a sweep runs them.
pub fn passes() -> impl Iterator<Item = (&'static str, Pass)> {
    TABLES.into_iter().filter_map(|(table, bound)| match bound {
        Bound::Swept(pass) => Some((table, pass)),
        _ => None,
    })
}

/// Drops signatures of other operators whose envelope never came.
fn forget_parked(tx: &Connection, policy: &Policy, now_ms: u64) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM parked WHERE (event_id, digest, signer) IN (
             SELECT event_id, digest, signer FROM parked WHERE received_ms < ?1 LIMIT ?2)",
    )?
    .execute(params![now_ms.saturating_sub(policy.tombstone_ms), BATCH])
}

/// Drops notices of landings that nobody asked about any more.
fn forget_notices(tx: &Connection, policy: &Policy, now_ms: u64) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM notices WHERE (event_id, chain, handler, signer) IN (
             SELECT event_id, chain, handler, signer FROM notices WHERE received_ms < ?1 LIMIT ?2)",
    )?
    .execute(params![now_ms.saturating_sub(policy.tombstone_ms), BATCH])
}

/// Drops what was to be told about events that are gone, as after the network was switched off.
fn forget_announcements(tx: &Connection, _: &Policy, _: u64) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM announcements WHERE seq IN (
             SELECT seq FROM announcements WHERE event_id NOT IN (SELECT event_id FROM events) LIMIT ?1)",
    )?
    .execute([BATCH])
}

/// Drops notes about events that are gone; p2p-svc forgets their records by itself.
fn forget_gossiped(tx: &Connection, _: &Policy, _: u64) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM gossiped WHERE event_id IN (
             SELECT event_id FROM gossiped WHERE event_id NOT IN (SELECT event_id FROM events) LIMIT ?1)",
    )?
    .execute([BATCH])
}

/// Drops the times of targets that are gone.
fn forget_schedule(tx: &Connection, _: &Policy, _: u64) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM schedule WHERE target IN (
             SELECT target FROM schedule WHERE target NOT IN (SELECT id FROM targets) LIMIT ?1)",
    )?
    .execute([BATCH])
}

/// Drops the bodies of events that ended before the tombstone time, and the events themselves where no job shows them. A
/// callback that is due keeps them, because it needs its input, and a dead letter as long as its job, because it may be
/// tried again.
fn strip_events(tx: &Connection, policy: &Policy, now_ms: u64) -> Result<usize> {
    let before_us = |ms: u64| now_ms.saturating_sub(ms).saturating_mul(1_000);
    let events: Vec<EventId> = tx
        .prepare_cached(
            "SELECT event_id FROM events WHERE rank >= 10 AND bare = 0 AND updated_us < ?1
               AND (rank NOT IN (10, 11) OR updated_us < ?3) AND NOT EXISTS (SELECT 1 FROM targets WHERE targets.event_id = events.event_id AND callback = 'due')
             ORDER BY updated_us LIMIT ?2",
        )?
        .query_map(
            params![before_us(policy.tombstone_ms), BATCH, before_us(policy.jobs_ms)],
            |row| row.get(0).map(EventId::new),
        )?
        .collect::<Result<_>>()?;
    for event_id in &events {
        let event = blob(event_id.as_bytes());
        for sql in [
            "DELETE FROM buckets WHERE event_id = ?1",
            "DELETE FROM signatures WHERE event_id = ?1",
            "DELETE FROM timers WHERE event_id = ?1",
            "UPDATE signed SET envelope = x'' WHERE event_id = ?1",
            "UPDATE events SET bare = 1 WHERE event_id = ?1",
        ] {
            tx.prepare_cached(sql)?.execute([event])?;
            wavs_store::fault::point("retention.stripped");
        }
        forget_event(tx, event_id)?;
    }
    Ok(events.len())
}

/// Replaces a bare event that no job shows by its entries in `done`.
fn forget_event(tx: &Connection, event_id: &EventId) -> Result<()> {
    let event = blob(event_id.as_bytes());
    let forgettable = tx
        .prepare_cached(
            "SELECT 1 FROM events WHERE event_id = ?1 AND rank >= 10 AND bare = 1
               AND NOT EXISTS (SELECT 1 FROM job_events WHERE job_events.event_id = events.event_id)",
        )?
        .exists([event])?;
    if forgettable {
        done::close(tx, event_id)?;
    }
    Ok(())
}

/// Deletes jobs that are over: those that are old enough, and of those that are too many first what was given up, so that a
/// service that floods the ledger costs the others no record, and then the oldest.
fn forget_jobs(tx: &Connection, policy: &Policy, now_ms: u64) -> Result<usize> {
    let before_ms = now_ms.saturating_sub(policy.jobs_ms);
    let stored: u64 = tx.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))?;
    let surplus = stored.saturating_sub(policy.max_jobs).min(u64::from(BATCH));
    // A ULID begins with its milliseconds, so old jobs are found by their key.
    let old = (u128::from(before_ms) << 80).to_be_bytes();
    // A job is over when its events are; the last of their changes is its own last change.
    let pick = |first_newer: [u8; 16], before_us: u64, max: u64| -> Result<Vec<[u8; 16]>> {
        tx.prepare_cached(
            "SELECT job FROM jobs WHERE state <> 'received' AND job < ?1 AND updated_us < ?2 AND NOT EXISTS (
                 SELECT 1 FROM job_events JOIN events USING (event_id)
                 WHERE job_events.job = jobs.job AND (rank < 10 OR events.updated_us >= ?2))
             ORDER BY job LIMIT ?3",
        )?
        .query_map(params![first_newer, before_us, max], |row| row.get(0))?
        .collect()
    };
    let mut forgotten = delete_jobs(tx, &pick(old, before_ms.saturating_mul(1_000), u64::from(BATCH))?)?;
    if forgotten == 0 && surplus > 0 {
        forgotten = delete_jobs(tx, &given_up(tx, surplus)?)?;
        let others = surplus.saturating_sub(forgotten as u64);
        forgotten += delete_jobs(tx, &pick([0xff; 16], i64::MAX.cast_unsigned(), others)?)?;
    }
    Ok(forgotten)
}

/// The oldest jobs that were given up.
fn given_up(tx: &Connection, max: u64) -> Result<Vec<[u8; 16]>> {
    tx.prepare_cached("SELECT job FROM jobs INDEXED BY jobs_given_up WHERE given_up = 1 ORDER BY job LIMIT ?1")?
        .query_map([max], |row| row.get(0))?
        .collect()
}

/// Deletes jobs, and the events that only they show.
fn delete_jobs(tx: &Connection, jobs: &[[u8; 16]]) -> Result<usize> {
    for job in jobs {
        let events: Vec<EventId> = tx
            .prepare_cached("SELECT event_id FROM job_events WHERE job = ?1")?
            .query_map([job], |row| row.get(0).map(EventId::new))?
            .collect::<Result<_>>()?;
        tx.prepare_cached("DELETE FROM job_events WHERE job = ?1")?
            .execute([job])?;
        wavs_store::fault::point("retention.unlinked");
        tx.prepare_cached("DELETE FROM jobs WHERE job = ?1")?.execute([job])?;
        for event_id in &events {
            forget_event(tx, event_id)?;
        }
    }
    Ok(jobs.len())
}

fn forget_done(tx: &Connection, _: &Policy, now_ms: u64) -> Result<usize> {
    done::forget(tx, now_ms.saturating_sub(DONE_MS), BATCH)
}

/// Deletes old entries of services that are gone. Those of registered services are bounded in number as they are written.
fn forget_audit(tx: &Connection, _: &Policy, now_ms: u64) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM audit WHERE id IN (
             SELECT id FROM audit WHERE at_ms < ?1 AND service_id NOT IN (SELECT service_id FROM services)
             ORDER BY at_ms LIMIT ?2)",
    )?
    .execute(params![now_ms.saturating_sub(AUDIT_MS), BATCH])
}

/// Deletes transactions that are over and whose target is. Those that are under way are never touched.
fn forget_transactions(tx: &Connection, policy: &Policy, now_ms: u64) -> Result<usize> {
    let before_ms = now_ms.saturating_sub(policy.jobs_ms.max(MIN_TX_MS));
    // The transaction manager names a target `target/<row id>`.
    tx.prepare_cached(
        "DELETE FROM tx WHERE id IN (
             SELECT id FROM tx WHERE state NOT IN ('stored', 'mined') AND created_ms < ?1
               AND NOT EXISTS (SELECT 1 FROM targets WHERE targets.id = CAST(substr(tx.target, 8) AS INTEGER) AND rank < 10)
             ORDER BY created_ms LIMIT ?2)",
    )?
    .execute(params![before_ms, BATCH])
}
