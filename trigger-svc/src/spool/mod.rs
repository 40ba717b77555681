//! The durable queue between the sources and aggregator-svc.
//!
//! What a source saw and the position up to which it has looked are one commit, so a crash neither loses nor skips
//! anything. Each occurrence is recorded once per route: its source key is remembered until a reorganisation can no
//! longer bring it back. Entries are served until they are acknowledged, also after a restart.
//!
//! The spool is bounded: above its quota, and while the disk is full, [`Spool::record`] waits, the source stops reading, and
//! its position stands still; the chain keeps what comes meanwhile.

mod clocks;
mod intake;
mod occurrence;
mod position;
mod retention;
mod schema;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Notify, watch};
use wavs_ipc::contract::trigger_admin::Inject;
use wavs_ipc::contract::trigger_feed::{MAX_PULL_ITEMS, SpoolBatch, SpoolCursor, SpoolItem};
use wavs_ipc::{ErrorCode, WireError};
use wavs_store::rusqlite::{self, OptionalExtension, params};
use wavs_store::{Database, Durability, LogEntry, LogSize, StoreError};
use wavs_types::ChainKey;

pub(crate) use clocks::{Advance, Mark};
pub(crate) use occurrence::{Entry, Occurrence};
pub(crate) use position::{Beginning, Position, Progress};
use schema::{Appended, LOG, MIGRATIONS, Stored};

use crate::clock;
use crate::watch::Watch;

/// Bytes of one batch: below the payload cap of a call.
const MAX_BATCH_BYTES: usize = 3 * 1024 * 1024;

/// How much may wait for aggregator-svc; above it the sources stop reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    /// Entries.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Quota {
    /// Whether nothing more may come in.
    pub(crate) fn is_reached(&self, size: LogSize) -> bool {
        size.entries >= self.entries || size.bytes >= self.bytes
    }
}

/// A failure of the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry has no stored form.
    #[error("cannot write a spool entry: {0}")]
    Encode(String),
}

impl From<rusqlite::Error> for SpoolError {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Store(cause.into())
    }
}

impl SpoolError {
    /// Whether the disk is full, so that the same write can succeed later.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_full())
    }
}

impl From<SpoolError> for WireError {
    fn from(error: SpoolError) -> Self {
        if error.is_full() {
            Self::backoff(ErrorCode::Busy, error.to_string())
        } else {
            Self::internal(error)
        }
    }
}

/// The durable queue. Clones share it.
#[derive(Clone)]
pub(crate) struct Spool {
    database: Database,
    id: u128,
    quota: Quota,
    /// Number of the newest entry: wakes those who wait in [`Spool::pull`].
    newest: Arc<watch::Sender<u64>>,
    /// Wakes sources that wait for room.
    room: Arc<Notify>,
    /// Writes of sources that the quota holds up.
    without_room: Arc<AtomicU64>,
    /// Writes of sources that a full disk holds up.
    without_disk: Arc<AtomicU64>,
}

