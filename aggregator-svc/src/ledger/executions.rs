//! Runs of guests, one row each, committed together with what the run led to. A ring: the record never outgrows
//! [`MAX_STORED`] by more than [`TRIM_EVERY`] rows.

use rusqlite::{Connection, Result, Row, params};
use wavs_ipc::contract::records::{ExecutionQuery, ExecutionView, GuestKind, MAX_ROWS};
use wavs_types::{ComponentDigest, EventId, ServiceId, WorkflowId};

use super::columns::{blob, parsed};
use super::select::{Select, bytes, integer};

/// Runs that are kept; the oldest go first.
pub const MAX_STORED: i64 = 100_000;
/// The surplus is deleted once in so many rows, so that a run rarely pays for it.
const TRIM_EVERY: i64 = 256;

/// What a run was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A job, by the operator component.
    Job(u128),
    /// An event, by the aggregator component.
    Event(EventId),
}

/// A run to record.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The service.
    pub service_id: ServiceId,
    /// The workflow inside it.
    pub workflow_id: WorkflowId,
    /// What ran.
    pub component: ComponentDigest,
    /// What it ran for.
    pub purpose: Purpose,
    /// The export that was called.
    pub call: &'static str,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// `ok` or a class of failure.
    pub outcome: &'static str,
    /// What went wrong.
    pub error: Option<String>,
    /// When the result came.
    pub ended_us: u64,
    /// From the call to its result, waiting for a slot included.
    pub waited_us: u64,
    /// The run itself, if engine-svc told.
    pub duration_us: Option<u64>,
    /// Fuel burnt, if it was metered.
    pub fuel: Option<u64>,
    /// Peak of the linear memories in bytes, if engine-svc told.
    pub memory_peak: Option<u64>,
    /// Responses or actions.
    pub responses: u32,
    /// Bytes of the responses' payloads.
    pub response_bytes: u64,
}

/// Records a run.
pub fn record(tx: &Connection, run: &Execution) -> Result<()> {
    let (kind, job, event_id) = match run.purpose {
        Purpose::Job(job) => (GuestKind::Operator, Some(job.to_be_bytes()), None),
        Purpose::Event(event_id) => (GuestKind::Aggregator, None, Some(event_id)),
    };
    tx.prepare_cached(
        "INSERT INTO executions (service_id, workflow_id, component, kind, call, job, event_id, attempt, outcome, error,
                                 ended_us, waited_us, duration_us, fuel, memory_peak, responses, response_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        blob(run.service_id.as_bytes()),
        run.workflow_id.as_str(),
        blob(run.component.as_bytes()),
        kind.as_str(),
        run.call,
        job,
        event_id.as_ref().map(|event_id| blob(event_id.as_bytes())),
        run.attempt,
        run.outcome,
        run.error,
        run.ended_us,
        run.waited_us,
        run.duration_us,
        run.fuel.map(integer),
        run.memory_peak.map(integer),
        run.responses,
        run.response_bytes,
    ])?;
    let id = tx.last_insert_rowid();
    if id % TRIM_EVERY == 0 {
        tx.prepare_cached("DELETE FROM executions WHERE id <= ?1")?
            .execute([id - MAX_STORED])?;
    }
    Ok(())
}

/// Records a run if there was one.
pub fn record_some(tx: &Connection, run: Option<&Execution>) -> Result<()> {
    run.map_or(Ok(()), |run| record(tx, run))
}

/// Runs that match, newest first.
pub fn list(conn: &Connection, query: &ExecutionQuery) -> Result<Vec<ExecutionView>> {
    let job = query.job.map(|job| bytes(&job.to_be_bytes()));
    // Both branches hold the same job: its own runs, and those for the events that it led to.
    let of_job = "id IN (
        WITH wanted (job) AS (VALUES (?))
        SELECT id FROM executions, wanted WHERE executions.job = wanted.job
            OR event_id IN (SELECT event_id FROM job_events WHERE job_events.job = wanted.job))";
    Select::new(
        "SELECT id, service_id, workflow_id, component, kind, call, job, event_id, attempt, outcome, error, ended_us,
                waited_us, duration_us, fuel, memory_peak, responses, response_bytes FROM executions WHERE 1",
    )
    .with(of_job, job)
    .with("service_id = ?", query.service_id.map(|id| bytes(id.as_bytes())))
    .with("kind = ?", query.kind.map(|kind| kind.as_str().to_owned()))
    .with("outcome = ?", query.outcome.clone())
    .with("id < ?", query.before.map(integer))
    .rows(conn, "id DESC", query.max, MAX_ROWS, view)
}

fn view(row: &Row<'_>) -> Result<ExecutionView> {
    let kind: String = row.get(4)?;
    Ok(ExecutionView {
        id: row.get(0)?,
        service_id: ServiceId::new(row.get(1)?),
        workflow_id: parsed(row, 2)?,
        component: ComponentDigest::new(row.get(3)?),
        kind: GuestKind::parse(&kind).unwrap_or(GuestKind::Operator),
        call: row.get(5)?,
        job: row.get::<_, Option<[u8; 16]>>(6)?.map(u128::from_be_bytes),
        event_id: row.get::<_, Option<[u8; 20]>>(7)?.map(EventId::new),
        attempt: row.get(8)?,
        outcome: row.get(9)?,
        error: row.get(10)?,
        ended_at_us: row.get(11)?,
        waited_us: row.get(12)?,
        duration_us: row.get(13)?,
        fuel: row.get(14)?,
        memory_peak: row.get(15)?,
        responses: row.get(16)?,
        response_bytes: row.get(17)?,
    })
}
