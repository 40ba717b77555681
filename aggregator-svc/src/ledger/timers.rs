//! Timers that an aggregator component asked for. They outlive restarts; an overdue one fires at once.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_types::{B256, EventId, ServiceId};

use super::columns::blob;
use super::due::{DueQuery, DueRow};
use super::tries::{Tries, Vain};

/// Callbacks that one event may ask for, over its whole life; further ones are refused.
pub const MAX_TIMERS: u32 = 32;
/// Longest delay, in seconds; a longer one is cut to it.
pub const MAX_DELAY_SECS: u64 = 7 * 24 * 3_600;

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerRow {
    /// Its row id.
    pub id: i64,
    /// The service.
    pub service_id: ServiceId,
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope whose run asked for it.
    pub digest: B256,
    /// When it fires.
    pub next_ms: u64,
    /// Callbacks in vain so far.
    pub tries: Tries,
    /// Whether it still waits.
    pub armed: bool,
}

fn row(row: &rusqlite::Row<'_>) -> Result<TimerRow> {
    Ok(TimerRow {
        id: row.get(0)?,
        service_id: ServiceId::new(row.get(1)?),
        event_id: EventId::new(row.get(2)?),
        digest: B256::from(row.get::<_, [u8; 32]>(3)?),
        next_ms: row.get(4)?,
        tries: Tries {
            attempt: row.get(5)?,
            faults: row.get(6)?,
            deaths: row.get(7)?,
        },
        armed: row.get(8)?,
    })
}

const SELECT: &str = "SELECT id, service_id, event_id, digest, next_ms, attempt, faults, deaths, timers.state = 'armed'
    FROM timers JOIN events USING (event_id)";

/// Arms a timer. Nothing if the event has used up its timers or one is armed for the same moment.
pub fn arm(tx: &Connection, event_id: &EventId, digest: &B256, due_ms: u64) -> Result<Option<i64>> {
    let used: u32 = tx
        .prepare_cached("SELECT count(*) FROM timers WHERE event_id = ?1")?
        .query_row([blob(event_id.as_bytes())], |row| row.get(0))?;
    if used >= MAX_TIMERS {
        return Ok(None);
    }
    let rows = tx
        .prepare_cached(
            "INSERT INTO timers (event_id, digest, due_ms, state, next_ms) VALUES (?1, ?2, ?3, 'armed', ?3) ON CONFLICT DO NOTHING",
        )?
        .execute(params![blob(event_id.as_bytes()), digest.as_slice(), due_ms])?;
    wavs_store::fault::point("timer.armed");
    // A pending timer extends the life of its event.
    tx.prepare_cached("UPDATE events SET deadline_ms = max(deadline_ms, ?2) WHERE event_id = ?1")?
        .execute(params![blob(event_id.as_bytes()), due_ms])?;
    Ok((rows == 1).then(|| tx.last_insert_rowid()))
}

/// Reads a timer.
pub fn load(conn: &Connection, id: i64) -> Result<Option<TimerRow>> {
    conn.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?
        .query_row([id], row)
        .optional()
}

/// Armed timers.
pub fn all_armed(conn: &Connection, wanted: &DueQuery) -> Result<Vec<DueRow>> {
    let from = "FROM timers JOIN events USING (event_id) WHERE timers.state = 'armed'";
    wanted.read_due(conn, "next_ms", from)
}

/// Whether an event has an armed timer.
pub fn armed(conn: &Connection, event_id: &EventId) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM timers WHERE event_id = ?1 AND state = 'armed' LIMIT 1")?
        .exists([blob(event_id.as_bytes())])
}

/// The timer is done: `fired`, `failed` or `cancelled`.
pub fn close(tx: &Connection, id: i64, state: &'static str) -> Result<()> {
    tx.prepare_cached("UPDATE timers SET state = ?2 WHERE id = ?1 AND state = 'armed'")?
        .execute(params![id, state])?;
    Ok(())
}

/// After a restart no callback is under way, and what was under way gets a new attempt number.
pub fn renumber_interrupted(tx: &Connection) -> Result<usize> {
    tx.execute("UPDATE timers SET attempt = attempt + 1 WHERE state = 'armed'", [])
}

/// The callback is to be made again, not before `next_ms`.
pub fn again(tx: &Connection, id: i64, vain: Vain, next_ms: u64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE timers SET attempt = attempt + ?2, faults = faults + ?3, deaths = deaths + ?4, next_ms = ?5 WHERE id = ?1",
    )?
    .execute(params![id, vain.attempts(), vain.faults(), vain.deaths(), next_ms])?;
    Ok(())
}
