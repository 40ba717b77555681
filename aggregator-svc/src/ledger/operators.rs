//! The other operators: their weights as last read, what they say of themselves, and what they say has landed.

use rusqlite::{Connection, Result, params};
use wavs_types::{B256, ChainKey, EventId, EvmAddress, Landed, ServiceId};

use super::columns::{blob, json, unwritable};

/// An operator of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRow {
    /// The service.
    pub service_id: ServiceId,
    /// Its service key.
    pub signer: EvmAddress,
    /// Where it says to be able to send transactions; nothing before it said anything.
    pub posts_on: Option<Vec<ChainKey>>,
}

/// A notice that an event landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The transaction as text.
    pub tx: String,
    /// Digest of the delivered envelope.
    pub digest: B256,
}

/// All operators with weight.
pub fn all(conn: &Connection) -> Result<Vec<OperatorRow>> {
    conn.prepare_cached("SELECT service_id, signer, posts_on FROM operators")?
        .query_map([], |row| {
            Ok(OperatorRow {
                service_id: ServiceId::new(row.get(0)?),
                signer: EvmAddress::from(row.get::<_, [u8; 20]>(1)?),
                posts_on: json(row, 2)?,
            })
        })?
        .collect()
}

/// An operator has weight.
pub fn put(tx: &Connection, operator: &OperatorRow) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO operators (service_id, signer, posts_on) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET posts_on = excluded.posts_on",
    )?
    .execute(params![
        blob(operator.service_id.as_bytes()),
        operator.signer.as_slice(),
        serde_json::to_string(&operator.posts_on).map_err(unwritable)?
    ])?;
    Ok(())
}

/// An operator has no weight any more.
pub fn remove(tx: &Connection, service_id: &ServiceId, signer: &EvmAddress) -> Result<()> {
    tx.prepare_cached("DELETE FROM operators WHERE service_id = ?1 AND signer = ?2")?
        .execute(params![blob(service_id.as_bytes()), signer.as_slice()])?;
    Ok(())
}

/// Keeps a notice; the first of each operator per target counts.
pub fn notice(tx: &Connection, signer: &EvmAddress, said: &Landed, now_ms: u64) -> Result<bool> {
    let rows = tx
        .prepare_cached(
            "INSERT INTO notices (event_id, chain, handler, signer, digest, tx, received_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            blob(said.event_id.as_bytes()),
            said.chain.as_str(),
            said.handler.to_lowercase(),
            signer.as_slice(),
            said.digest.as_slice(),
            said.tx,
            now_ms
        ])?;
    Ok(rows == 1)
}

/// What is said to have landed at a target, oldest first.
pub fn notices(conn: &Connection, event_id: &EventId, chain: &ChainKey, handler: &str) -> Result<Vec<Notice>> {
    conn.prepare_cached(
        "SELECT DISTINCT tx, digest FROM notices WHERE event_id = ?1 AND chain = ?2 AND handler = ?3 ORDER BY received_ms",
    )?
    .query_map(
        params![blob(event_id.as_bytes()), chain.as_str(), handler.to_lowercase()],
        |row| {
            Ok(Notice {
                tx: row.get(0)?,
                digest: B256::from(row.get::<_, [u8; 32]>(1)?),
            })
        },
    )?
    .collect()
}

/// Notices for an event turned out to be false.
pub fn drop_notice(tx: &Connection, event_id: &EventId, transaction: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM notices WHERE event_id = ?1 AND tx = ?2")?
        .execute(params![blob(event_id.as_bytes()), transaction])?;
    Ok(())
}

/// When a target first had quorum, in milliseconds since the Unix epoch: now, if this is the first time.
pub fn quorum_since(tx: &Connection, target: i64, now_ms: u64) -> Result<u64> {
    tx.prepare_cached("INSERT INTO schedule (target, since_ms) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![target, now_ms])?;
    tx.prepare_cached("SELECT since_ms FROM schedule WHERE target = ?1")?
        .query_row([target], |row| row.get(0))
}
