//! A disk that refuses writes: told at once, nothing half done, and over by itself.
//!
//! The refusal is real: the victim process may not make files larger than a limit, which it lifts later.

use std::process::{Command, Stdio};

use super::{NUMBERS, numbers, read};
use crate::{Database, Durability, Health, StoreError, Transaction, fault};

/// Largest file of the victim, in blocks of 512 bytes, as `ulimit -f` counts.
const BLOCKS: u32 = 400;

async fn insert(database: &Database, number: i64) -> Result<(), StoreError> {
    let change = move |transaction: &Transaction<'_>| -> Result<(), StoreError> {
        transaction.execute("INSERT INTO numbers VALUES (?1)", [number])?;
        Ok(())
    };
    database.writer().write(Durability::Power, change).await
}

#[tokio::test]
async fn refused_writer() {
    let Some(directory) = fault::directory() else { return };
    let database = Database::open(directory.join("disk.db"), &NUMBERS).unwrap();
    let health = database.writer().health();
    assert_eq!(*health.borrow(), Health::Working);
    let mut stored = 0;
    // Each commit appends a page to the write-ahead log, which meets the limit.
    while insert(&database, stored).await.is_ok() {
        stored += 1;
        assert!(stored < 10_000, "no limit is in force");
    }
    let trouble = health.borrow().trouble().unwrap();
    assert!(trouble.contains("does not take writes"), "{trouble}");
    assert_eq!(read(&database).await.len() as i64, stored, "reads go on");

    let pid = std::process::id().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status()
        .unwrap();
    assert!(lifted.success());
    insert(&database, stored).await.unwrap();
    assert_eq!(*health.borrow(), Health::Working);
    assert_eq!(read(&database).await, (0..=stored).collect::<Vec<_>>());
    fault::acknowledge("end");
}

#[test]
fn a_disk_that_refuses_writes_is_told_and_nothing_needs_repair() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "trap '' XFSZ; ulimit -S -f {BLOCKS}; exec \"$0\" --exact tests::disk::refused_writer --nocapture --test-threads=1"
    );
    let output = Command::new("bash")
        .arg("-c")
        .arg(script)
        .arg(std::env::current_exe().unwrap())
        .env("WAVS_FAULT_DIRECTORY", directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("acknowledged end"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let connection = rusqlite::Connection::open(directory.path().join("disk.db")).unwrap();
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

#[tokio::test]
async fn a_full_database_is_told_until_a_write_works() {
    let (_directory, database) = numbers();
    let health = database.writer().health();
    let pages = |pages: i64| {
        move |transaction: &Transaction<'_>| -> Result<(), StoreError> {
            transaction.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            Ok(())
        }
    };
    database.writer().write(Durability::Process, pages(4)).await.unwrap();
    let fill = |transaction: &Transaction<'_>| -> Result<(), StoreError> {
        transaction.execute_batch("CREATE TABLE big (bytes BLOB); INSERT INTO big VALUES (zeroblob(1000000))")?;
        Ok(())
    };
    database.writer().write(Durability::Power, fill).await.unwrap_err();
    assert!(health.borrow().trouble().is_some());
    database
        .writer()
        .write(Durability::Process, pages(100_000))
        .await
        .unwrap();
    assert!(health.borrow().trouble().is_none());
}
