//! Single values: the generations of the desired states, and the positions in trigger-svc's spool and p2p-svc's inbox.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_ipc::contract::gossip::InboxCursor;
use wavs_ipc::contract::trigger_feed::SpoolCursor;

const GENERATION: &str = "generation";
const SPOOL: &str = "spool";
const PROBE: &str = "probe";
const TOPICS: &str = "topics";
const INBOX: &str = "inbox";

/// The generation of the desired state.
pub fn generation(conn: &Connection) -> Result<u64> {
    let bytes: Option<[u8; 8]> = get(conn, GENERATION)?;
    Ok(bytes.map_or(0, u64::from_be_bytes))
}

/// Counts the generation up and answers the new one.
pub fn next_generation(tx: &Connection) -> Result<u64> {
    let next = generation(tx)? + 1;
    put(tx, GENERATION, &next.to_be_bytes())?;
    Ok(next)
}

/// The last spool item that was taken over.
pub fn spool_cursor(conn: &Connection) -> Result<SpoolCursor> {
    let bytes: Option<[u8; 24]> = get(conn, SPOOL)?;
    Ok(bytes.map_or_else(SpoolCursor::default, |bytes| {
        let (spool, seq) = bytes.split_at(16);
        SpoolCursor {
            spool: fold(spool),
            seq: u64::try_from(fold(seq)).unwrap_or(u64::MAX),
        }
    }))
}

fn fold(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

/// Everything up to `cursor` is taken over.
pub fn set_spool_cursor(tx: &Connection, cursor: SpoolCursor) -> Result<()> {
    let mut bytes = cursor.spool.to_be_bytes().to_vec();
    bytes.extend_from_slice(&cursor.seq.to_be_bytes());
    put(tx, SPOOL, &bytes)
}

fn get<const N: usize>(conn: &Connection, name: &str) -> Result<Option<[u8; N]>> {
    conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn put(tx: &Connection, name: &str, value: &[u8]) -> Result<()> {
    tx.prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")?
        .execute(params![name, value])?;
    Ok(())
}

/// Raises the generation to at least `floor`.
pub fn raise_generation(tx: &Connection, floor: u64) -> Result<()> {
    let next = generation(tx)?.max(floor) + 1;
    put(tx, GENERATION, &next.to_be_bytes())
}

/// Changes a row that means nothing, to find out whether the ledger can be written.
pub fn probe(tx: &Connection, now_us: u64) -> Result<()> {
    put(tx, PROBE, &now_us.to_be_bytes())
}

/// Counts the generation of the topics up and answers the new one.
pub fn next_topics(tx: &rusqlite::Transaction<'_>) -> Result<u64> {
    let bytes: Option<[u8; 8]> = get(tx, TOPICS)?;
    let next = bytes.map_or(0, u64::from_be_bytes) + 1;
    put(tx, TOPICS, &next.to_be_bytes())?;
    Ok(next)
}

/// Raises the generation of the topics to at least `floor`.
pub fn raise_topics(tx: &Connection, floor: u64) -> Result<()> {
    let bytes: Option<[u8; 8]> = get(tx, TOPICS)?;
    put(
        tx,
        TOPICS,
        &bytes.map_or(0, u64::from_be_bytes).max(floor).to_be_bytes(),
    )
}

/// The last record of other operators that was taken over.
pub fn gossip_cursor(conn: &Connection) -> Result<InboxCursor> {
    let bytes: Option<[u8; 24]> = get(conn, INBOX)?;
    Ok(bytes.map_or_else(InboxCursor::default, |bytes| {
        let (store, seq) = bytes.split_at(16);
        InboxCursor {
            store: fold(store),
            seq: u64::try_from(fold(seq)).unwrap_or(u64::MAX),
        }
    }))
}

/// Every record up to `cursor` is taken over.
pub fn set_gossip_cursor(tx: &Connection, cursor: InboxCursor) -> Result<()> {
    let mut bytes = cursor.store.to_be_bytes().to_vec();
    bytes.extend_from_slice(&cursor.seq.to_be_bytes());
    put(tx, INBOX, &bytes)
}
