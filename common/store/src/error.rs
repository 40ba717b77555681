//! What can go wrong with the state file, named after the operation that failed.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// A failure of the store. Nothing that failed has changed the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory of the database cannot be made or the file cannot be prepared.
    #[error("cannot prepare the database file {path}: {source}; check that the data directory exists and belongs to this user", path = path.display())]
    Prepare {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// SQLite cannot open the file or refuses one of the settings that the store relies on.
    #[error("cannot open the database {path}: {source}; if the file is damaged, restore it from a backup or move it away", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file was written by a newer version of the program.
    #[error(
        "the database {path} has schema version {found}, this program knows versions up to {known}: start the newer version again or restore a backup",
        path = path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The newest version that this program can read.
        known: i64,
    },
    /// One migration failed; the file stays at the version before it.
    #[error("cannot bring the database {path} to schema version {version} ({name}): {source}", path = path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// The version that could not be reached.
        version: i64,
        /// The name of the migration.
        name: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The disk or the quota of the file system is used up.
    #[error("the disk that holds the database is full: free some space, the process goes on by itself")]
    Full,
    /// A statement failed.
    #[error("a database statement failed: {0}")]
    Statement(rusqlite::Error),
    /// The shared commit failed, so none of the closures that rode in it took effect.
    #[error("the database could not commit: {0}")]
    Commit(Arc<rusqlite::Error>),
    /// Another closure of the same commit made SQLite undo the whole transaction.
    #[error("the write was undone together with the transaction that it shared; it can be repeated")]
    RolledBack,
    /// The closure panicked; its changes are undone.
    #[error("the database closure panicked; this is a bug, its changes are undone")]
    Panicked,
    /// The writer thread or the runtime of the readers has ended.
    #[error("the database is closed because the process is stopping")]
    Closed,
}

impl StoreError {
    /// Whether the disk is full: the caller stops taking work and tries again later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full)
    }

    /// The error that every closure of a failed commit gets.
    pub(crate) fn commit(cause: &Arc<rusqlite::Error>) -> Self {
        if is_full(cause) {
            Self::Full
        } else {
            Self::Commit(Arc::clone(cause))
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(cause: rusqlite::Error) -> Self {
        if is_full(&cause) {
            Self::Full
        } else {
            Self::Statement(cause)
        }
    }
}

fn is_full(cause: &rusqlite::Error) -> bool {
    cause.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
