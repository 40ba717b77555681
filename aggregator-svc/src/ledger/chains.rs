//! Chains that were added over the API; those of the configuration are not stored.

use rusqlite::{Connection, Result, params};
use wavs_types::{ChainConfig, ChainKey};

use super::columns::{json, parsed, unwritable};

/// All stored chains.
pub fn all(conn: &Connection) -> Result<Vec<(ChainKey, ChainConfig)>> {
    conn.prepare("SELECT chain, config FROM chains ORDER BY chain")?
        .query_map([], |row| Ok((parsed(row, 0)?, json(row, 1)?)))?
        .collect()
}

/// Stores a chain.
pub fn put(tx: &Connection, chain: &ChainKey, config: &ChainConfig) -> Result<()> {
    let text = serde_json::to_string(config).map_err(unwritable)?;
    tx.execute(
        "INSERT INTO chains (chain, config) VALUES (?1, ?2) ON CONFLICT (chain) DO UPDATE SET config = ?2",
        params![chain.as_str(), text],
    )?;
    Ok(())
}
