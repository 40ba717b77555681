//! The durable key-value store of guests.
//!
//! One SQLite file for all services; a guest reaches only the data of its own service. A write that returned to the guest
//! survives a kill of the process, except in a transactional service, whose writes wait for the end of the run and survive from
//! then on. Operators may read values; counters are not served.

mod guest;
mod marks;
mod ops;
mod schema;
#[cfg(test)]
mod tests;
mod transaction;

use std::path::Path;

use wavs_store::{Connection, Database, Durability, Migration, StoreError, Transaction};
use wavs_types::ServiceId;

pub(crate) use guest::GuestKv;
pub(crate) use marks::Mark;
use ops::{BucketKey, MAX_PAGE, Page, Versioned, check_reply};
pub(crate) use ops::{KvError, MAX_KEY};

const MIGRATIONS: &[Migration] = &[
    Migration::new("guest key-value store", schema::V1),
    Migration::new("marks of committed runs", schema::V2),
    Migration::new("what entries count besides their bytes", schema::V3),
    Migration::new("numbers of marks by service", schema::V4),
];

/// The store.
#[derive(Clone)]
pub(crate) struct Kv {
    db: Database,
    quota: u64,
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
    /// Opens or creates the file, in which each service may store `quota` bytes. Blocks while the schema is brought up to date.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn open(path: &Path, quota: u64) -> Result<Self, StoreError> {
        Database::open(path, MIGRATIONS).map(|db| Self { db, quota })
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
                    check_reply(bytes)?;
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

    /// The value of a counter.
    async fn counter(&self, bucket: &str, key: String) -> Result<i64, KvError> {
        self.read(bucket, move |db, at| Ok(ops::counter(db, at, &key)?.unwrap_or(0)))
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

    /// Forgets everything that the service stored, in steps between which other services write. One that was interrupted is to
    /// be repeated.
    pub(crate) async fn erase(&self) -> Result<(), KvError> {
        while !self.write("", |db, at| ops::erase(db, &at.service)).await? {}
        Ok(())
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
            quota: self.kv.quota,
        }
    }
}
