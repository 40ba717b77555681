use std::sync::mpsc;

use proptest::prelude::*;

use super::{numbers, read};
use crate::{Durability, StoreError, Transaction, Writer};

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("odd")]
    Odd,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for Refused {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Store(cause.into())
    }
}

async fn insert(writer: &Writer, number: i64) -> Result<usize, StoreError> {
    writer
        .write(Durability::Process, move |transaction| {
            Ok(transaction.execute("INSERT INTO numbers VALUES (?1)", [number])?)
        })
        .await
}

/// Occupies the writer thread until the sender is dropped, so that what is queued meanwhile becomes one batch.
async fn hold(writer: &Writer) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (started, running) = tokio::sync::oneshot::channel();
    let writer = writer.clone();
    tokio::spawn(async move {
        let hold = move |_: &Transaction<'_>| {
            started.send(()).unwrap();
            // Ends with an error when the sender is dropped; that is the signal.
            let _ = held.recv();
            Ok::<_, StoreError>(())
        };
        writer.write(Durability::Process, hold).await
    });
    running.await.unwrap();
    release
}

#[tokio::test]
async fn an_answered_write_is_seen_by_readers() {
    let (_directory, database) = numbers();
    assert_eq!(insert(&database.writer(), 7).await.unwrap(), 1);
    assert_eq!(read(&database).await, [7]);
}

#[tokio::test]
async fn a_failed_change_undoes_only_itself() {
    let (_directory, database) = numbers();
    let writer = database.writer();
    let release = hold(&writer).await;
    let changes = (0..20_i64).map(|number| {
        let writer = writer.clone();
        tokio::spawn(async move {
            let change = move |transaction: &Transaction<'_>| {
                transaction.execute("INSERT INTO numbers VALUES (?1)", [number])?;
                if number % 2 == 1 { Err(Refused::Odd) } else { Ok(number) }
            };
            writer
                .write(
                    if number == 4 {
                        Durability::Power
                    } else {
                        Durability::Process
                    },
                    change,
                )
                .await
        })
    });
    let changes = changes.collect::<Vec<_>>();
    // Each spawned task runs to its queued job at the first yield of this single-threaded test.
    tokio::task::yield_now().await;
    drop(release);
    for (number, change) in (0..).zip(changes) {
        match change.await.unwrap() {
            Ok(answer) => assert_eq!((answer, number % 2), (number, 0)),
            Err(error) => assert!(matches!(error, Refused::Odd) && number % 2 == 1, "{number}: {error}"),
        }
    }
    assert_eq!(read(&database).await, (0..20).step_by(2).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lone_failure_leaves_nothing_behind() {
    let (_directory, database) = numbers();
    insert(&database.writer(), 1).await.unwrap();
    let error = insert(&database.writer(), 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Statement(_)), "{error}");
    let change = |transaction: &Transaction<'_>| {
        transaction.execute("INSERT INTO numbers VALUES (2)", [])?;
        Err::<(), _>(Refused::Odd)
    };
    assert!(matches!(
        database.writer().write(Durability::Power, change).await,
        Err(Refused::Odd)
    ));
    assert_eq!(read(&database).await, [1]);
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_own_change() {
    let (_directory, database) = numbers();
    let change = |transaction: &Transaction<'_>| -> Result<(), StoreError> {
        transaction.execute("INSERT INTO numbers VALUES (1)", [])?;
        panic!("a bug in a closure");
    };
    let error = database.writer().write(Durability::Process, change).await.unwrap_err();
    assert!(matches!(error, StoreError::Panicked), "{error}");
    insert(&database.writer(), 2).await.unwrap();
    assert_eq!(read(&database).await, [2]);
}

#[tokio::test]
async fn a_transaction_that_sqlite_undid_is_reported_to_all_of_its_changes() {
    let (_directory, database) = numbers();
    let writer = database.writer();
    let release = hold(&writer).await;
    let good = tokio::spawn({
        let writer = writer.clone();
        async move { insert(&writer, 1).await }
    });
    tokio::task::yield_now().await;
    let bad = tokio::spawn({
        let writer = writer.clone();
        let change = |transaction: &Transaction<'_>| {
            // OR ROLLBACK is how a statement undoes everything, like a full disk does.
            transaction.execute("INSERT OR ROLLBACK INTO numbers VALUES (1)", [])?;
            Ok::<_, StoreError>(())
        };
        async move { writer.write(Durability::Process, change).await }
    });
    tokio::task::yield_now().await;
    drop(release);
    assert!(matches!(good.await.unwrap(), Err(StoreError::RolledBack)));
    assert!(matches!(bad.await.unwrap(), Err(StoreError::Statement(_))));
    assert_eq!(read(&database).await, Vec::<i64>::new());
    insert(&writer, 3).await.unwrap();
    assert_eq!(read(&database).await, [3]);
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_passes() {
    let (_directory, database) = numbers();
    let writer = database.writer();
    let pages = |pages: i64| {
        move |transaction: &Transaction<'_>| -> Result<(), StoreError> {
            transaction.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            Ok(())
        }
    };
    writer.write(Durability::Process, pages(4)).await.unwrap();
    let fill = |transaction: &Transaction<'_>| -> Result<(), StoreError> {
        transaction.execute_batch("CREATE TABLE big (bytes BLOB); INSERT INTO big VALUES (zeroblob(1000000))")?;
        Ok(())
    };
    let error = writer.write(Durability::Power, fill).await.unwrap_err();
    assert!(error.is_full(), "{error}");
    writer.write(Durability::Process, pages(100_000)).await.unwrap();
    writer.write(Durability::Power, fill).await.unwrap();
}

#[tokio::test]
async fn a_queued_change_runs_even_if_the_caller_goes_away() {
    let (_directory, database) = numbers();
    let writer = database.writer();
    let release = hold(&writer).await;
    let abandoned = tokio::spawn({
        let writer = writer.clone();
        async move { insert(&writer, 1).await }
    });
    tokio::task::yield_now().await;
    abandoned.abort();
    drop(release);
    insert(&writer, 2).await.unwrap();
    assert_eq!(read(&database).await, [1, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the order and the failures, exactly the changes that were answered with success are there.
    #[test]
    fn the_answers_tell_what_is_stored(changes in proptest::collection::vec((0..30_i64, any::<bool>(), any::<bool>()), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_directory, database) = numbers();
            let tasks = changes.into_iter().map(|(number, fail, power)| {
                let writer = database.writer();
                let change = move |transaction: &Transaction<'_>| {
                    transaction.execute("INSERT INTO numbers VALUES (?1)", [number])?;
                    if fail { Err(Refused::Odd) } else { Ok(number) }
                };
                let durability = if power { Durability::Power } else { Durability::Process };
                tokio::spawn(async move { writer.write(durability, change).await })
            });
            let mut stored = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                stored.extend(task.await.unwrap().ok());
            }
            stored.sort_unstable();
            assert_eq!(read(&database).await, stored);
        });
    }
}
