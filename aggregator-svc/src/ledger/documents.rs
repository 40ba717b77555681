//! Service documents that were stored without registering them. Bounded in bytes: the least recently used goes first.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_types::ServiceDigest;

use super::columns::blob;

/// All documents together, in bytes.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Stores a document and makes room for it.
pub fn put(tx: &Connection, digest: &ServiceDigest, raw: &[u8], now_ms: u64) -> Result<()> {
    tx.execute(
        "INSERT INTO documents (digest, raw, used_ms) VALUES (?1, ?2, ?3) ON CONFLICT (digest) DO UPDATE SET raw = ?2, used_ms = ?3",
        params![blob(digest.as_bytes()), raw, now_ms],
    )?;
    loop {
        let bytes: u64 = tx.query_row("SELECT coalesce(sum(length(raw)), 0) FROM documents", [], |row| {
            row.get(0)
        })?;
        if bytes <= MAX_BYTES {
            return Ok(());
        }
        tx.execute(
            "DELETE FROM documents WHERE digest = (SELECT digest FROM documents ORDER BY used_ms LIMIT 1)",
            [],
        )?;
    }
}

/// Reads a document.
pub fn load(conn: &Connection, digest: &ServiceDigest) -> Result<Option<Vec<u8>>> {
    conn.query_row(
        "SELECT raw FROM documents WHERE digest = ?1",
        [blob(digest.as_bytes())],
        |row| row.get(0),
    )
    .optional()
}
