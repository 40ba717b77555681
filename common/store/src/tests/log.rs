use proptest::prelude::*;

use super::numbers;
use crate::{Connection, Database, Durability, Log, LogEntry, LogSize, StoreError, Transaction};

const LOG: Log = Log::new("spool");

async fn change<T: Send + 'static>(
    database: &Database,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> T {
    database.writer().write(Durability::Process, change).await.unwrap()
}

async fn query<T: Send + 'static>(
    database: &Database,
    query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
) -> T {
    database.reader().read(query).await.unwrap()
}

fn entry(sequence: u64, payload: &[u8]) -> LogEntry {
    LogEntry {
        sequence,
        payload: payload.to_vec(),
    }
}

#[tokio::test]
async fn numbers_are_not_reused_after_a_trim_and_a_reopening() {
    let (directory, database) = numbers();
    change(&database, |transaction| LOG.create(transaction)).await;
    let id = query(&database, |connection| LOG.id(connection)).await;
    assert_eq!(query(&database, |connection| LOG.last_sequence(connection)).await, 0);
    for text in ["a", "bb", "ccc"] {
        change(&database, move |transaction| LOG.append(transaction, text.as_bytes())).await;
    }
    assert_eq!(
        query(&database, |connection| LOG.size(connection)).await,
        LogSize { entries: 3, bytes: 6 }
    );
    assert_eq!(change(&database, |transaction| LOG.trim(transaction, 99)).await, 3);
    assert_eq!(
        query(&database, |connection| LOG.size(connection)).await,
        LogSize::default()
    );
    drop(database);

    let database = Database::open(directory.path().join("test.db"), &super::NUMBERS).unwrap();
    change(&database, |transaction| LOG.create(transaction)).await;
    assert_eq!(query(&database, |connection| LOG.id(connection)).await, id);
    assert_eq!(query(&database, |connection| LOG.last_sequence(connection)).await, 3);
    assert_eq!(change(&database, |transaction| LOG.append(transaction, b"d")).await, 4);
}

#[tokio::test]
async fn reading_is_bounded_by_entries_and_bytes() {
    let (_directory, database) = numbers();
    change(&database, |transaction| {
        LOG.create(transaction)?;
        (0..5).try_for_each(|_| LOG.append(transaction, b"1234").map(drop))
    })
    .await;
    let check = async |after, entries, bytes, expected: &[u64]| {
        let read = query(&database, move |connection| {
            LOG.read_from(connection, after, entries, bytes)
        })
        .await;
        assert_eq!(
            read,
            expected
                .iter()
                .map(|sequence| entry(*sequence, b"1234"))
                .collect::<Vec<_>>()
        );
    };
    check(0, 100, 1000, &[1, 2, 3, 4, 5]).await;
    check(3, 100, 1000, &[4, 5]).await;
    check(5, 100, 1000, &[]).await;
    check(u64::MAX, 100, 1000, &[]).await;
    check(0, 2, 1000, &[1, 2]).await;
    check(0, 100, 9, &[1, 2]).await;
    check(0, 100, 1, &[1]).await;
    check(0, 0, 1000, &[]).await;
}

#[tokio::test]
async fn two_logs_are_two_lives() {
    let (_directory, one) = numbers();
    let (_other_directory, other) = numbers();
    change(&one, |transaction| LOG.create(transaction)).await;
    change(&other, |transaction| LOG.create(transaction)).await;
    let id = query(&one, |connection| LOG.id(connection)).await;
    assert_ne!(id, query(&other, |connection| LOG.id(connection)).await);
    assert_eq!(id.to_string().len(), 32);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The log against a plain list: appends with given lengths, and trims.
    #[test]
    fn the_log_is_a_list(steps in proptest::collection::vec(prop_oneof![(0..40_usize).prop_map(Ok), (0..30_u64).prop_map(Err)], 1..40)) {
        let mut connection = Connection::open_in_memory().unwrap();
        let transaction = connection.transaction().unwrap();
        LOG.create(&transaction).unwrap();
        let (mut model, mut last) = (Vec::new(), 0);
        for step in steps {
            match step {
                Ok(length) => {
                    last += 1;
                    prop_assert_eq!(LOG.append(&transaction, &vec![1; length]).unwrap(), last);
                    model.push(entry(last, &vec![1; length]));
                }
                Err(upto) => {
                    let before = model.len();
                    model.retain(|entry: &LogEntry| entry.sequence > upto);
                    prop_assert_eq!(LOG.trim(&transaction, upto).unwrap(), (before - model.len()) as u64);
                }
            }
            let bytes = model.iter().map(|entry| entry.payload.len() as u64).sum();
            prop_assert_eq!(LOG.size(&transaction).unwrap(), LogSize { entries: model.len() as u64, bytes });
            prop_assert_eq!(LOG.last_sequence(&transaction).unwrap(), last);
        }
        prop_assert_eq!(LOG.read_from(&transaction, 0, usize::MAX, usize::MAX).unwrap(), model);
    }
}
