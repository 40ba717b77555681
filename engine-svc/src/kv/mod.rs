//! The durable key-value store of guests.
//!
//! One SQLite file for all services; a guest reaches only the data of its own service. An operation that returned to the
//! guest survives a kill of the process. Operators may read values; counters are not served.

mod ops;
mod schema;

use std::path::Path;

use wavs_store::{Connection, Database, Durability, Migration, StoreError, Transaction};
use wavs_types::ServiceId;

pub(crate) use ops::{BucketKey, KvError, MAX_PAGE, Page, Versioned};

const MIGRATIONS: &[Migration] = &[Migration::new("guest key-value store", schema::V1)];

/// The store.
#[derive(Clone)]
pub(crate) struct Kv {
    db: Database,
}

/// The part of the store that belongs to one service.
#[derive(Clone)]
pub(crate) struct ServiceKv {
    kv: Kv,
    service: [u8; 32],
}

impl From<StoreError> for KvError {
    fn from(cause: StoreError) -> Self {
        Self::Storage(cause.to_string())
    }
}

impl Kv {
    /// Opens or creates the file. Blocks while the schema is brought up to date.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Database::open(path, MIGRATIONS).map(|db| Self { db })
    }

    /// The data of one service.
    pub(crate) fn service(&self, service: &ServiceId) -> ServiceKv {
        ServiceKv {
            kv: self.clone(),
            service: *service.as_bytes(),
        }
    }
}

impl ServiceKv {
    pub(crate) async fn get(&self, bucket: &str, key: String) -> Result<Option<Vec<u8>>, KvError> {
        self.read(bucket, move |db, at| {
            Ok(ops::get(db, at, &key)?.map(|found| found.value))
        })
        .await
    }

    pub(crate) async fn get_versioned(&self, bucket: &str, key: String) -> Result<Option<Versioned>, KvError> {
        self.read(bucket, move |db, at| ops::get(db, at, &key)).await
    }

    pub(crate) async fn version(&self, bucket: &str, key: String) -> Result<Option<i64>, KvError> {
        self.read(bucket, move |db, at| ops::version(db, at, &key)).await
    }

    pub(crate) async fn list(&self, bucket: &str, from: Option<String>) -> Result<Page, KvError> {
        self.read(bucket, move |db, at| ops::list(db, at, from.as_deref(), MAX_PAGE))
            .await
    }

