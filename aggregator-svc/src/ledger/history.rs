//! The history of services: what was decided about each, by whom and why. Bounded per service; it outlives the service.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use wavs_ipc::contract::records::{HistoryEntry, MAX_ROWS};
use wavs_types::{ServiceDigest, ServiceId};

use super::columns::blob;
use super::select::{Select, bytes, integer};

/// Entries kept per service; older ones are dropped.
const MAX_ENTRIES: u32 = 500;

/// Who or what asked for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A request to the API.
    Api,
    /// An event of the manager contract.
    Chain,
    /// The periodic look at the service URI.
    PeriodicCheck,
    /// The start of this process, which finishes what was interrupted.
    Restart,
    /// The way of a trigger, which nobody asked for.
    Pipeline,
}

impl Actor {
    fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Chain => "chain",
            Self::PeriodicCheck => "periodic-check",
            Self::Restart => "restart",
            Self::Pipeline => "pipeline",
        }
    }
}

/// An entry to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// One of the closed set of `HistoryEntry::what`.
    pub what: &'static str,
    /// Who asked.
    pub actor: Actor,
    /// Why; empty if there is nothing to say.
    pub cause: String,
    /// Where the document came from.
    pub uri: Option<String>,
    /// The document before.
    pub old: Option<ServiceDigest>,
    /// The document after.
    pub new: Option<ServiceDigest>,
}

impl Note {
    /// A note that concerns no document.
    pub fn new(what: &'static str, actor: Actor, cause: impl Into<String>) -> Self {
        Self {
            what,
            actor,
            cause: cause.into(),
            uri: None,
            old: None,
            new: None,
        }
    }
}

/// Appends to the history of a service.
pub fn note(tx: &Connection, service_id: &ServiceId, note: &Note, now_ms: u64) -> Result<()> {
    let digest = |digest: &Option<ServiceDigest>| digest.as_ref().map(|digest| digest.as_bytes().to_vec());
    tx.execute(
        "INSERT INTO audit (service_id, at_ms, what, detail, actor, uri, old_digest, new_digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            blob(service_id.as_bytes()),
            now_ms,
            note.what,
            note.cause,
            note.actor.as_str(),
            note.uri,
            digest(&note.old),
            digest(&note.new)
        ],
    )?;
    tx.execute(
        "DELETE FROM audit WHERE service_id = ?1 AND id <= (
             SELECT id FROM audit WHERE service_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        params![blob(service_id.as_bytes()), MAX_ENTRIES],
    )?;
    Ok(())
}

const SELECT: &str = "SELECT id, at_ms, what, detail, actor, uri, old_digest, new_digest FROM audit WHERE 1";

/// The history of a service, newest first.
pub fn list(conn: &Connection, service_id: &ServiceId, before: Option<u64>, max: u32) -> Result<Vec<HistoryEntry>> {
    Select::new(SELECT)
        .with("service_id = ?", Some(bytes(service_id.as_bytes())))
        .with("id < ?", before.map(integer))
        .rows(conn, "id DESC", max, MAX_ROWS, entry)
}

/// The newest entry about a document.
pub fn last_update(conn: &Connection, service_id: &ServiceId) -> Result<Option<HistoryEntry>> {
    conn.query_row(
        &format!(
            "{SELECT} AND service_id = ?1 AND what IN ('added', 'updated', 'update-failed') ORDER BY id DESC LIMIT 1"
        ),
        [blob(service_id.as_bytes())],
        entry,
    )
    .optional()
}

fn entry(row: &Row<'_>) -> Result<HistoryEntry> {
    let digest =
        |index| -> Result<Option<ServiceDigest>> { Ok(row.get::<_, Option<[u8; 32]>>(index)?.map(ServiceDigest::new)) };
    Ok(HistoryEntry {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        what: row.get(2)?,
        cause: row.get(3)?,
        actor: row.get(4)?,
        uri: row.get(5)?,
        old_digest: digest(6)?,
        new_digest: digest(7)?,
    })
}
