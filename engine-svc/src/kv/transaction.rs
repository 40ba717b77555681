//! The key-value operations of one run, kept back until the run has succeeded.
//!
//! The run sees its own writes over what is stored. At the end everything that it read is looked at once more, and if
//! nothing of it has changed, the writes are committed in one transaction with a mark of the run. Otherwise another run of
//! the service came first, nothing is written, and this one is to be repeated. A run that fails leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};

use wavs_store::{Connection, Durability};

use super::marks::{self, Mark};
use super::ops::{self, BucketKey, KvError, MAX_PAGE, Page, Versioned};
use super::{ServiceKv, check_reply};

/// Bytes that are kept of one run until its end: the names that it reads and writes, with [`OVERHEAD`] for each, and the values
/// that it writes. Values that it reads are not kept and do not count. What comes to more is refused to the guest.
const MAX_BYTES: usize = 32 << 20;
/// What a name or a list that was read, and a name that was written, cost besides their bytes. It also bounds how many there are, and
/// so how long the commit keeps the one writer from other services: 32,000 take about a second.
const OVERHEAD: usize = 1 << 10;

type Name = (String, String);

/// The operations of one run so far.
pub(crate) struct KvTransaction {
    base: ServiceKv,
    mark: Mark,
    /// What the run wrote; nothing for a key that it deleted.
    entries: BTreeMap<Name, Option<Versioned>>,
    /// The counters as the run left them.
    counters: BTreeMap<Name, i64>,
    seen: Seen,
    bytes: usize,
    /// Versions of the run's own writes count down from here, so that they meet no stored one.
    next: i64,
}

/// What the run read, and so depends on.
#[derive(Default)]
struct Seen {
    versions: BTreeMap<Name, Option<i64>>,
    counters: BTreeMap<Name, i64>,
    /// By bucket and cursor.
    lists: BTreeMap<(String, Option<String>), Page>,
}

impl KvTransaction {
    pub(super) fn new(base: ServiceKv, mark: Mark) -> Self {
        Self {
            base,
            mark,
            entries: BTreeMap::new(),
            counters: BTreeMap::new(),
            seen: Seen::default(),
            bytes: 0,
            next: -1,
        }
    }

    /// The result of an earlier attempt that was committed.
    pub(super) async fn finished(&self) -> Result<Option<Vec<u8>>, KvError> {
        let (service, mark) = (self.base.service, self.mark);
        let reader = self.base.kv.db.reader();
        reader.read(move |db| marks::find(db, &service, &mark)).await
    }

    pub(super) async fn get(&mut self, bucket: &str, key: String) -> Result<Option<Versioned>, KvError> {
        let name = (bucket.to_owned(), key);
        if let Some(own) = self.entries.get(&name) {
            return Ok(own.clone());
        }
        let found = self.base.get_versioned(bucket, name.1.clone()).await?;
        self.depend(name, found.as_ref().map(|found| found.version))?;
        Ok(found)
    }

    pub(super) async fn version(&mut self, bucket: &str, key: String) -> Result<Option<i64>, KvError> {
        let name = (bucket.to_owned(), key);
        if let Some(own) = self.entries.get(&name) {
            return Ok(own.as_ref().map(|own| own.version));
        }
        let found = self.base.version(bucket, name.1.clone()).await?;
        self.depend(name, found)?;
        Ok(found)
    }

    pub(super) async fn get_many(
        &mut self,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, KvError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for key in keys {
            let value = self.get(bucket, key.clone()).await?.map(|found| found.value);
            bytes += value.as_ref().map_or(0, Vec::len);
            check_reply(bytes)?;
            found.push(value.map(|value| (key, value)));
        }
        Ok(found)
    }

    /// The keys of the stored page, with those that the run wrote and without those that it deleted.
    pub(super) async fn list(&mut self, bucket: &str, from: Option<String>) -> Result<Page, KvError> {
        let page = self.base.list(bucket, from.clone()).await?;
        let cursor = from.as_ref().map_or(0, String::len);
        let read: usize = page.keys.iter().map(|key| key.len() + OVERHEAD).sum();
        self.charge(bucket.len() + cursor + OVERHEAD + read)?;
        let mut keys: BTreeSet<String> = page.keys.iter().cloned().collect();
        let start = from.clone().unwrap_or_default();
        let own = self.entries.range((bucket.to_owned(), start)..);
        for ((_, key), value) in own.take_while(|((of, _), _)| of == bucket) {
            if page.next.as_ref().is_some_and(|next| key >= next) {
                break;
            }
            match value {
                Some(_) => keys.insert(key.clone()),
                None => keys.remove(key),
            };
        }
        let next = page.next.clone();
        // As with single keys, the first look counts.
        self.seen.lists.entry((bucket.to_owned(), from)).or_insert(page);
        Ok(Page {
            keys: keys.into_iter().collect(),
            next,
        })
    }

