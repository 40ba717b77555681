//! The table of derivation indices: one row per service that ever had a key here.
//!
//! The first automatic index is 1 and the next is always one above the highest in the table, so an index that was ever
//! shown or used is never handed out again. Only the failed *first* add of a service, whose index nobody has seen,
//! releases it.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_types::{EvmAddress, ServiceId};

use super::columns::blob;
use crate::keys::history::History;

/// Where a pin is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinState {
    /// The first add of the service has not finished.
    Pending,
    /// The service is registered.
    Active,
    /// The service was removed.
    Retired,
}

/// A pinned index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Whose key it is.
    pub service_id: ServiceId,
    /// `i` of `m/44'/60'/0'/0/i`; never 0.
    pub hd_index: u32,
    /// What the index derived when it was pinned.
    pub address: EvmAddress,
    /// Where it is in its life.
    pub state: PinState,
    /// Whether this ledger knows all that the key signed.
    pub history: History,
}

/// An index that a service had before its key was rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerPin {
    /// Whose key it was.
    pub service_id: ServiceId,
    /// Its index.
    pub hd_index: u32,
    /// Its address.
    pub address: EvmAddress,
}

const COLUMNS: &str = "service_id, hd_index, address, state, history";

fn row(row: &rusqlite::Row<'_>) -> Result<Pin> {
    let state: String = row.get(3)?;
    Ok(Pin {
        service_id: ServiceId::new(row.get(0)?),
        hd_index: row.get(1)?,
        address: EvmAddress::from(row.get::<_, [u8; 20]>(2)?),
        state: match state.as_str() {
            "pending" => PinState::Pending,
            "active" => PinState::Active,
            _ => PinState::Retired,
        },
        history: History::parse(&row.get::<_, String>(4)?),
    })
}

/// The pin of a service.
pub fn of_service(conn: &Connection, service_id: &ServiceId) -> Result<Option<Pin>> {
    conn.query_row(
        &format!("SELECT {COLUMNS} FROM pins WHERE service_id = ?1"),
        [blob(service_id.as_bytes())],
        row,
    )
    .optional()
}

/// The service that holds an index.
pub fn holder(conn: &Connection, hd_index: u32) -> Result<Option<ServiceId>> {
    conn.query_row(
        "SELECT service_id FROM pins WHERE hd_index = ?1 UNION SELECT service_id FROM former_pins WHERE hd_index = ?1",
        [hd_index],
        |row| row.get(0).map(ServiceId::new),
    )
    .optional()
}

/// All pins, ascending by index.
pub fn all(conn: &Connection) -> Result<Vec<Pin>> {
    conn.prepare(&format!("SELECT {COLUMNS} FROM pins ORDER BY hd_index"))?
        .query_map([], row)?
        .collect()
}

/// The index that the next new service gets.
pub fn next(conn: &Connection) -> Result<u32> {
    conn.query_row(
        "SELECT coalesce(max(hd_index), 0) + 1 FROM (SELECT hd_index FROM pins UNION ALL SELECT hd_index FROM former_pins)",
        [],
        |row| row.get(0),
    )
}

/// Pins a new index in `pending`.
pub fn insert(tx: &Connection, service_id: &ServiceId, hd_index: u32, address: &EvmAddress, now_ms: u64) -> Result<()> {
    tx.execute(
        "INSERT INTO pins (service_id, hd_index, address, created_ms, state, history)
         VALUES (?1, ?2, ?3, ?4, 'pending', 'unchecked')",
        params![blob(service_id.as_bytes()), hd_index, &address.as_slice(), now_ms],
    )?;
    Ok(())
}

/// The service is registered now.
pub fn activate(tx: &Connection, service_id: &ServiceId) -> Result<()> {
    tx.execute(
        "UPDATE pins SET state = 'active' WHERE service_id = ?1",
        [blob(service_id.as_bytes())],
    )?;
    Ok(())
}

/// The service was removed; its index stays its own.
pub fn retire(tx: &Connection, service_id: &ServiceId) -> Result<()> {
    tx.execute(
        "UPDATE pins SET state = 'retired' WHERE service_id = ?1 AND state = 'active'",
        [blob(service_id.as_bytes())],
    )?;
    Ok(())
}

/// Releases the index of a service whose first add failed. A pin that was active once stays.
pub fn release(tx: &Connection, service_id: &ServiceId) -> Result<()> {
    tx.execute(
        "DELETE FROM pins WHERE service_id = ?1 AND state = 'pending'",
        [blob(service_id.as_bytes())],
    )?;
    Ok(())
}

/// Gives a service another index; the one it had is kept as a former one.
pub fn rotate(tx: &Connection, service_id: &ServiceId, hd_index: u32, address: &EvmAddress, now_ms: u64) -> Result<()> {
    let service = blob(service_id.as_bytes());
    tx.execute(
        "INSERT INTO former_pins (hd_index, service_id, address, rotated_ms)
         SELECT hd_index, service_id, address, ?2 FROM pins WHERE service_id = ?1",
        params![service, now_ms],
    )?;
    wavs_store::fault::point("rotate.kept");
    tx.execute(
        "UPDATE pins SET hd_index = ?2, address = ?3, history = 'unchecked' WHERE service_id = ?1",
        params![service, hd_index, &address.as_slice()],
    )?;
    Ok(())
}

/// All former indices, ascending.
pub fn former(conn: &Connection) -> Result<Vec<FormerPin>> {
    conn.prepare("SELECT service_id, hd_index, address FROM former_pins ORDER BY hd_index")?
        .query_map([], |row| {
            Ok(FormerPin {
                service_id: ServiceId::new(row.get(0)?),
                hd_index: row.get(1)?,
                address: EvmAddress::from(row.get::<_, [u8; 20]>(2)?),
            })
        })?
        .collect()
}

/// Notes what is known of the history of a key. False: the service has another key by now.
pub fn set_history(tx: &Connection, address: &EvmAddress, history: History) -> Result<bool> {
    let rows = tx.execute(
        "UPDATE pins SET history = ?2 WHERE address = ?1",
        params![&address.as_slice(), history.as_str()],
    )?;
    Ok(rows > 0)
}
