//! What passes between the store and the bridge: submissions of generation 1, in the same inbox as records and with the same
//! quota per author, and attestations that the bridge offers. Submissions are never offered to nodes of our own generation:
//! nothing in them but the envelope is signed.

use rusqlite::{Connection, Result, Row, params};
use wavs_types::{EventId, RecordBody, ServiceId, SignedRecord, Statement};

use super::{bodies, records};
use crate::aside::Authored as _;
use crate::wire::v1::Heard;

/// Submissions of one author for one event. What is not signed in them may differ from copy to copy; a further one adds
/// nothing that aggregator-svc would not have seen.
const MAX_PER_EVENT: u64 = 4;
/// Attestations of one event that are offered at once; an event has no more operators on any chain.
const MAX_RELAYED: usize = 1_024;

/// An attestation with its body, to be offered by the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its position in the store.
    pub seq: u64,
    /// Whether it is our own.
    pub own: bool,
    /// The attestation.
    pub record: SignedRecord,
    /// Its body.
    pub body: Vec<u8>,
}

/// Stores a submission and its body. False when it is known, beyond a quota, or about an event that is over.
pub(super) fn insert(tx: &Connection, heard: &Heard, now_ms: u64, ttl_ms: u64) -> Result<bool> {
    let submission = heard.submission();
    let (service_id, event_id, author, id) = (heard.service(), submission.event_id, heard.author(), heard.id());
    let (service, event) = (service_id.as_bytes().as_slice(), event_id.as_bytes().as_slice());
    if records::is_retired(tx, service, Some(event))? {
        return Ok(false);
    }
    let known: u64 = tx
        .prepare_cached(
            "SELECT count(*) FROM records WHERE service_id = ?1 AND event_id = ?2 AND author = ?3 AND kind = 'gen1'",
        )?
        .query_row(params![service, event, author.as_slice()], |row| row.get(0))?;
    if known >= MAX_PER_EVENT {
        return Ok(false);
    }
    let expires_ms = now_ms.saturating_add(ttl_ms);
    let inserted = tx
        .prepare_cached(
            "INSERT INTO records (id, service_id, event_id, author, kind, own, issued_ms, expires_ms, encoded)
             VALUES (?1, ?2, ?3, ?4, 'gen1', 0, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            id.as_slice(),
            service,
            event,
            author.as_slice(),
            now_ms,
            expires_ms,
            heard.text()
        ])?;
    if inserted == 0 || !records::within_quota(tx, &service_id, &author, "gen1", &id)? {
        return Ok(false);
    }
    let action = serde_json::to_vec(&submission.trigger_action)
        .map_err(|cause| rusqlite::Error::ToSqlConversionFailure(Box::new(cause)))?;
    let body = RecordBody::encode(&action, &submission.operator_response);
    bodies::insert(tx, &service_id, Some(event_id), &body, expires_ms)?;
    Ok(true)
}

/// Attestations after `after` with their bodies, oldest first.
pub(super) fn outgoing(conn: &Connection, after: u64, since_ms: u64, relay: bool, max: usize) -> Result<Vec<Outgoing>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, own, encoded FROM records AS one WHERE seq > ?1 AND issued_ms >= ?2 AND kind = 'attestation'
             AND (own = 1 OR (?3 AND NOT EXISTS (
                 SELECT 1 FROM records AS heard WHERE heard.service_id = one.service_id AND heard.event_id = one.event_id
                     AND heard.author = one.author AND heard.kind = 'gen1')))
         ORDER BY seq",
    )?;
    let rows = statement.query_map(params![after, since_ms, relay], attestation)?;
    with_bodies(conn, rows, max)
}

/// Attestations of others for an event that did not come by the bridge themselves.
pub(super) fn relayed(conn: &Connection, service: &ServiceId, event: &EventId) -> Result<Vec<Outgoing>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, own, encoded FROM records WHERE service_id = ?1 AND event_id = ?2 AND kind = 'attestation' AND own = 0
             AND author NOT IN (SELECT author FROM records WHERE service_id = ?1 AND event_id = ?2 AND kind = 'gen1')
         ORDER BY seq",
    )?;
    let key = params![service.as_bytes().as_slice(), event.as_bytes().as_slice()];
    let rows = statement.query_map(key, attestation)?;
    with_bodies(conn, rows, MAX_RELAYED)
}

type Found = (u64, bool, Vec<u8>);

fn attestation(row: &Row<'_>) -> Result<Found> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn with_bodies(conn: &Connection, rows: impl Iterator<Item = Result<Found>>, max: usize) -> Result<Vec<Outgoing>> {
    let mut found = Vec::new();
    for row in rows {
        let (seq, own, encoded) = row?;
        let Ok(record) = SignedRecord::decode(&encoded) else {
            continue;
        };
        let Statement::Attestation(said) = &record.record().statement else {
            continue;
        };
        let Some(body) = bodies::load(conn, &said.body_digest)? else {
            continue;
        };
        found.push(Outgoing { seq, own, record, body });
        if found.len() >= max {
            break;
        }
    }
    Ok(found)
}
