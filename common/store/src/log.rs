//! A durable append log in two tables of a database.
//!
//! Appends ride in the caller's transaction, so a queue entry and the state that it belongs to commit together. Sequence
//! numbers start at 1 and are never reused, also not after a trim or a crash. Each log draws a random id when it is
//! made: a consumer that remembers (id, sequence) notices that the log was wiped. Counting is kept incrementally,
//! so a quota check costs one row.

use std::fmt;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::error::StoreError;

/// Names a log. The tables are `<name>` and `<name>_meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    name: &'static str,
}

/// Drawn at random when the log was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number, unique in this log for ever.
    pub sequence: u64,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// What the log holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSize {
    /// Entries that are not trimmed.
    pub entries: u64,
    /// Sum of the payloads of those entries, in bytes.
    pub bytes: u64,
}

impl Log {
    /// A log under `name`: lower-case letters, digits and underscores, as it becomes a table name.
    ///
    /// # Panics
    /// At compile time, when used in a constant, if `name` has other characters.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "the name of a log must not be empty");
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_'),
                "a log name has only a-z, 0-9 and _"
            );
            at += 1;
        }
        Self { name }
    }

    /// Makes the tables if they are missing.
    ///
    /// # Errors
    /// When a statement fails.
    pub fn create(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let name = self.name;
        transaction.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {name} (sequence INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS {name}_meta (
                 one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL, entries INTEGER NOT NULL, bytes INTEGER NOT NULL
             ) STRICT;
             INSERT OR IGNORE INTO {name}_meta (one, id, entries, bytes) VALUES (1, randomblob(16), 0, 0);"
        ))?;
        Ok(())
    }

    /// The id of the log.
    ///
    /// # Errors
    /// When a statement fails, for example because the log was never made.
    pub fn id(&self, connection: &Connection) -> Result<LogId, StoreError> {
        let sql = format!("SELECT id FROM {}_meta", self.name);
        Ok(LogId(connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?))
    }

    /// Adds an entry and gives its number.
    ///
    /// # Errors
    /// When a statement fails.
    pub fn append(&self, transaction: &Transaction<'_>, payload: &[u8]) -> Result<u64, StoreError> {
        let name = self.name;
        transaction
            .prepare_cached(&format!("INSERT INTO {name} (payload) VALUES (?1)"))?
            .execute([payload])?;
        let sequence = transaction.last_insert_rowid();
        crate::fault::point("log.appended");
        transaction
            .prepare_cached(&format!(
                "UPDATE {name}_meta SET entries = entries + 1, bytes = bytes + ?1"
            ))?
            .execute([count(payload.len())])?;
        Ok(sequence.unsigned_abs())
    }

    /// The entries above `after`, oldest first: at most `max_entries`, and no more than `max_bytes` of payload unless the first
    /// alone is larger.
    ///
    /// # Errors
    /// When a statement fails.
    pub fn read_from(
        &self,
        connection: &Connection,
        after: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let sql = format!(
            "SELECT sequence, payload FROM {} WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            self.name
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![number(after), count(max_entries)])?;
        let mut entries = Vec::new();
        let mut bytes = 0_usize;
        while let Some(row) = rows.next()? {
            let payload: Vec<u8> = row.get(1)?;
            bytes = bytes.saturating_add(payload.len());
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(LogEntry {
                sequence: row.get::<_, i64>(0)?.unsigned_abs(),
                payload,
            });
        }
        Ok(entries)
    }

    /// Drops all entries up to and including `upto` and gives their number.
    ///
    /// # Errors
    /// When a statement fails.
    pub fn trim(&self, transaction: &Transaction<'_>, upto: u64) -> Result<u64, StoreError> {
        let name = self.name;
        let (entries, bytes): (i64, i64) = transaction
            .prepare_cached(&format!(
                "SELECT count(*), coalesce(sum(length(payload)), 0) FROM {name} WHERE sequence <= ?1"
            ))?
            .query_row([number(upto)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if entries == 0 {
            return Ok(0);
        }
        transaction
            .prepare_cached(&format!("DELETE FROM {name} WHERE sequence <= ?1"))?
            .execute([number(upto)])?;
        transaction
            .prepare_cached(&format!(
                "UPDATE {name}_meta SET entries = entries - ?1, bytes = bytes - ?2"
            ))?
            .execute([entries, bytes])?;
        Ok(entries.unsigned_abs())
    }

    /// How much the log holds.
    ///
    /// # Errors
    /// When a statement fails.
    pub fn size(&self, connection: &Connection) -> Result<LogSize, StoreError> {
        let sql = format!("SELECT entries, bytes FROM {}_meta", self.name);
        let (entries, bytes): (i64, i64) = connection
            .prepare_cached(&sql)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(LogSize {
            entries: entries.unsigned_abs(),
            bytes: bytes.unsigned_abs(),
        })
    }

    /// The number of the newest entry ever appended, also when it is trimmed; 0 in a fresh log.
    ///
    /// # Errors
    /// When a statement fails.
    pub fn last_sequence(&self, connection: &Connection) -> Result<u64, StoreError> {
        let last: Option<i64> = connection
            .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?
            .query_row([self.name], |row| row.get(0))
            .optional()?;
        Ok(last.unwrap_or(0).unsigned_abs())
    }
}

/// SQLite counts in signed 64 bits; a sequence number beyond that cannot exist.
fn number(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}
