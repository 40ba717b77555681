//! How far each chain was looked at.
//!
//! A position moves forward in the commit that records what the blocks held, and back when a reorganisation is found or
//! when a new route must see blocks that were passed without it. The hashes of recent blocks are kept beside it, so that a
//! reorganisation is noticed also after a restart.

use wavs_store::Transaction;
use wavs_store::rusqlite::{OptionalExtension, params};
use wavs_types::{B256, ChainKey};

use super::{Occurrence, Spool, SpoolError, schema, signed};
use crate::clock;

/// How far one chain was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last block that was passed: read, or covered by an uninterrupted subscription.
    pub height: u64,
    /// The last block that was read with `eth_getLogs`; a new connection reads on from here.
    pub scanned: u64,
}

/// A move forward, committed together with what the blocks held.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// Where the chain stands now. A lower one than the stored one changes nothing.
    pub position: Position,
    /// The generation of the desired state under which the blocks were looked at. A position that was moved back for a
    /// later generation stays: these blocks must be looked at again.
    pub generation: u64,
    /// New blocks of the chain, to recognise it by.
    pub blocks: Vec<(u64, B256)>,
    /// What lies this many blocks behind the position is forgotten: source keys and block hashes.
    pub window: u64,
}

/// Where routes and managers that are new to a chain begin.
#[derive(Debug, Clone)]
pub(crate) struct Beginning {
    /// The chain.
    pub chain: ChainKey,
    /// Its height at the registration; `None` when the chain was out of reach.
    pub head: Option<u64>,
    /// Whether nothing on the chain was wanted before: then older blocks are of no interest.
    pub unused: bool,
}

impl Spool {
    /// How far a chain was looked at; `None` before its first use.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn position(&self, chain: &ChainKey) -> Result<Option<Position>, SpoolError> {
        let chain = chain.to_string();
        self.database
            .reader()
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT height, coalesce(scanned, height) FROM cursor WHERE chain = ?1")?;
                let position = statement.query_row([chain], |row| {
                    Ok(Position {
                        height: row.get::<_, i64>(0)?.unsigned_abs(),
                        scanned: row.get::<_, i64>(1)?.unsigned_abs(),
                    })
                });
                Ok(position.optional()?)
            })
            .await
    }

    /// Begins a chain at `height` if it has no position yet.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn start_at(&self, chain: &ChainKey, height: u64) -> Result<(), SpoolError> {
        let chain = chain.to_string();
        self.intake(move |tx| {
            tx.prepare_cached("INSERT OR IGNORE INTO cursor (chain, height, scanned) VALUES (?1, ?2, ?2)")?
                .execute(params![chain, signed(height)])?;
            Ok(())
        })
        .await
    }

    /// The blocks by which a chain is recognised, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn blocks(&self, chain: &ChainKey) -> Result<Vec<(u64, B256)>, SpoolError> {
        let chain = chain.to_string();
        self.database
            .reader()
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT height, hash FROM block WHERE chain = ?1 ORDER BY height DESC")?;
                let rows = statement.query_map([chain], |row| {
                    Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, [u8; 32]>(1)?.into()))
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The chain is another one above `fork`: reports the occurrences that left it and moves the position back, so that
    /// the blocks in their place are looked at.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub(crate) async fn rewind(&self, chain: &ChainKey, fork: u64, removed: Vec<String>) -> Result<(), SpoolError> {
        let chain = chain.to_string();
        let seen_at_ns = clock::now_ns();
        let removed: Vec<_> = removed
            .into_iter()
            .map(|source_key| Occurrence::Removed { source_key })
            .collect();
        let appended = self
            .intake(move |tx| {
                let appended = schema::insert_all(tx, &chain, &removed, seen_at_ns)?;
                wavs_store::fault::point("spool.rewind.reported");
                tx.prepare_cached("DELETE FROM block WHERE chain = ?1 AND height > ?2")?
                    .execute(params![chain, signed(fork)])?;
                wavs_store::fault::point("spool.rewind.forgotten");
                tx.prepare_cached(
                    "UPDATE cursor SET height = min(height, ?2), scanned = min(coalesce(scanned, height), ?2)
                     WHERE chain = ?1",
                )?
                .execute(params![chain, signed(fork)])?;
                Ok(appended)
            })
            .await?;
        self.committed(appended);
        Ok(())
    }
}

/// Moves a position forward and forgets what lies too far behind it.
pub(super) fn advance(tx: &Transaction<'_>, chain: &str, progress: &Progress) -> Result<(), SpoolError> {
    let Progress {
        position,
        generation,
        blocks,
        window,
    } = progress;
    tx.prepare_cached(
        "INSERT INTO cursor (chain, height, scanned, generation) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (chain) DO UPDATE
         SET height = max(height, excluded.height), scanned = max(coalesce(scanned, height), excluded.scanned)
         WHERE generation <= excluded.generation",
    )?
    .execute(params![
        chain,
        signed(position.height),
        signed(position.scanned),
        signed(*generation)
    ])?;
    wavs_store::fault::point("spool.advance.moved");
    let mut insert = tx.prepare_cached("INSERT OR REPLACE INTO block (chain, height, hash) VALUES (?1, ?2, ?3)")?;
    for (height, hash) in blocks {
        insert.execute(params![chain, signed(*height), hash.as_slice()])?;
    }
    wavs_store::fault::point("spool.advance.blocks");
    for table in ["seen", "block"] {
        tx.prepare_cached(&format!(
            "DELETE FROM {table} WHERE chain = ?1
             AND height < (SELECT min(height, coalesce(scanned, height)) FROM cursor WHERE chain = ?1) - ?2"
        ))?
        .execute(params![chain, signed(*window)])?;
        wavs_store::fault::point("spool.advance.pruned");
    }
    Ok(())
}

/// Moves positions to where new routes begin. What the sources of older generations report afterwards moves them no more.
pub(super) fn begin(tx: &Transaction<'_>, generation: u64, beginnings: &[Beginning]) -> Result<(), SpoolError> {
    for Beginning { chain, head, unused } in beginnings {
        let chain = chain.as_str();
        let generation = signed(generation);
        match head {
            Some(head) => tx
                .prepare_cached(
                    "INSERT INTO cursor (chain, height, scanned, generation) VALUES (?1, ?2, ?2, ?3)
                     ON CONFLICT (chain) DO UPDATE SET generation = excluded.generation,
                     height = CASE WHEN ?4 THEN excluded.height ELSE min(height, excluded.height) END,
                     scanned = CASE WHEN ?4 THEN excluded.height ELSE min(coalesce(scanned, height), excluded.height) END",
                )?
                .execute(params![chain, signed(*head), generation, unused])?,
            None => tx
                .prepare_cached("UPDATE cursor SET generation = ?2 WHERE chain = ?1")?
                .execute(params![chain, generation])?,
        };
        wavs_store::fault::point("spool.begin");
    }
    Ok(())
}
