//! The counters of services, as the triggers of the database keep them; here they are only read and forgotten.

use rusqlite::{Connection, Result, Row};
use wavs_ipc::contract::records::{Counters, LastError, WorkflowProgress};
use wavs_types::ServiceId;

use super::columns::{blob, parsed};

/// The counters of a service, by workflow.
pub fn of_service(conn: &Connection, service_id: &ServiceId) -> Result<Vec<WorkflowProgress>> {
    conn.prepare_cached(
        "SELECT workflow_id, triggers, triggers_dropped, executions_ok, executions_failed, no_output, signed, submitted,
                finals, landed, reverted, failed, last_trigger_us, last_execution_us, last_final_us, last_error_us,
                last_error_stage, last_error, last_error_job
         FROM counters WHERE service_id = ?1 ORDER BY workflow_id",
    )?
    .query_map([blob(service_id.as_bytes())], progress)?
    .collect()
}

fn progress(row: &Row<'_>) -> Result<WorkflowProgress> {
    let last_error = match row.get::<_, Option<u64>>(15)? {
        Some(at_us) => {
            let error: String = row.get::<_, Option<String>>(17)?.unwrap_or_default();
            let stage = row
                .get::<_, Option<String>>(16)?
                .unwrap_or_else(|| super::dead_letters::stage_of_job(&error).as_str().to_owned());
            Some(LastError {
                at_us,
                stage,
                error,
                job: row.get::<_, Option<[u8; 16]>>(18)?.map(u128::from_be_bytes),
            })
        }
        None => None,
    };
    Ok(WorkflowProgress {
        workflow_id: parsed(row, 0)?,
        counters: Counters {
            triggers: row.get(1)?,
            triggers_dropped: row.get(2)?,
            executions_ok: row.get(3)?,
            executions_failed: row.get(4)?,
            no_output: row.get(5)?,
            signed: row.get(6)?,
            submitted: row.get(7)?,
            finals: row.get(8)?,
            landed: row.get(9)?,
            reverted: row.get(10)?,
            failed: row.get(11)?,
        },
        last_trigger_us: row.get(12)?,
        last_execution_us: row.get(13)?,
        last_final_us: row.get(14)?,
        last_error,
    })
}

/// Jobs of a service that wait for a run, or run.
pub fn received(conn: &Connection, service_id: &ServiceId) -> Result<u64> {
    conn.prepare_cached("SELECT coalesce(sum(jobs), 0) FROM waiting WHERE service_id = ?1")?
        .query_row([blob(service_id.as_bytes())], |row| row.get(0))
}

/// The same of all services.
pub fn backlog(conn: &Connection) -> Result<u64> {
    conn.prepare_cached("SELECT coalesce(sum(jobs), 0) FROM waiting")?
        .query_row([], |row| row.get(0))
}

/// The same of each service.
pub fn waiting(conn: &Connection) -> Result<Vec<(ServiceId, u64)>> {
    conn.prepare_cached("SELECT service_id, jobs FROM waiting")?
        .query_map([], |row| Ok((ServiceId::new(row.get(0)?), row.get(1)?)))?
        .collect()
}

/// Forgets the counters of a service, because it is gone or comes anew. Those of its jobs that still wait are counted on.
pub fn forget(tx: &Connection, service_id: &ServiceId) -> Result<()> {
    for sql in [
        "DELETE FROM counters WHERE service_id = ?1",
        "DELETE FROM waiting WHERE service_id = ?1 AND jobs = 0",
    ] {
        tx.execute(sql, [blob(service_id.as_bytes())])?;
    }
    Ok(())
}
