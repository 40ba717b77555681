//! The ledger: everything that aggregator-svc must not forget, in one SQLite file with one writer.
//!
//! Each file holds the typed operations of one group of tables, as functions over a connection; a stage of the pipeline
//! composes them in one transaction. Intake and bookkeeping commit with [`Durability::Process`]; signatures, pins and
//! transactions with [`Durability::Power`]. The ledger decides nothing: what a state means is the stages' business.

use std::path::Path;

use rusqlite::{Connection, Transaction};
use tokio::sync::watch;
use wavs_store::{Database, Durability, Health, Migration, StoreError};

pub mod announcements;
pub mod blame;
pub mod buckets;
pub mod chains;
pub(crate) mod columns;
pub mod counters;
pub mod dead_letters;
pub mod documents;
pub mod done;
pub mod due;
pub mod events;
pub mod executions;
pub mod guardian;
pub mod history;
pub mod jobs;
pub mod meta;
pub mod operators;
pub mod outbox;
pub mod parked;
pub mod pins;
pub mod quorums;
pub mod retention;
mod schema;
mod schema_blame;
mod schema_closed;
mod schema_keys;
mod schema_open;
mod schema_peers;
mod schema_records;
mod select;
pub mod services;
pub mod signed;
pub mod state;
pub mod targets;
pub mod timers;
pub mod tries;
pub mod views;

pub use state::{Ending, State};

/// The steps of the schema; only ever appended to.
const MIGRATIONS: &[Migration] = &[
    Migration::new("services, jobs, events and signatures", schema::SCHEMA_1),
    Migration::new("transactions", crate::chain::TX_SCHEMA),
    Migration::new("runs, counters, history and dead letters", schema_records::RECORDS),
    Migration::new("closed events", schema_closed::SCHEMA_CLOSED),
    Migration::new("history of keys", schema_keys::SCHEMA_KEYS),
    Migration::new("the network of operators", schema_peers::PEERS),
    Migration::new("open events of our own", schema_open::SCHEMA_OPEN),
    Migration::new("fewer indices", schema::FEWER_INDICES),
    Migration::new("quotas of operators", schema_peers::QUOTAS),
    Migration::new("jobs that wait, service by service", schema_open::JOBS_BY_SERVICE),
    Migration::new("results that ask for a target", schema_open::NAMINGS),
    Migration::new("how many jobs wait", schema_open::WAITING),
    Migration::new("what engine-svc died of", schema_blame::BLAME),
];

/// The open ledger. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    database: Database,
    health: watch::Receiver<Health>,
}

impl Ledger {
    /// Opens or creates the ledger at `path`. Blocks while the schema is brought up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::open(path, MIGRATIONS)?;
        let health = database.writer().health();
        Ok(Self { database, health })
    }

    /// The database beneath, for the transaction manager.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Whether writes fail, as the last one told: then nothing that rests on a write may be begun.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        *self.health.borrow() != Health::Working
    }

    /// Runs `change` in a transaction and answers when it is committed as durably as asked for.
    ///
    /// # Errors
    /// When a statement or the commit fails; then nothing was changed.
    pub async fn write<T, F>(&self, durability: Durability, change: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.database
            .writer()
            .write(durability, move |tx| change(tx).map_err(StoreError::from))
            .await
    }

    /// Runs a query. It sees every write that was answered before.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.database
            .reader()
            .read(move |conn| query(conn).map_err(StoreError::from))
            .await
    }
}

#[cfg(test)]
mod tests;
