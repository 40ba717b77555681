//! The address book: where peers were reached.

use libp2p::{Multiaddr, PeerId};
use rusqlite::{Connection, Result, params};

/// Addresses that are remembered, over all peers; the longest unseen go first.
const MAX_ADDRESSES: u64 = 1_024;

/// A peer at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// The peer.
    pub peer: PeerId,
    /// Where it was reached.
    pub address: Multiaddr,
}

/// Remembers a peer.
pub(super) fn met(tx: &Connection, known: &KnownPeer, now_ms: u64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO peers (peer_id, address, seen_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET seen_ms = excluded.seen_ms",
    )?
    .execute(params![known.peer.to_string(), known.address.to_string(), now_ms])?;
    tx.execute(
        "DELETE FROM peers WHERE (peer_id, address) IN (
             SELECT peer_id, address FROM peers ORDER BY seen_ms DESC LIMIT -1 OFFSET ?1)",
        [MAX_ADDRESSES],
    )?;
    Ok(())
}

/// All peers, latest first. What does not parse was written by another version and is left out.
pub(super) fn all(conn: &Connection) -> Result<Vec<KnownPeer>> {
    let rows: Vec<(String, String)> = conn
        .prepare_cached("SELECT peer_id, address FROM peers ORDER BY seen_ms DESC")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    let parse = |(peer, address): (String, String)| {
        Some(KnownPeer {
            peer: peer.parse().ok()?,
            address: address.parse().ok()?,
        })
    };
    Ok(rows.into_iter().filter_map(parse).collect())
}
