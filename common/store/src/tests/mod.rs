//! Tests of the crate as its users see it, with crashes.

mod crash;
mod database;
mod disk;
mod log;
mod writer;

use crate::{Database, Migration};

/// One table of numbers.
const NUMBERS: [Migration; 1] = [Migration::new(
    "numbers",
    "CREATE TABLE numbers (number INTEGER PRIMARY KEY) STRICT",
)];

/// A fresh database that lives as long as the directory.
fn numbers() -> (tempfile::TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(directory.path().join("test.db"), &NUMBERS).unwrap();
    (directory, database)
}

/// All numbers, ascending.
async fn read(database: &Database) -> Vec<i64> {
    let query = |connection: &crate::Connection| -> Result<Vec<i64>, crate::StoreError> {
        let mut statement = connection.prepare("SELECT number FROM numbers ORDER BY number")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    database.reader().read(query).await.unwrap()
}