    /// All of them or none.
    pub(super) fn set_many(&mut self, bucket: &str, entries: Vec<(String, Vec<u8>)>) -> Result<(), KvError> {
        let at = self.base.at(bucket);
        let mut bytes = 0;
        for (key, value) in &entries {
            ops::check_entry(&at, key, value.len())?;
            bytes += bucket.len() + key.len() + value.len() + OVERHEAD;
        }
        self.charge(bytes)?;
        for (key, value) in entries {
            let version = self.next;
            self.next -= 1;
            self.entries
                .insert((bucket.to_owned(), key), Some(Versioned { value, version }));
        }
        Ok(())
    }

    /// All of them or none.
    pub(super) fn delete_many(&mut self, bucket: &str, keys: Vec<String>) -> Result<(), KvError> {
        let at = self.base.at(bucket);
        let mut bytes = 0;
        for key in &keys {
            ops::check_entry(&at, key, 0)?;
            bytes += bucket.len() + key.len() + OVERHEAD;
        }
        self.charge(bytes)?;
        let names = keys.into_iter().map(|key| ((bucket.to_owned(), key), None));
        self.entries.extend(names);
        Ok(())
    }

    pub(super) async fn increment(&mut self, bucket: &str, key: String, delta: i64) -> Result<i64, KvError> {
        let name = (bucket.to_owned(), key);
        let value = match self.counters.get(&name) {
            Some(own) => *own,
            None => {
                let found = self.base.counter(bucket, name.1.clone()).await?;
                self.charge(2 * (name.0.len() + name.1.len() + OVERHEAD))?;
                self.seen.counters.entry(name.clone()).or_insert(found);
                found
            }
        };
        let sum = ops::add(&name.1, value, delta)?;
        self.counters.insert(name, sum);
        Ok(sum)
    }

    pub(super) async fn swap(
        &mut self,
        bucket: &str,
        key: String,
        pinned: Option<i64>,
        value: Vec<u8>,
    ) -> Result<Result<(), Option<i64>>, KvError> {
        let found = self.version(bucket, key.clone()).await?;
        if found != pinned {
            return Ok(Err(found));
        }
        self.set_many(bucket, vec![(key, value)]).map(Ok)
    }

    /// Writes everything, marked as the work of this run with `result`.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when another run changed what this one read; then nothing is written.
    pub(super) async fn commit(self, result: Vec<u8>) -> Result<(), KvError> {
        let Self {
            base,
            mark,
            entries,
            counters,
            seen,
            ..
        } = self;
        let wrote = !entries.is_empty() || !counters.is_empty();
        if !wrote && seen.is_empty() {
            return Ok(());
        }
        let at = base.at("");
        let change = move |db: &Connection| {
            seen.check(db, &at)?;
            // Deletions first: they make room for the rest.
            for ((bucket, key), _) in entries.iter().filter(|(_, value)| value.is_none()) {
                ops::delete(db, &at.sibling(bucket), key)?;
            }
            for ((bucket, key), value) in &entries {
                if let Some(own) = value {
                    ops::set(db, &at.sibling(bucket), key, &own.value)?;
                }
            }
            for ((bucket, key), value) in &counters {
                ops::set_counter(db, &at.sibling(bucket), key, *value)?;
            }
            if wrote {
                marks::put(db, &at.service, &mark, &result)
            } else {
                Ok(())
            }
        };
        let writer = base.kv.db.writer();
        writer.write(Durability::Process, move |db| change(db)).await
    }

    fn depend(&mut self, name: Name, version: Option<i64>) -> Result<(), KvError> {
        self.charge(name.0.len() + name.1.len() + OVERHEAD)?;
        // The first look counts: if a later one differs, the run has met a conflict already.
        self.seen.versions.entry(name).or_insert(version);
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), KvError> {
        let sum = self.bytes.saturating_add(bytes);
        if sum > MAX_BYTES {
            return Err(KvError::Transaction { limit: MAX_BYTES });
        }
        self.bytes = sum;
        Ok(())
    }
}

impl Seen {
    fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.counters.is_empty() && self.lists.is_empty()
    }

    /// Whether everything is still as it was.
    fn check(&self, db: &Connection, at: &BucketKey) -> Result<(), KvError> {
        let same = |same: bool, bucket: &str, what: &str| {
            if same {
                Ok(())
            } else {
                Err(KvError::Conflict {
                    bucket: bucket.to_owned(),
                    what: what.to_owned(),
                })
            }
        };
        for ((bucket, key), version) in &self.versions {
            let found = ops::version(db, &at.sibling(bucket), key)?;
            same(found == *version, bucket, &format!("key {key:?}"))?;
        }
        for ((bucket, key), value) in &self.counters {
            let found = ops::counter(db, &at.sibling(bucket), key)?.unwrap_or(0);
            same(found == *value, bucket, &format!("counter {key:?}"))?;
        }
        for ((bucket, from), page) in &self.lists {
            let found = ops::list(db, &at.sibling(bucket), from.as_deref(), MAX_PAGE)?;
            same(found == *page, bucket, "the list of keys")?;
        }
        Ok(())
    }
}
