//! Forward-only schema changes, each in a transaction of its own, counted in `PRAGMA user_version`.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// One step of the schema. Its version is its place in the list, starting at 1, so steps are only ever appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    name: &'static str,
    sql: &'static str,
}

impl Migration {
    /// A step that runs `sql`, any number of statements; `name` appears in errors.
    #[must_use]
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql }
    }
}

/// Brings the schema to the last of `migrations`.
pub(crate) fn migrate(connection: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<(), StoreError> {
    let open = |source| StoreError::Open {
        path: path.to_owned(),
        source,
    };
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(open)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known || found < 0 {
        return Err(StoreError::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (version, migration) in (1..).zip(migrations).filter(|(version, _)| *version > found) {
        apply(connection, version, migration).map_err(|source| StoreError::Migrate {
            path: path.to_owned(),
            version,
            name: migration.name,
            source,
        })?;
        tracing::info!(path = %path.display(), version, name = migration.name, "database schema updated");
    }
    Ok(())
}

fn apply(connection: &mut Connection, version: i64, migration: &Migration) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration.sql)?;
    crate::fault::point("migration.before_version");
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
