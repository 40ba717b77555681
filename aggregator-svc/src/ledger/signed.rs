//! The sign-once rows: which digest was signed for an event by which of our keys. Kept for ever.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_types::{B256, EventId, EvmAddress};

use super::columns::blob;

/// A stored signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Digest of the envelope.
    pub digest: B256,
    /// 65 bytes `r || s || v`.
    pub signature: [u8; 65],
}

/// What was signed for an event by a key of ours: by `signer`, else by the key that its service had before.
pub fn load(conn: &Connection, signer: &EvmAddress, event_id: &EventId) -> Result<Option<(EvmAddress, Signed)>> {
    conn.prepare_cached(
        "SELECT signer, digest, signature FROM signed WHERE event_id = ?2 ORDER BY signer <> ?1, signed_us LIMIT 1",
    )?
    .query_row(params![signer.as_slice(), blob(event_id.as_bytes())], |row| {
        let signed = Signed {
            digest: B256::from(row.get::<_, [u8; 32]>(1)?),
            signature: row.get(2)?,
        };
        Ok((EvmAddress::from(row.get::<_, [u8; 20]>(0)?), signed))
    })
    .optional()
}

/// When a key of ours signed for an event, in microseconds since the Unix epoch.
pub fn signed_us(conn: &Connection, signer: &EvmAddress, event_id: &EventId) -> Result<Option<u64>> {
    conn.prepare_cached("SELECT signed_us FROM signed WHERE signer = ?1 AND event_id = ?2")?
        .query_row(params![signer.as_slice(), blob(event_id.as_bytes())], |row| row.get(0))
        .optional()
}

/// Whether any key of ours signed for an event.
pub fn any(conn: &Connection, event_id: &EventId) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM signed WHERE event_id = ?1 LIMIT 1")?
        .exists([blob(event_id.as_bytes())])
}

/// Whether a key of ours signed anything.
pub fn any_of(conn: &Connection, signer: &EvmAddress) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM signed_keys WHERE signer = ?1")?
        .exists([signer.as_slice()])
}

/// Stores a signature; the caller has looked that there is none.
pub fn insert(
    tx: &Connection,
    signer: &EvmAddress,
    event_id: &EventId,
    signed: &Signed,
    envelope: &[u8],
    now_us: u64,
) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO signed (signer, event_id, digest, envelope, signature, signed_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        signer.as_slice(),
        blob(event_id.as_bytes()),
        signed.digest.as_slice(),
        envelope,
        signed.signature,
        now_us
    ])?;
    Ok(())
}

/// One row, as it moves to another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose signature it is.
    pub signer: EvmAddress,
    /// The event.
    pub event_id: EventId,
    /// What was signed.
    pub signed: Signed,
    /// When, in microseconds since the Unix epoch.
    pub signed_us: u64,
}

/// Rows in the order of their keys, after one of them.
pub fn page(conn: &Connection, after: Option<&(EvmAddress, EventId)>, max: u32) -> Result<Vec<Entry>> {
    let (signer, event_id) = after.map_or((EvmAddress::ZERO, EventId::new([0; 20])), |after| *after);
    conn.prepare_cached(
        "SELECT signer, event_id, digest, signature, signed_us FROM signed
         WHERE (event_id, signer) > (?2, ?1) ORDER BY event_id, signer LIMIT ?3",
    )?
    .query_map(params![signer.as_slice(), blob(event_id.as_bytes()), max], |row| {
        Ok(Entry {
            signer: EvmAddress::from(row.get::<_, [u8; 20]>(0)?),
            event_id: EventId::new(row.get(1)?),
            signed: Signed {
                digest: B256::from(row.get::<_, [u8; 32]>(2)?),
                signature: row.get(3)?,
            },
            signed_us: row.get(4)?,
        })
    })?
    .collect()
}

/// How an import went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// All rows are here now; so many of them are new.
    Rows(u32),
    /// This event was signed here with another digest; nothing may be imported then.
    Conflict(EventId),
}

/// Takes rows of another ledger over. After a conflict the caller undoes what was taken.
pub fn import(tx: &Connection, entries: &[Entry]) -> Result<Imported> {
    let mut new = 0;
    for entry in entries {
        match load(tx, &entry.signer, &entry.event_id)? {
            Some((_, known)) if known.digest != entry.signed.digest => return Ok(Imported::Conflict(entry.event_id)),
            Some((signer, _)) if signer == entry.signer => {}
            _ => {
                insert(tx, &entry.signer, &entry.event_id, &entry.signed, &[], entry.signed_us)?;
                new += 1;
            }
        }
    }
    Ok(Imported::Rows(new))
}
