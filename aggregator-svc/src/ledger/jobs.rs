//! Jobs: one trigger occurrence of one workflow, from its commit at intake to its responses.
//!
//! These functions run inside a caller's transaction. A job's own states are `received` and the ends that need no
//! event; from `signed` on its events say how far it is.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use wavs_types::{EventId, ServiceDigest, ServiceId, WorkflowId};

use super::columns::{blob, parsed};
use super::due::DueQuery;
use super::state::{Ending, State};

/// Steps kept in a timeline; later ones are dropped, which only a job that is retried for hours reaches.
const MAX_TIMELINE: u32 = 64;

/// A job to store.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// ULID.
    pub job: u128,
    /// The service.
    pub service_id: ServiceId,
    /// The workflow inside it.
    pub workflow_id: WorkflowId,
    /// The document in force.
    pub service_digest: ServiceDigest,
    /// Metric label of the trigger.
    pub trigger_kind: String,
    /// Durable identity of the occurrence.
    pub source_key: String,
    /// Which injection it belongs to; an injected job is never a duplicate.
    pub injection: Option<u128>,
    /// JSON text of the trigger action.
    pub action: Vec<u8>,
    /// Event id of a response without salt.
    pub event_id: EventId,
    /// When trigger-svc saw it.
    pub seen_us: u64,
}

/// What a run needs to know of a job.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// ULID.
    pub job: u128,
    /// The service.
    pub service_id: ServiceId,
    /// The workflow inside it.
    pub workflow_id: WorkflowId,
    /// JSON text of the trigger action.
    pub action: Vec<u8>,
    /// Where it is.
    pub state: State,
    /// Number of the next (or current) attempt, from 1.
    pub attempt: u32,
    /// Attempts that ended with the death of engine-svc.
    pub deaths: u32,
    /// Attempts that ended with a host fault.
    pub faults: u32,
    /// When trigger-svc saw it, or when it was stored if the clock went back.
    pub created_us: u64,
}

/// A job that waits for its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executable {
    /// The job.
    pub job: u128,
    /// Its service.
    pub service_id: ServiceId,
    /// Not before this time.
    pub next_ms: u64,
}

impl JobRow {
    /// The row as [`insert`] has stored it.
    #[must_use]
    pub fn stored(job: &NewJob, now_us: u64) -> Self {
        Self {
            job: job.job,
            service_id: job.service_id,
            workflow_id: job.workflow_id.clone(),
            action: job.action.clone(),
            state: State::Received,
            attempt: 1,
            deaths: 0,
            faults: 0,
            created_us: now_us,
        }
    }
}

/// Stores a job in `received` with its first attempt already counted. False: this occurrence is stored already.
pub fn insert(tx: &Connection, job: &NewJob, now_us: u64) -> Result<bool> {
    let timeline = format!(r#"[["seen",{}],["received",{now_us}]]"#, job.seen_us);
    let rows = tx
        .prepare_cached(
            "INSERT INTO jobs (job, service_id, workflow_id, service_digest, trigger_kind, source_key, injection, action,
                               event_id, state, created_us, updated_us, timeline)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'received', ?10, ?10, ?11)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            job.job.to_be_bytes(),
            blob(job.service_id.as_bytes()),
            job.workflow_id.as_str(),
            blob(job.service_digest.as_bytes()),
            job.trigger_kind,
            job.source_key,
            job.injection.map(u128::to_be_bytes),
            job.action,
            blob(job.event_id.as_bytes()),
            now_us,
            timeline,
        ])?;
    Ok(rows == 1)
}

/// Reads a job.
pub fn load(conn: &Connection, job: u128) -> Result<Option<JobRow>> {
    conn.prepare_cached(
        "SELECT job, service_id, workflow_id, action, state, attempt, deaths, faults, created_us FROM jobs WHERE job = ?1",
    )?
    .query_row([job.to_be_bytes()], row)
    .optional()
}

