//! Jobs as the API shows them: the least advanced state of their events, one merged timeline.

use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row, params_from_iter};
use wavs_ipc::contract::registry::{EventView, JobQuery, JobView, MAX_JOB_ROWS, TargetView};
use wavs_types::{EventId, ServiceDigest, ServiceId};

use super::columns::{json, parsed};
use super::select::integer;
use super::state::State;
use super::targets;

/// The state that a job shows: its own, or that of its least advanced event.
const EFFECTIVE: &str = "CASE jobs.state WHEN 'signed' THEN coalesce((
    SELECT events.state FROM job_events JOIN events USING (event_id) WHERE job_events.job = jobs.job ORDER BY rank LIMIT 1),
    'signed') ELSE jobs.state END";

/// Jobs that match, newest first.
pub fn jobs(conn: &Connection, query: &JobQuery) -> Result<Vec<JobView>> {
    let mut sql = format!(
        "SELECT job, service_id, workflow_id, service_digest, trigger_kind, source_key,
                attempt, {EFFECTIVE}, error, created_us,
                updated_us, timeline FROM jobs WHERE 1"
    );
    let mut values: Vec<Value> = Vec::new();
    let mut filter = |condition: &str, value: Value| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(job) = query.job {
        filter("job = ?", job.to_be_bytes().to_vec().into());
    }
    if let Some(service_id) = &query.service_id {
        filter("service_id = ?", service_id.as_bytes().to_vec().into());
    }
    if let Some(workflow_id) = &query.workflow_id {
        filter("workflow_id = ?", workflow_id.as_str().to_owned().into());
    }
    if let Some(state) = &query.state {
        filter(&format!("{EFFECTIVE} = ?"), state.clone().into());
    }
    if let Some(event_id) = &query.event_id {
        filter(
            "job IN (SELECT job FROM job_events WHERE event_id = ?)",
            event_id.as_bytes().to_vec().into(),
        );
    }
    if let Some(kind) = &query.trigger_kind {
        filter("trigger_kind = ?", kind.clone().into());
    }
    if let Some(since_ms) = query.since_ms {
        filter("created_us >= ?", integer(since_ms.saturating_mul(1_000)));
    }
    if let Some(until_ms) = query.until_ms {
        filter("created_us < ?", integer(until_ms.saturating_mul(1_000)));
    }
    if let Some(before) = query.before {
        filter("job < ?", before.to_be_bytes().to_vec().into());
    }
    sql.push_str(" ORDER BY job DESC LIMIT ?");
    values.push(i64::from(query.max.min(MAX_JOB_ROWS)).into());

    let mut views: Vec<JobView> = conn
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), view)?
        .collect::<Result<_>>()?;
    for view in &mut views {
        fill_events(conn, view)?;
    }
    Ok(views)
}

fn view(row: &Row<'_>) -> Result<JobView> {
    Ok(JobView {
        job: u128::from_be_bytes(row.get(0)?),
        service_id: ServiceId::new(row.get(1)?),
        workflow_id: parsed(row, 2)?,
        service_digest: ServiceDigest::new(row.get(3)?),
        trigger_kind: row.get(4)?,
        source_key: row.get(5)?,
        attempts: row.get(6)?,
        state: row.get(7)?,
        error: row.get(8)?,
        created_at_ms: row.get::<_, u64>(9)? / 1_000,
        updated_at_ms: row.get::<_, u64>(10)? / 1_000,
        events: Vec::new(),
        timeline: json(row, 11)?,
    })
}

fn fill_events(conn: &Connection, view: &mut JobView) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT event_id, state, own_digest, error, updated_us, timeline FROM job_events JOIN events USING (event_id)
         WHERE job = ?1 ORDER BY event_id",
    )?;
    let mut rows = statement.query([view.job.to_be_bytes()])?;
    while let Some(row) = rows.next()? {
        let event_id = EventId::new(row.get(0)?);
        let timeline: Vec<(String, u64)> = json(row, 5)?;
        view.timeline.extend(timeline);
        view.updated_at_ms = view.updated_at_ms.max(row.get::<_, u64>(4)? / 1_000);
        let error: Option<String> = row.get(3)?;
        let state: State = row.get(1)?;
        if view.error.is_none() && state.is_terminal() {
            view.error.clone_from(&error);
        }
        view.events.push(EventView {
            event_id,
            state: state.as_str().to_owned(),
            digest: row.get(2)?,
            error,
            targets: targets::of_event(conn, &event_id)?.into_iter().map(target).collect(),
        });
    }
    view.timeline.sort_by_key(|(_, at_us)| *at_us);
    // A job and its event take some steps in one commit; each step is shown once.
    view.timeline.dedup();
    Ok(())
}

fn target(row: targets::TargetRow) -> TargetView {
    TargetView {
        chain: row.chain,
        handler: row.handler,
        state: row.state.as_str().to_owned(),
        tx: row.tx,
        error: row.error,
    }
}
