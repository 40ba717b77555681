//! Registered services: manager, document in force, and state.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use wavs_ipc::contract::registry::PauseMode;
use wavs_types::{ServiceDigest, ServiceId, ServiceManager};

use super::columns::{blob, json, unwritable};

/// Values of the column `operator_paused`; 0 means that the service runs.
const DROP: i64 = 1;
const HOLD: i64 = 2;

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being added.
    Pending,
    /// Registered.
    Active,
    /// Being removed.
    Deleting,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Deleting => "deleting",
        }
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRow {
    /// Its id.
    pub service_id: ServiceId,
    /// Its manager.
    pub manager: ServiceManager,
    /// Digest of the document in force.
    pub digest: ServiceDigest,
    /// The document as fetched.
    pub raw: Vec<u8>,
    /// Where it was fetched.
    pub uri: Option<String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Why it is degraded, where there is something to say.
    pub reason: Option<String>,
    /// Whether this operator paused it, and how.
    pub paused: Option<PauseMode>,
    /// What was accepted with a warning: pointer and text.
    pub warnings: Vec<(String, String)>,
    /// Last change.
    pub updated_ms: u64,
}

fn row(row: &Row<'_>) -> Result<ServiceRow> {
    let phase: String = row.get(5)?;
    Ok(ServiceRow {
        service_id: ServiceId::new(row.get(0)?),
        manager: json(row, 1)?,
        digest: ServiceDigest::new(row.get(2)?),
        raw: row.get(3)?,
        uri: row.get(4)?,
        phase: match phase.as_str() {
            "pending" => Phase::Pending,
            "active" => Phase::Active,
            _ => Phase::Deleting,
        },
        reason: row.get(6)?,
        paused: match row.get(7)? {
            0 => None,
            HOLD => Some(PauseMode::Hold),
            _ => Some(PauseMode::Drop),
        },
        warnings: json(row, 8)?,
        updated_ms: row.get(9)?,
    })
}

const SELECT: &str =
    "SELECT service_id, manager, digest, raw, uri, state, reason, operator_paused, warnings, updated_ms FROM services";

/// All services, ascending by id.
pub fn all(conn: &Connection) -> Result<Vec<ServiceRow>> {
    conn.prepare(&format!("{SELECT} ORDER BY service_id"))?
        .query_map([], row)?
        .collect()
}

/// Reads a service.
pub fn load(conn: &Connection, service_id: &ServiceId) -> Result<Option<ServiceRow>> {
    conn.query_row(
        &format!("{SELECT} WHERE service_id = ?1"),
        [blob(service_id.as_bytes())],
        row,
    )
    .optional()
}

/// Stores a service, or a new version of it.
pub fn put(tx: &Connection, service: &ServiceRow) -> Result<()> {
    tx.execute(
        "INSERT INTO services (service_id, manager, digest, raw, uri, state, reason, operator_paused, warnings, updated_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (service_id) DO UPDATE SET manager = ?2, digest = ?3, raw = ?4, uri = ?5, state = ?6, reason = ?7,
                                                operator_paused = ?8, warnings = ?9, updated_ms = ?10",
        params![
            blob(service.service_id.as_bytes()),
            serde_json::to_string(&service.manager).map_err(unwritable)?,
            blob(service.digest.as_bytes()),
            service.raw,
            service.uri,
            service.phase.as_str(),
            service.reason,
            match service.paused {
                None => 0,
                Some(PauseMode::Drop) => DROP,
                Some(PauseMode::Hold) => HOLD,
            },
            serde_json::to_string(&service.warnings).map_err(unwritable)?,
            service.updated_ms,
        ],
    )?;
    Ok(())
}

/// Forgets a service.
pub fn delete(tx: &Connection, service_id: &ServiceId) -> Result<()> {
    tx.execute(
        "DELETE FROM services WHERE service_id = ?1",
        [blob(service_id.as_bytes())],
    )?;
    Ok(())
}