/// Whether a job is in `received`.
pub fn is_received(conn: &Connection, job: u128) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM jobs WHERE job = ?1 AND state = 'received'")?
        .exists([job.to_be_bytes()])
}

fn row(row: &Row<'_>) -> Result<JobRow> {
    Ok(JobRow {
        job: u128::from_be_bytes(row.get(0)?),
        service_id: ServiceId::new(row.get(1)?),
        workflow_id: parsed(row, 2)?,
        action: row.get(3)?,
        state: row.get(4)?,
        attempt: row.get(5)?,
        deaths: row.get(6)?,
        faults: row.get(7)?,
        created_us: row.get(8)?,
    })
}

/// Jobs that wait for a run, but for those of paused services.
pub fn executable(conn: &Connection, wanted: &DueQuery) -> Result<Vec<Executable>> {
    let from = "FROM jobs WHERE state = 'received' AND service_id NOT IN (SELECT service_id FROM services WHERE operator_paused <> 0)";
    wanted.read(conn, "job, service_id, next_ms", from, "next_ms, job", |row| {
        Ok(Executable {
            job: u128::from_be_bytes(row.get(0)?),
            service_id: ServiceId::new(row.get(1)?),
            next_ms: row.get(2)?,
        })
    })
}

/// After a restart no run is under way, and what was under way gets a new attempt number.
pub fn renumber_interrupted(tx: &Connection) -> Result<usize> {
    tx.execute("UPDATE jobs SET attempt = attempt + 1 WHERE state = 'received'", [])
}

/// Why a run has to be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// engine-svc died or stopped answering.
    Death,
    /// engine-svc was stopped meanwhile.
    Interrupted,
    /// The machine or the store of engine-svc failed.
    HostFault,
    /// Nothing was tried: busy, restarting, component under repair.
    NotStarted,
}

/// Notes that a run has to be repeated, not before `next_ms`.
pub fn repeat(tx: &Connection, job: u128, why: Repeat, error: &str, next_ms: u64, now_us: u64) -> Result<()> {
    let (attempt, deaths, faults) = match why {
        Repeat::Death => (1, 1, 0),
        Repeat::Interrupted => (1, 0, 0),
        Repeat::HostFault => (1, 0, 1),
        Repeat::NotStarted => (0, 0, 0),
    };
    tx.prepare_cached(
        "UPDATE jobs SET attempt = attempt + ?2, deaths = deaths + ?3, faults = faults + ?4, error = ?5, next_ms = ?6,
                         updated_us = ?7
         WHERE job = ?1 AND state = 'received'",
    )?
    .execute(params![
        job.to_be_bytes(),
        attempt,
        deaths,
        faults,
        error,
        next_ms,
        now_us
    ])?;
    Ok(())
}

/// Counts a death of engine-svc that no run follows.
pub fn count_death(tx: &Connection, job: u128) -> Result<()> {
    tx.prepare_cached("UPDATE jobs SET deaths = deaths + 1 WHERE job = ?1 AND state = 'received'")?
        .execute([job.to_be_bytes()])?;
    Ok(())
}

/// Moves a job out of `received`. False: it was moved before (the run was a repeat, or the service was removed).
pub fn leave_received(
    tx: &Connection,
    job: u128,
    to: State,
    digest: &ServiceDigest,
    error: Option<&str>,
    now_us: u64,
) -> Result<bool> {
    let rows = tx
        .prepare_cached(
            "UPDATE jobs SET state = ?2, service_digest = ?3, error = ?4, updated_us = ?5,
                             timeline = CASE WHEN json_array_length(timeline) < ?6
                                             THEN json_insert(timeline, '$[#]', json_array(?2, ?5)) ELSE timeline END
             WHERE job = ?1 AND state = 'received'",
        )?
        .execute(params![
            job.to_be_bytes(),
            to,
            blob(digest.as_bytes()),
            error,
            now_us,
            MAX_TIMELINE
        ])?;
    Ok(rows == 1)
}

