//! Tables and stored forms of the spool.

use serde::{Deserialize, Serialize};
use wavs_ipc::contract::trigger_feed::SpoolBody;
use wavs_service::metrics::Counter;
use wavs_store::rusqlite::params;
use wavs_store::{Log, Migration, Transaction, fault};

use super::occurrence::{Entry, Occurrence};
use super::{SpoolError, signed};

/// The queue itself.
pub(super) const LOG: Log = Log::new("spool");

/// Injections whose ids are remembered, to recognise a repeat; the oldest are forgotten beyond it.
const REMEMBERED_INJECTIONS: u32 = 1_000;

/// `cursor` is how far each chain was looked at, `block` the hashes by which a chain is recognised.
/// `seen` holds the occurrences that were recorded, per route; an empty service id stands for a notice. Its `chain` is the
/// source, which for schedules is no chain. `clock` holds one row per route with a block interval or a schedule.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration::new(
        "cursors, seen occurrences, injections, desired state",
        "CREATE TABLE cursor (chain TEXT PRIMARY KEY, height INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE seen (
         source_key TEXT NOT NULL, service_id BLOB NOT NULL, workflow_id TEXT NOT NULL,
         chain TEXT NOT NULL, height INTEGER NOT NULL,
         PRIMARY KEY (source_key, service_id, workflow_id)
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX seen_by_height ON seen (chain, height);
     CREATE TABLE injection (position INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE) STRICT;
     CREATE TABLE watch (one INTEGER PRIMARY KEY CHECK (one = 1), document TEXT NOT NULL) STRICT;",
    ),
    Migration::new(
        "clocks of routes",
        "CREATE TABLE clock (
             service_id BLOB NOT NULL, workflow_id TEXT NOT NULL, definition TEXT NOT NULL,
             registered INTEGER NOT NULL, anchor INTEGER, position INTEGER,
             PRIMARY KEY (service_id, workflow_id)
         ) STRICT, WITHOUT ROWID;",
    ),
    Migration::new(
        "scanned blocks and their hashes",
        "ALTER TABLE cursor ADD COLUMN scanned INTEGER;
         ALTER TABLE cursor ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
         CREATE TABLE block (
             chain TEXT NOT NULL, height INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (chain, height)
         ) STRICT, WITHOUT ROWID;",
    ),
];

/// An entry as stored: postcard of the wire form, whose enums only ever grow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub seen_at_ns: u64,
    pub body: SpoolBody,
}

impl Stored {
    pub(super) fn encode(&self) -> Result<Vec<u8>, SpoolError> {
        postcard::to_allocvec(self).map_err(|cause| SpoolError::Encode(cause.to_string()))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SpoolError> {
        postcard::from_bytes(bytes).map_err(|cause| SpoolError::Encode(cause.to_string()))
    }
}

/// What a transaction appends.
#[derive(Debug, Default)]
pub(super) struct Appended {
    /// The number of the last entry, if there is one.
    pub(super) newest: Option<u64>,
    /// Counts of the triggers among the entries, to be raised when they are committed.
    pub(super) fired: Vec<Counter>,
}

/// Records the occurrences that are not known.
pub(super) fn insert_all(
    tx: &Transaction<'_>,
    source: &str,
    occurrences: &[Occurrence],
    seen_at_ns: u64,
) -> Result<Appended, SpoolError> {
    let mut appended = Appended::default();
    for occurrence in occurrences {
        insert(tx, source, occurrence, seen_at_ns, &mut appended)?;
    }
    Ok(appended)
}

/// Forgets the source keys of a source below a height.
pub(super) fn prune(tx: &Transaction<'_>, source: &str, below: Option<u64>) -> Result<(), SpoolError> {
    if let Some(height) = below {
        tx.prepare_cached("DELETE FROM seen WHERE chain = ?1 AND height < ?2")?
            .execute(params![source, signed(height)])?;
    }
    Ok(())
}

/// Records one occurrence unless it is known.
fn insert(
    tx: &Transaction<'_>,
    chain: &str,
    occurrence: &Occurrence,
    seen_at_ns: u64,
    appended: &mut Appended,
) -> Result<(), SpoolError> {
    match occurrence {
        Occurrence::Seen {
            source_key,
            height,
            entries,
        } => {
            for Entry { route, body, fired } in entries {
                let (service_id, workflow_id) = route.as_ref().map_or((&[][..], ""), |(service_id, workflow_id)| {
                    (service_id.as_bytes().as_slice(), workflow_id.as_str())
                });
                let fresh = tx
                    .prepare_cached("INSERT OR IGNORE INTO seen (source_key, service_id, workflow_id, chain, height) VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![source_key, service_id, workflow_id, chain, signed(*height)])?;
                fault::point("spool.insert.seen");
                if fresh == 1 {
                    let body = body.clone();
                    appended.newest = Some(LOG.append(tx, &Stored { seen_at_ns, body }.encode()?)?);
                    appended.fired.extend(fired.clone());
                }
            }
        }
        Occurrence::Removed { source_key } => {
            // Forgotten, so that the same block may come back.
            let known = tx
                .prepare_cached("DELETE FROM seen WHERE source_key = ?1")?
                .execute([source_key])?;
            fault::point("spool.insert.unseen");
            if known > 0 {
                let body = SpoolBody::Orphaned {
                    source_key: source_key.clone(),
                };
                appended.newest = Some(LOG.append(tx, &Stored { seen_at_ns, body }.encode()?)?);
            }
        }
    }
    Ok(())
}

/// Appends injected entries unless the injection is known; answers the number of the last one.
pub(super) fn inject(
    tx: &Transaction<'_>,
    id: u128,
    entries: Vec<SpoolBody>,
    seen_at_ns: u64,
) -> Result<Option<u64>, SpoolError> {
    let fresh = tx
        .prepare_cached("INSERT OR IGNORE INTO injection (id) VALUES (?1)")?
        .execute([&id.to_be_bytes()[..]])?;
    if fresh == 0 {
        return Ok(None);
    }
    fault::point("spool.inject.remembered");
    let mut newest = None;
    for body in entries {
        newest = Some(LOG.append(tx, &Stored { seen_at_ns, body }.encode()?)?);
        fault::point("spool.inject.appended");
    }
    tx.prepare_cached("DELETE FROM injection WHERE position <= (SELECT max(position) FROM injection) - ?1")?
        .execute([REMEMBERED_INJECTIONS])?;
    Ok(newest)
}
