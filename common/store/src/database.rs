//! Opening the file: permissions, settings that the durability rules rest on, schema, writer and readers.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::migration::{Migration, migrate};
use crate::reader::Reader;
use crate::writer::Writer;

/// How long a statement waits for a lock. Only an operator's own tool can hold one, because each file has one writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The write-ahead log is cut back to this size after a checkpoint, so that one burst does not occupy the disk for ever.
const JOURNAL_SIZE_LIMIT: i64 = 64 * 1024 * 1024;

/// Pages of the write-ahead log after which a commit also copies them into the database. A page that changes often is then
/// copied once for many commits; a start after a crash reads at most about these 32 MiB.
const CHECKPOINT_PAGES: i64 = 8_192;

/// Pages that the writer keeps in memory, in KiB (SQLite wants a negative number then). Keys are hashes, so a write lands on any
/// page; beyond this size it reads the page from the kernel again.
const WRITER_CACHE_KIB: i64 = -16 * 1024;

/// An open state file. Clones share the writer and the readers; the writer thread ends when the last clone is gone.
#[derive(Clone)]
pub struct Database {
    path: PathBuf,
    writer: Writer,
    reader: Reader,
}

impl Database {
    /// Opens or creates `path` (mode 0600, a missing directory is made with 0700), brings it to the last of `migrations` and
    /// starts the writer thread. Blocks for the duration of the migrations; call it before the process reports READY.
    ///
    /// # Errors
    /// When the file cannot be made or opened, a migration fails, or the schema is newer than `migrations`.
    pub fn open(path: impl AsRef<Path>, migrations: &[Migration]) -> Result<Self, StoreError> {
        let path = path.as_ref();
        prepare(path).map_err(|source| StoreError::Prepare {
            path: path.to_owned(),
            source,
        })?;
        let open = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open(path).map_err(open)?;
        configure(&connection).map_err(open)?;
        migrate(&mut connection, path, migrations)?;
        let reader = Reader::new(path.to_owned());
        let writer = Writer::start(connection, path)?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            reader,
        })
    }

    /// The one writer.
    #[must_use]
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// The read-only pool.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Gives up to `max_pages` free pages back to the file system, inside the caller's transaction; answers how many. The file
/// itself shrinks with the next checkpoint.
///
/// # Errors
/// When a statement fails.
pub fn shrink(transaction: &Connection, max_pages: u64) -> rusqlite::Result<u64> {
    let free = |connection: &Connection| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, "freelist_count", |row| row.get(0))
    };
    let before = free(transaction)?;
    // Each step of the statement frees one page.
    let mut statement = transaction.prepare(&format!("PRAGMA incremental_vacuum({max_pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(u64::try_from(before - free(transaction)?).unwrap_or(0))
}

/// Opens a read-only connection to a database that [`Database::open`] has prepared.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let open = |source| StoreError::Open {
        path: path.to_owned(),
        source,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(open)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
    keep_plans(&connection).map_err(open)?;
    Ok(connection)
}

/// A prepared statement keeps its plan whatever is bound to it; otherwise SQLite parses it again at every use in the hope of a
/// better one.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

/// Makes the directory and the file with tight modes; SQLite gives its side files the mode of the main file.
fn prepare(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Only a file without tables takes this; it is what lets `shrink` give free pages back.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        tracing::warn!(
            mode,
            "this file system does not support a write-ahead log; commits will be slower"
        );
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    // A process that is locked down has no directory for temporary files.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update_and_check(None, "journal_size_limit", JOURNAL_SIZE_LIMIT, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    keep_plans(connection)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}
