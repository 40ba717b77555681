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

/// What was signed for an event by a key.
pub fn load(conn: &Connection, signer: &EvmAddress, event_id: &EventId) -> Result<Option<Signed>> {
    conn.prepare_cached("SELECT digest, signature FROM signed WHERE signer = ?1 AND event_id = ?2")?
        .query_row(params![signer.as_slice(), blob(event_id.as_bytes())], |row| {
            Ok(Signed {
                digest: B256::from(row.get::<_, [u8; 32]>(0)?),
                signature: row.get(1)?,
            })
        })
        .optional()
}

/// Whether any key of ours signed for an event.
pub fn any(conn: &Connection, event_id: &EventId) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM signed WHERE event_id = ?1 LIMIT 1")?
        .exists([blob(event_id.as_bytes())])
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
