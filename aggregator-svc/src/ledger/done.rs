//! What is known of an event whose rows were deleted: how each target ended, and with which transaction.
//!
//! Its only use is a negative one: an event that is known here, or that was signed here once, is never opened again.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_types::EventId;

use super::columns::blob;
use super::{events, signed};

/// Replaces the rows of an event that is over by its entries here.
pub fn close(tx: &Connection, event_id: &EventId) -> Result<()> {
    let event = blob(event_id.as_bytes());
    let targets = tx
        .prepare_cached(
            "INSERT INTO done (event_id, chain, handler, digest, state, tx, ended_ms)
             SELECT event_id, chain, handler, digest, targets.state, tx, updated_us / 1000
             FROM targets JOIN events USING (event_id) WHERE event_id = ?1
             ON CONFLICT DO NOTHING",
        )?
        .execute([event])?;
    if targets == 0 {
        tx.prepare_cached(
            "INSERT INTO done (event_id, chain, handler, digest, state, ended_ms)
             SELECT event_id, '', '', own_digest, state, updated_us / 1000 FROM events WHERE event_id = ?1
             ON CONFLICT DO NOTHING",
        )?
        .execute([event])?;
    }
    wavs_store::fault::point("done.entered");
    for table in ["targets", "events"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE event_id = ?1"))?
            .execute([event])?;
    }
    Ok(())
}

/// Why an event must not be opened: it is not among the events, but was done or signed here before.
pub fn closed(conn: &Connection, event_id: &EventId) -> Result<Option<String>> {
    if events::load(conn, event_id)?.is_some() {
        return Ok(None);
    }
    let entry: Option<(String, Option<String>)> = conn
        .prepare_cached("SELECT state, tx FROM done WHERE event_id = ?1 LIMIT 1")?
        .query_row([blob(event_id.as_bytes())], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((state, tx)) = entry {
        let tx = tx.map(|tx| format!(" with transaction {tx}")).unwrap_or_default();
        return Ok(Some(format!("event {event_id} ended before as {state}{tx}")));
    }
    Ok(signed::any(conn, event_id)?.then(|| format!("event {event_id} was signed before")))
}

/// Deletes up to `max` entries of events that ended before `before_ms`.
pub(super) fn forget(tx: &Connection, before_ms: u64, max: u32) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM done WHERE (event_id, chain, handler) IN (
             SELECT event_id, chain, handler FROM done WHERE ended_ms < ?1 ORDER BY ended_ms LIMIT ?2)",
    )?
    .execute(params![before_ms, max])
}
