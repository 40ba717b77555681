use std::os::unix::fs::PermissionsExt as _;

use super::{NUMBERS, numbers, read};
use crate::{Database, Durability, Migration, StoreError, Transaction};

#[tokio::test]
async fn the_file_is_private_and_survives_a_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/on/the/way/test.db");
    let database = Database::open(&path, &NUMBERS).unwrap();
    let change =
        |transaction: &Transaction<'_>| Ok::<_, StoreError>(transaction.execute("INSERT INTO numbers VALUES (5)", [])?);
    database.writer().write(Durability::Power, change).await.unwrap();
    for name in ["test.db", "test.db-wal", "test.db-shm"] {
        let mode = path.with_file_name(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    drop(database);
    let database = Database::open(&path, &NUMBERS).unwrap();
    assert_eq!(read(&database).await, [5]);
    assert_eq!(database.path(), path);
}

#[test]
fn migrations_run_once_and_forward_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let steps = [
        Migration::new("one", "CREATE TABLE one (a); INSERT INTO one VALUES (1)"),
        Migration::new("two", "ALTER TABLE one ADD COLUMN b; INSERT INTO one VALUES (2, 2)"),
    ];
    Database::open(&path, &steps[..1]).unwrap();
    Database::open(&path, &steps).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM one", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 2);
    drop(connection);

    let Err(error) = Database::open(&path, &steps[..1]) else {
        panic!("an older program opened a newer file")
    };
    assert!(
        matches!(error, StoreError::TooNew { found: 2, known: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("test.db"), "{error}");
}

#[test]
fn a_failed_migration_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let broken = [
        NUMBERS[0],
        Migration::new("broken", "CREATE TABLE half (a); CREATE TABLE numbers (b)"),
    ];
    let Err(error) = Database::open(&path, &broken) else {
        panic!("a broken migration passed")
    };
    assert!(
        matches!(
            error,
            StoreError::Migrate {
                version: 2,
                name: "broken",
                ..
            }
        ),
        "{error}"
    );
    let fixed = [NUMBERS[0], Migration::new("fixed", "CREATE TABLE half (a)")];
    Database::open(&path, &fixed).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    std::fs::write(&path, vec![7; 8192]).unwrap();
    let Err(error) = Database::open(&path, &NUMBERS) else {
        panic!("opened garbage")
    };
    assert!(
        matches!(error, StoreError::Open { .. }) && error.to_string().contains("test.db"),
        "{error}"
    );
}

#[tokio::test]
async fn readers_cannot_write() {
    let (_directory, database) = numbers();
    let query =
        |connection: &crate::Connection| Ok::<_, StoreError>(connection.execute("INSERT INTO numbers VALUES (1)", [])?);
    assert!(matches!(
        database.reader().read(query).await,
        Err(StoreError::Statement(_))
    ));
}

#[tokio::test]
async fn a_panicking_query_harms_nobody_else() {
    let (_directory, database) = numbers();
    let query = |_: &crate::Connection| -> Result<(), StoreError> { panic!("a bug in a query") };
    for _ in 0..10 {
        assert!(matches!(database.reader().read(query).await, Err(StoreError::Panicked)));
    }
    assert_eq!(read(&database).await, Vec::<i64>::new());
}

#[tokio::test]
async fn freed_pages_go_back_to_the_file_system_in_bounded_steps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let steps = [Migration::new("bodies", "CREATE TABLE bodies (body BLOB)")];
    let database = Database::open(&path, &steps).unwrap();
    let run = async |sql: &'static str| {
        let change = move |transaction: &Transaction<'_>| Ok::<_, StoreError>(transaction.execute(sql, [])?);
        database.writer().write(Durability::Process, change).await.unwrap();
    };
    run(
        "INSERT INTO bodies WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         SELECT zeroblob(4000) FROM n",
    )
    .await;
    run("DELETE FROM bodies").await;
    let mut freed = Vec::new();
    while freed.last().is_none_or(|pages| *pages > 0) {
        let step = |transaction: &Transaction<'_>| Ok::<_, StoreError>(crate::shrink(transaction, 200)?);
        freed.push(database.writer().write(Durability::Process, step).await.unwrap());
    }
    assert_eq!(freed[..2], [200, 200]);
    let pages = |connection: &rusqlite::Connection| connection.pragma_query_value(None, "page_count", |row| row.get(0));
    let left: i64 = database
        .reader()
        .read(move |connection| pages(connection).map_err(StoreError::from))
        .await
        .unwrap();
    assert!(left < 50, "{left} pages are left of more than 500");
}