/// Ends a job that is in `received`, whatever document it would have run under.
pub fn end(tx: &Connection, job: u128, ending: &Ending, now_us: u64) -> Result<bool> {
    let rows = tx
        .prepare_cached(
            "UPDATE jobs SET state = ?2, error = ?3, updated_us = ?4, timeline = json_insert(timeline, '$[#]', json_array(?2, ?4))
             WHERE job = ?1 AND state = 'received'",
        )?
        .execute(params![job.to_be_bytes(), ending.state, ending.text(), now_us])?;
    Ok(rows == 1)
}

/// Ends all waiting jobs of a service.
pub fn end_of_service(tx: &Connection, service_id: &ServiceId, ending: &Ending, now_us: u64) -> Result<usize> {
    tx.execute(
        "UPDATE jobs SET state = ?2, error = ?3, updated_us = ?4 WHERE state = 'received' AND service_id = ?1",
        params![blob(service_id.as_bytes()), ending.state, ending.text(), now_us],
    )
}

/// Ends those jobs of a service that it would run last, at most `count`, and answers which. They are the first to be forgotten
/// when too many are stored.
pub fn give_up(tx: &Connection, service_id: &ServiceId, count: u64, ending: &Ending, now_us: u64) -> Result<Vec<u128>> {
    tx.prepare_cached(
        "UPDATE jobs SET state = ?3, error = ?4, given_up = 1, updated_us = ?5,
                         timeline = json_insert(timeline, '$[#]', json_array(?3, ?5))
         WHERE job IN (SELECT job FROM jobs INDEXED BY jobs_received WHERE state = 'received' AND service_id = ?1
                       ORDER BY next_ms DESC, job DESC LIMIT ?2)
         RETURNING job",
    )?
    .query_map(
        params![blob(service_id.as_bytes()), count, ending.state, ending.text(), now_us],
        |row| row.get(0).map(u128::from_be_bytes),
    )?
    .collect()
}

/// Ends the jobs of an occurrence that has left its chain: those that wait, and those that failed, which could be tried again.
pub fn orphan(tx: &Connection, source_key: &str, now_us: u64) -> Result<usize> {
    tx.execute(
        "UPDATE jobs SET state = 'orphaned', error = 'orphaned: the trigger left its chain', updated_us = ?2
         WHERE state IN ('received', 'failed') AND injection IS NULL AND source_key = ?1",
        params![source_key, now_us],
    )
}

/// How far an injection is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InjectionCount {
    /// Jobs stored.
    pub received: u32,
    /// Jobs past `received`.
    pub done: u32,
    /// Jobs that failed.
    pub failed: u32,
    /// Error of the oldest failed one.
    pub first_error: Option<String>,
}

/// Whether the jobs of an injection are stored, and none is in `received` any more.
pub fn is_injected(conn: &Connection, injection: u128) -> Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE injection = ?1)
            AND NOT EXISTS (SELECT 1 FROM jobs WHERE injection = ?1 AND state = 'received')",
    )?
    .query_row([injection.to_be_bytes()], |row| row.get(0))
}

/// Counts the jobs of an injection.
pub fn injection(conn: &Connection, injection: u128) -> Result<InjectionCount> {
    let key = injection.to_be_bytes();
    let mut count = conn
        .prepare_cached(
            "SELECT count(*), coalesce(sum(state <> 'received'), 0), coalesce(sum(state = 'failed'), 0)
             FROM jobs WHERE injection = ?1",
        )?
        .query_row([key], |row| {
            Ok(InjectionCount {
                received: row.get(0)?,
                done: row.get(1)?,
                failed: row.get(2)?,
                first_error: None,
            })
        })?;
    if count.failed > 0 {
        count.first_error = conn
            .prepare_cached("SELECT error FROM jobs WHERE injection = ?1 AND state = 'failed' ORDER BY job LIMIT 1")?
            .query_row([key], |row| row.get(0))
            .optional()?
            .flatten();
    }
    Ok(count)
}
