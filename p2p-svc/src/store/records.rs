//! Records: ours and those of others, each once, with quotas that only ever displace records of the same author.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use wavs_ipc::contract::gossip::{Generation, InboxItem};
use wavs_types::{B256, EventId, EvmAddress, ServiceId, SignedRecord, Statement};

/// Records of one kind that one author may have stored per service. A further one displaces that author's oldest.
const MAX_PER_AUTHOR: u64 = 2_048;
/// Bytes of one inbox batch, so that it fits a call.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of one catch-up answer.
const ANSWER_BYTES: usize = 256 * 1024;
/// Retired events that are remembered. The oldest are forgotten.
const MAX_RETIRED: u64 = 100_000;
/// Leading bytes of an id by which two stores compare what they hold. 64 bits: an author who makes two of its own records
/// collide hides one of them, nobody else's.
pub const SHORT_ID: usize = 8;

/// What a store holds of a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The short ids, concatenated.
    pub short_ids: Vec<u8>,
    /// The stretch begins here; 0 when it reaches back to the oldest record.
    pub from_ms: u64,
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct Window {
    /// The service.
    pub service: ServiceId,
    /// Issued at this time or later.
    pub from_ms: u64,
    /// Issued before this time.
    pub to_ms: u64,
    /// The short ids that the asker holds.
    pub have: HashSet<[u8; SHORT_ID]>,
    /// Most records to answer with.
    pub max: usize,
}

/// The id of the store, drawn when it is first asked for.
pub(super) fn store_id(tx: &Connection) -> Result<u128> {
    tx.execute(
        "INSERT OR IGNORE INTO meta (name, value) VALUES ('store', randomblob(16))",
        [],
    )?;
    let bytes: [u8; 16] = tx.query_row("SELECT value FROM meta WHERE name = 'store'", [], |row| row.get(0))?;
    Ok(u128::from_be_bytes(bytes).max(1))
}

fn kind_of(record: &SignedRecord) -> &'static str {
    match record.record().statement {
        Statement::Attestation(_) => "attestation",
        Statement::Landed(_) => "landed",
        Statement::Hello(_) => "hello",
    }
}

/// Stores a record. False when it is known, superseded or about an event that is over.
pub(super) fn insert(tx: &Connection, record: &SignedRecord, own: bool, now_ms: u64, ttl_ms: u64) -> Result<bool> {
    let said = record.record();
    let (service, kind) = (said.service_id.as_bytes().as_slice(), kind_of(record));
    let event = said.event_id();
    let event = event.as_ref().map(|event| event.as_bytes().as_slice());
    let author = record.author();
    if kind == "attestation" && !own && is_retired(tx, service, event)? {
        return Ok(false);
    }
    if kind == "hello" {
        // Of the hellos of one author only the newest counts.
        let newest: Option<u64> = tx
            .prepare_cached(
                "SELECT max(issued_ms) FROM records WHERE service_id = ?1 AND author = ?2 AND kind = 'hello'",
            )?
            .query_row(params![service, author.as_slice()], |row| row.get(0))?;
        if newest.is_some_and(|newest| newest >= said.issued_ms) {
            return Ok(false);
        }
        tx.prepare_cached("DELETE FROM records WHERE service_id = ?1 AND author = ?2 AND kind = 'hello'")?
            .execute(params![service, author.as_slice()])?;
    }
    let inserted = tx
        .prepare_cached(
            "INSERT INTO records (id, service_id, event_id, author, kind, own, issued_ms, expires_ms, encoded)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            record.id().as_slice(),
            service,
            event,
            author.as_slice(),
            kind,
            own,
            said.issued_ms,
            said.issued_ms.min(now_ms).saturating_add(ttl_ms),
            record.encoded(),
        ])?;
    if inserted == 0 {
        return Ok(false);
    }
    Ok(own || within_quota(tx, &said.service_id, &author, kind, &record.id())?)
}

/// Makes room for the newest record of an author, or takes it out again. True: it stays.
pub(super) fn within_quota(
    tx: &Connection,
    service: &ServiceId,
    author: &EvmAddress,
    kind: &str,
    id: &B256,
) -> Result<bool> {
    let service = service.as_bytes().as_slice();
    let count: u64 = tx
        .prepare_cached("SELECT count(*) FROM records WHERE service_id = ?1 AND author = ?2 AND kind = ?3")?
        .query_row(params![service, author.as_slice(), kind], |row| row.get(0))?;
    if count <= MAX_PER_AUTHOR {
        return Ok(true);
    }
    // What aggregator-svc has not seen yet is not displaced; the newcomer has to come again.
    let displaced = tx
        .prepare_cached(
            "DELETE FROM records WHERE seq = (
                 SELECT min(seq) FROM records WHERE service_id = ?1 AND author = ?2 AND kind = ?3) AND seq <= ?4",
        )?
        .execute(params![service, author.as_slice(), kind, acked(tx)?])?;
    if displaced == 0 {
        tx.prepare_cached("DELETE FROM records WHERE id = ?1")?
            .execute([id.as_slice()])?;
    }
    Ok(displaced > 0)
}

pub(super) fn is_retired(conn: &Connection, service: &[u8], event: Option<&[u8]>) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM retired WHERE service_id = ?1 AND event_id = ?2")?
        .exists(params![service, event])
}