    /// The values of `keys` in their order, in one consistent view.
    pub(crate) async fn get_many(
        &self,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, KvError> {
        self.read(bucket, move |db, at| {
            let view = db.unchecked_transaction()?;
            let mut bytes = 0;
            keys.into_iter()
                .map(|key| {
                    let found = ops::get(&view, at, &key)?;
                    bytes += found.as_ref().map_or(0, |found| found.value.len());
                    ops::check_reply(bytes)?;
                    Ok(found.map(|found| (key, found.value)))
                })
                .collect()
        })
        .await
    }

    pub(crate) async fn set_many(&self, bucket: &str, entries: Vec<(String, Vec<u8>)>) -> Result<(), KvError> {
        self.write(bucket, move |db, at| {
            entries.iter().try_for_each(|(key, value)| ops::set(db, at, key, value))
        })
        .await
    }

    pub(crate) async fn delete_many(&self, bucket: &str, keys: Vec<String>) -> Result<(), KvError> {
        self.write(bucket, move |db, at| {
            keys.iter().try_for_each(|key| ops::delete(db, at, key))
        })
        .await
    }

    pub(crate) async fn increment(&self, bucket: &str, key: String, delta: i64) -> Result<i64, KvError> {
        self.write(bucket, move |db, at| ops::increment(db, at, &key, delta))
            .await
    }

    /// Stores `value` if the key is still at `pinned`; otherwise returns the version found.
    pub(crate) async fn swap(
        &self,
        bucket: &str,
        key: String,
        pinned: Option<i64>,
        value: Vec<u8>,
    ) -> Result<Result<(), Option<i64>>, KvError> {
        self.write(bucket, move |db, at| ops::swap(db, at, &key, pinned, &value))
            .await
    }

    /// Forgets everything that the service stored.
    pub(crate) async fn erase(&self) -> Result<(), KvError> {
        let service = self.service;
        self.kv
            .db
            .writer()
            .write(Durability::Process, move |db| {
                for table in ["entry", "counter", "usage"] {
                    db.execute(&format!("DELETE FROM {table} WHERE service = ?1"), [service.as_slice()])?;
                }
                Ok::<_, KvError>(())
            })
            .await
    }

    async fn read<T, F>(&self, bucket: &str, query: F) -> Result<T, KvError>
    where
        F: FnOnce(&Connection, &BucketKey) -> Result<T, KvError> + Send + 'static,
        T: Send + 'static,
    {
        let at = self.at(bucket);
        self.kv.db.reader().read(move |db| query(db, &at)).await
    }

    async fn write<T, F>(&self, bucket: &str, change: F) -> Result<T, KvError>
    where
        F: FnOnce(&Transaction<'_>, &BucketKey) -> Result<T, KvError> + Send + 'static,
        T: Send + 'static,
    {
        let at = self.at(bucket);
        self.kv
            .db
            .writer()
            .write(Durability::Process, move |db| change(db, &at))
            .await
    }

    fn at(&self, bucket: &str) -> BucketKey {
        BucketKey {
            service: self.service,
            bucket: bucket.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::try_join_all;

    #[tokio::test]
    async fn concurrent_increments_add_up_and_data_survives_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kv.db");
        let service = ServiceId::new([1; 32]);
        {
            let kv = Kv::open(&path).unwrap();
            try_join_all((0..50).map(|_| {
                let kv = kv.service(&service);
                async move { kv.increment("b", "n".into(), 2).await }
            }))
            .await
            .unwrap();
            kv.service(&service)
                .set_many("b", vec![("k".into(), b"v".to_vec())])
                .await
                .unwrap();
        }
        let kv = Kv::open(&path).unwrap().service(&service);
        assert_eq!(kv.increment("b", "n".into(), 0).await.unwrap(), 100);
        assert_eq!(kv.get("b", "k".into()).await.unwrap().unwrap(), b"v");
        let other = Kv::open(&directory.path().join("other.db")).unwrap().service(&service);
        assert_eq!(other.get("b", "k".into()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn erasing_a_service_leaves_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let kv = Kv::open(&directory.path().join("kv.db")).unwrap();
        let [one, two] = [1, 2].map(|byte| kv.service(&ServiceId::new([byte; 32])));
        for service in [&one, &two] {
            service.set_many("b", vec![("k".into(), b"v".to_vec())]).await.unwrap();
            service.increment("b", "n".into(), 5).await.unwrap();
        }
        one.erase().await.unwrap();
        assert_eq!(one.get("b", "k".into()).await.unwrap(), None);
        assert_eq!(one.increment("b", "n".into(), 0).await.unwrap(), 0);
        assert_eq!(two.get("b", "k".into()).await.unwrap().unwrap(), b"v");
        assert_eq!(two.increment("b", "n".into(), 0).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn many_writes_are_all_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let kv = Kv::open(&directory.path().join("kv.db"))
            .unwrap()
            .service(&ServiceId::new([1; 32]));
        let too_long = "k".repeat(2000);
        let failed = kv
            .set_many("b", vec![("good".into(), vec![1]), (too_long, vec![2])])
            .await;
        assert!(failed.unwrap_err().is_guest());
        assert_eq!(kv.list("b", None).await.unwrap().keys, Vec::<String>::new());
        kv.set_many("b", vec![("a".into(), vec![1]), ("b".into(), vec![2])])
            .await
            .unwrap();
        let found = kv
            .get_many("b", vec!["b".into(), "x".into(), "a".into()])
            .await
            .unwrap();
        assert_eq!(found, [Some(("b".into(), vec![2])), None, Some(("a".into(), vec![1]))]);
        kv.delete_many("b", vec!["a".into(), "x".into()]).await.unwrap();
        assert_eq!(kv.list("b", None).await.unwrap().keys, ["b"]);
    }
}
