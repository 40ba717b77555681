//! A process that is killed between two statements: what it acknowledged is there, and nothing is there by half.

use std::collections::BTreeSet;
use std::path::Path;

use crate::fault::{self, Crash};
use crate::{Database, Durability, Log, Migration, StoreError, Transaction};

const LOG: Log = Log::new("spool");
const SCHEMA: [Migration; 1] = [Migration::new(
    "numbers",
    "CREATE TABLE numbers (number INTEGER PRIMARY KEY, sequence INTEGER) STRICT",
)];
const WRITES: u64 = 40;

/// One change that touches three tables.
fn put(transaction: &Transaction<'_>, number: u64) -> Result<u64, StoreError> {
    let sequence = LOG.append(transaction, &number.to_be_bytes())?;
    transaction.execute(
        "INSERT INTO numbers VALUES (?1, ?2)",
        [number.cast_signed(), sequence.cast_signed()],
    )?;
    Ok(number)
}

fn open(directory: &Path) -> Database {
    Database::open(directory.join("crash.db"), &SCHEMA).unwrap()
}

/// Runs in the process that is killed: writes one after the other.
#[tokio::test]
async fn sequential_victim() {
    let Some(directory) = fault::directory() else { return };
    let writer = open(&directory).writer();
    writer
        .write(Durability::Power, |transaction| LOG.create(transaction))
        .await
        .unwrap();
    for number in 0..WRITES {
        let durability = if number % 3 == 0 {
            Durability::Power
        } else {
            Durability::Process
        };
        fault::acknowledge(
            writer
                .write(durability, move |transaction| put(transaction, number))
                .await
                .unwrap(),
        );
    }
}

/// Runs in the process that is killed: all writes at once, so that they share commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_victim() {
    let Some(directory) = fault::directory() else { return };
    let writer = open(&directory).writer();
    writer
        .write(Durability::Power, |transaction| LOG.create(transaction))
        .await
        .unwrap();
    let write = |number| {
        let writer = writer.clone();
        tokio::spawn(async move {
            fault::acknowledge(
                writer
                    .write(Durability::Process, move |transaction| put(transaction, number))
                    .await
                    .unwrap(),
            );
        })
    };
    for task in (0..WRITES).map(write).collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// What is stored after a crash, after checking that it is whole.
async fn stored(directory: &Path) -> BTreeSet<u64> {
    let database = open(directory);
    database
        .writer()
        .write(Durability::Process, |transaction| LOG.create(transaction))
        .await
        .unwrap();
    let read = |connection: &crate::Connection| -> Result<_, StoreError> {
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        assert_eq!(check, "ok");
        let mut statement = connection.prepare("SELECT number, sequence FROM numbers")?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get::<_, i64>(0)?.cast_unsigned(),
                row.get::<_, i64>(1)?.cast_unsigned(),
            ))
        })?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        Ok((
            rows,
            LOG.read_from(connection, 0, usize::MAX, usize::MAX)?,
            LOG.size(connection)?,
        ))
    };
    let (rows, entries, size) = database.reader().read(read).await.unwrap();
    let from_log = entries.iter().map(|entry| {
        (
            u64::from_be_bytes(entry.payload.clone().try_into().unwrap()),
            entry.sequence,
        )
    });
    assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), from_log.collect());
    assert_eq!((size.entries, size.bytes), (rows.len() as u64, 8 * rows.len() as u64));
    rows.into_iter().map(|(number, _)| number).collect()
}

async fn crash(victim: &str, point: &str, nth: u64) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let crash = Crash::run(&format!("tests::crash::{victim}"), point, nth, directory.path());
    assert!(
        crash.killed,
        "{victim} passed {point} fewer than {nth} times: {crash:?}"
    );
    let acknowledged = crash
        .acknowledged
        .iter()
        .map(|number| number.parse().unwrap())
        .collect();
    (acknowledged, stored(directory.path()).await)
}

#[tokio::test]
async fn before_a_commit_exactly_the_acknowledged_writes_are_there() {
    for (point, nth) in [
        ("log.appended", 1),
        ("log.appended", 17),
        ("writer.ran", 9),
        ("writer.before_commit", 30),
    ] {
        let (acknowledged, stored) = crash("sequential_victim", point, nth).await;
        assert_eq!(stored, acknowledged, "{point}:{nth}");
    }
}

#[tokio::test]
async fn between_commit_and_answer_one_more_write_is_there() {
    // The first commit makes the log, so the n-th commit stores number n - 2.
    let (acknowledged, stored) = crash("sequential_victim", "writer.committed", 12).await;
    assert_eq!(acknowledged, (0..10).collect());
    assert_eq!(stored, (0..11).collect());
}

#[tokio::test]
async fn shared_commits_lose_nothing_that_was_acknowledged() {
    for (point, nth) in [
        ("writer.ran", 20),
        ("writer.before_commit", 2),
        ("writer.committed", 2),
        ("writer.answered", 2),
    ] {
        let (acknowledged, stored) = crash("concurrent_victim", point, nth).await;
        assert!(
            acknowledged.is_subset(&stored),
            "{point}:{nth}: {acknowledged:?} {stored:?}"
        );
    }
}

#[tokio::test]
async fn a_crash_inside_a_migration_leaves_the_old_schema() {
    let directory = tempfile::tempdir().unwrap();
    let crash = Crash::run(
        "tests::crash::sequential_victim",
        "migration.before_version",
        1,
        directory.path(),
    );
    assert!(crash.killed && crash.acknowledged.is_empty());
    assert_eq!(stored(directory.path()).await, BTreeSet::new());
}