/// Records of others after `after`, oldest first.
pub(super) fn inbox(conn: &Connection, after: u64, max: u32) -> Result<Vec<InboxItem>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, encoded, kind = 'gen1' FROM records WHERE seq > ?1 AND own = 0 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, max])?;
    let (mut items, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let record: Vec<u8> = row.get(1)?;
        bytes += record.len();
        if bytes > BATCH_BYTES && !items.is_empty() {
            break;
        }
        items.push(InboxItem {
            seq: row.get(0)?,
            generation: if row.get(2)? { Generation::V1 } else { Generation::V2 },
            record,
        });
    }
    Ok(items)
}

/// Notes how far the inbox was taken over.
pub(super) fn ack(tx: &Connection, upto: u64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO meta (name, value) VALUES ('acked', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
    )?
    .execute([upto.to_be_bytes()])?;
    Ok(())
}

/// An event is over.
pub(super) fn retire(tx: &Connection, service: &ServiceId, event: &EventId, until_ms: u64) -> Result<()> {
    let key = params![service.as_bytes().as_slice(), event.as_bytes().as_slice()];
    tx.prepare_cached(
        "DELETE FROM records WHERE service_id = ?1 AND event_id = ?2 AND kind IN ('attestation', 'gen1')",
    )?
    .execute(key)?;
    tx.prepare_cached("DELETE FROM bodies WHERE service_id = ?1 AND event_id = ?2")?
        .execute(key)?;
    tx.prepare_cached("INSERT OR IGNORE INTO retired (service_id, event_id, until_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![
            service.as_bytes().as_slice(),
            event.as_bytes().as_slice(),
            until_ms
        ])?;
    Ok(())
}

/// Events that are over, oldest first.
pub(super) fn retired(conn: &Connection) -> Result<Vec<(ServiceId, EventId)>> {
    conn.prepare_cached("SELECT service_id, event_id FROM retired ORDER BY until_ms")?
        .query_map([], |row| Ok((ServiceId::new(row.get(0)?), EventId::new(row.get(1)?))))?
        .collect()
}

/// Takes a record out.
pub(super) fn remove(tx: &Connection, id: &B256) -> Result<()> {
    tx.prepare_cached("DELETE FROM records WHERE id = ?1 AND own = 0")?
        .execute([id.as_slice()])?;
    Ok(())
}

/// Drops what is too old.
pub(super) fn sweep(tx: &Connection, now_ms: u64) -> Result<()> {
    tx.execute("DELETE FROM records WHERE expires_ms <= ?1", [now_ms])?;
    tx.execute("DELETE FROM bodies WHERE expires_ms <= ?1", [now_ms])?;
    tx.execute("DELETE FROM retired WHERE until_ms <= ?1", [now_ms])?;
    tx.execute(
        "DELETE FROM retired WHERE (service_id, event_id) IN (
             SELECT service_id, event_id FROM retired ORDER BY until_ms DESC LIMIT -1 OFFSET ?1)",
        [MAX_RETIRED],
    )?;
    Ok(())
}

/// Short ids of the newest records issued before `before_ms`.
pub(super) fn held(conn: &Connection, service: &ServiceId, before_ms: u64, max: usize) -> Result<Held> {
    let mut statement = conn.prepare_cached(
        "SELECT id, issued_ms FROM records WHERE service_id = ?1 AND issued_ms < ?2 AND kind <> 'gen1'
         ORDER BY issued_ms DESC LIMIT ?3",
    )?;
    let before = i64::try_from(before_ms).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![service.as_bytes().as_slice(), before, max])?;
    let (mut held, mut count) = (Held::default(), 0);
    while let Some(row) = rows.next()? {
        let id: [u8; 32] = row.get(0)?;
        held.short_ids.extend_from_slice(&id[..SHORT_ID]);
        held.from_ms = row.get(1)?;
        count += 1;
    }
    if count < max {
        held.from_ms = 0;
    }
    Ok(held)
}

/// Records of a window that the asker lacks, newest first.
pub(super) fn missing(conn: &Connection, window: &Window) -> Result<(Vec<Vec<u8>>, bool)> {
    let mut statement = conn.prepare_cached(
        "SELECT id, encoded FROM records WHERE service_id = ?1 AND issued_ms >= ?2 AND issued_ms < ?3 AND kind <> 'gen1'
         ORDER BY issued_ms DESC",
    )?;
    let (from, to) = (
        i64::try_from(window.from_ms).unwrap_or(i64::MAX),
        i64::try_from(window.to_ms).unwrap_or(i64::MAX),
    );
    let mut rows = statement.query(params![window.service.as_bytes().as_slice(), from, to])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let id: [u8; 32] = row.get(0)?;
        let mut short = [0; SHORT_ID];
        short.copy_from_slice(&id[..SHORT_ID]);
        if window.have.contains(&short) {
            continue;
        }
        let encoded: Vec<u8> = row.get(1)?;
        bytes += encoded.len();
        if records.len() >= window.max || (bytes > ANSWER_BYTES && !records.is_empty()) {
            return Ok((records, true));
        }
        records.push(encoded);
    }
    Ok((records, false))
}

/// How far the inbox was taken over.
fn acked(conn: &Connection) -> Result<u64> {
    let bytes: Option<[u8; 8]> = conn
        .query_row("SELECT value FROM meta WHERE name = 'acked'", [], |row| row.get(0))
        .optional()?;
    Ok(bytes.map_or(0, u64::from_be_bytes))
}
