//! Bodies behind attestations, by digest.

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use wavs_types::{B256, EventId, RecordBody, ServiceId};

/// Bytes of bodies that are kept per service. The oldest go first; whoever needs one asks its author.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Keeps a body until `expires_ms`.
pub(super) fn insert(
    tx: &Connection,
    service: &ServiceId,
    event: Option<EventId>,
    body: &[u8],
    expires_ms: u64,
) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO bodies (digest, service_id, event_id, expires_ms, encoded) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        RecordBody::digest(body).as_slice(),
        service.as_bytes().as_slice(),
        event.as_ref().map(|event| event.as_bytes().as_slice()),
        expires_ms,
        body
    ])?;
    Ok(())
}

/// Drops the oldest bodies of services that have more than their share.
pub(super) fn trim(tx: &Connection) -> Result<()> {
    tx.execute(
        "DELETE FROM bodies WHERE digest IN (
             SELECT digest FROM (SELECT digest, sum(length(encoded)) OVER
                 (PARTITION BY service_id ORDER BY expires_ms DESC, digest) AS bytes FROM bodies) WHERE bytes > ?1)",
        [MAX_BYTES],
    )?;
    Ok(())
}

/// A body.
pub(super) fn load(conn: &Connection, digest: &B256) -> Result<Option<Vec<u8>>> {
    conn.prepare_cached("SELECT encoded FROM bodies WHERE digest = ?1")?
        .query_row([digest.as_slice()], |row| row.get(0))
        .optional()
}