impl Spool {
    /// Opens or creates the spool.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub(crate) async fn open(path: impl AsRef<std::path::Path>, quota: Quota) -> Result<Self, SpoolError> {
        let database = Database::open(path, MIGRATIONS)?;
        database.writer().write(Durability::Power, |tx| LOG.create(tx)).await?;
        let (id, newest) = database
            .reader()
            .read(|connection| Ok::<_, StoreError>((LOG.id(connection)?, LOG.last_sequence(connection)?)))
            .await?;
        Ok(Self {
            database,
            id: u128::from_be_bytes(id.0),
            quota,
            newest: Arc::new(watch::Sender::new(newest)),
            room: Arc::new(Notify::new()),
            without_room: Arc::default(),
            without_disk: Arc::default(),
        })
    }

    /// The occurrences that were recorded for blocks from `height` on, each once, with their heights.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn recorded_since(&self, chain: &ChainKey, height: u64) -> Result<Vec<(u64, String)>, SpoolError> {
        let chain = chain.to_string();
        self.database
            .reader()
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT DISTINCT height, source_key FROM seen WHERE chain = ?1 AND height >= ?2 ORDER BY height",
                )?;
                let rows = statement.query_map(params![chain, signed(height)], |row| {
                    Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Records what was seen and how far the chain was looked at, in one commit. Waits while the spool is full.
    ///
    /// # Errors
    /// When the database fails; nothing is recorded then.
    pub(crate) async fn record(
        &self,
        chain: &ChainKey,
        occurrences: Vec<Occurrence>,
        progress: Option<Progress>,
    ) -> Result<(), SpoolError> {
        if !occurrences.is_empty() {
            self.wait_for_room().await?;
        }
        let chain = chain.to_string();
        let seen_at_ns = clock::now_ns();
        let appended = self
            .intake(move |tx| {
                let appended = schema::insert_all(tx, &chain, &occurrences, seen_at_ns)?;
                if let Some(progress) = &progress {
                    position::advance(tx, &chain, progress)?;
                }
                Ok(appended)
            })
            .await?;
        self.committed(appended);
        Ok(())
    }

    /// Appends copies of one trigger. A repeat of the same injection changes nothing.
    ///
    /// # Errors
    /// `Busy` when the spool is full, `Internal` when the database fails.
    pub(crate) async fn inject(&self, request: Inject) -> Result<(), WireError> {
        if self.is_full().await? {
            let detail = "the spool is full: aggregator-svc does not keep up; try again later";
            return Err(WireError::backoff(ErrorCode::Busy, detail));
        }
        let entries = Entry::injected(&request)?;
        let seen_at_ns = clock::now_ns();
        // Unlike a source, the caller is told about a full disk and decides itself.
        let newest = self
            .database
            .writer()
            .write(Durability::Process, move |tx| {
                schema::inject(tx, request.id, entries, seen_at_ns)
            })
            .await?;
        self.announce(newest);
        Ok(())
    }

    /// The entries after `after`, at most `max`; waits up to `wait` for the first one.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn pull(
        &self,
        after: SpoolCursor,
        max: u32,
        wait: std::time::Duration,
    ) -> Result<SpoolBatch, SpoolError> {
        let after = if after.spool == self.id { after.seq } else { 0 };
        let max = max.clamp(1, MAX_PULL_ITEMS) as usize;
        let mut newest = self.newest.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            newest.borrow_and_update();
            let entries = self
                .database
                .reader()
                .read(move |connection| LOG.read_from(connection, after, max, MAX_BATCH_BYTES))
                .await?;
            if !entries.is_empty() {
                let items = entries.iter().map(item).collect::<Result<_, SpoolError>>()?;
                return Ok(SpoolBatch { spool: self.id, items });
            }
            // The sender lives as long as `self`, so this ends by an entry or by the deadline.
            if tokio::time::timeout_at(deadline, newest.changed()).await.is_err() {
                return Ok(SpoolBatch {
                    spool: self.id,
                    items: Vec::new(),
                });
            }
        }
    }

    /// Forgets the entries up to and including `upto`.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn ack(&self, upto: SpoolCursor) -> Result<(), SpoolError> {
        if upto.spool != self.id {
            return Ok(());
        }
        self.database
            .writer()
            .write(Durability::Process, move |tx| LOG.trim(tx, upto.seq))
            .await?;
        self.room.notify_waiters();
        Ok(())
    }

    /// The desired state as stored.
    ///
    /// # Errors
    /// When the database fails or the row does not parse.
    pub(crate) async fn load_watch(&self) -> Result<Watch, SpoolError> {
        let stored: Option<String> = self
            .database
            .reader()
            .read(|connection| {
                let mut statement = connection.prepare("SELECT document FROM watch")?;
                Ok::<_, SpoolError>(statement.query_row([], |row| row.get(0)).optional()?)
            })
            .await?;
        stored.map_or_else(
            || Ok(Watch::default()),
            |text| serde_json::from_str(&text).map_err(|cause| SpoolError::Encode(cause.to_string())),
        )
    }

    /// Stores the desired state, moves chains to where their new routes begin, and begins and forgets the clocks of routes
    /// that came and went.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn store_watch(&self, watch: &Watch, beginnings: Vec<Beginning>) -> Result<(), SpoolError> {
        let document = serde_json::to_string(watch).map_err(|cause| SpoolError::Encode(cause.to_string()))?;
        let clocks = clocks::clocks(&watch.routes);
        let (now_ns, generation) = (clock::now_ns(), watch.generation);
        self.database
            .writer()
            .write(Durability::Process, move |tx| {
                tx.execute(
                    "INSERT OR REPLACE INTO watch (one, document) VALUES (1, ?1)",
                    [document],
                )?;
                wavs_store::fault::point("spool.watch.stored");
                position::begin(tx, generation, &beginnings)?;
                clocks::register(tx, &clocks, now_ns)
            })
            .await
    }

    /// What waits now.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn size(&self) -> Result<LogSize, SpoolError> {
        Ok(self.database.reader().read(|connection| LOG.size(connection)).await?)
    }

    /// How much may wait.
    pub(crate) fn quota(&self) -> Quota {
        self.quota
    }

    /// Counts and announces what was committed.
    fn committed(&self, appended: Appended) {
        for fired in appended.fired {
            fired.inc();
        }
        self.announce(appended.newest);
    }

    fn announce(&self, newest: Option<u64>) {
        if let Some(newest) = newest {
            self.newest.send_if_modified(|known| {
                let grown = newest > *known;
                *known = newest.max(*known);
                grown
            });
        }
    }

    async fn is_full(&self) -> Result<bool, SpoolError> {
        Ok(self.quota.is_reached(self.size().await?))
    }
}

fn item(entry: &LogEntry) -> Result<SpoolItem, SpoolError> {
    let stored = Stored::decode(&entry.payload)?;
    Ok(SpoolItem {
        seq: entry.sequence,
        seen_at_ns: stored.seen_at_ns,
        body: stored.body,
    })
}

/// SQLite counts in signed 64 bits; no block height comes near.
fn signed(height: u64) -> i64 {
    i64::try_from(height).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod full;
#[cfg(test)]
mod tests;
