//! The operations of the guest key-value store, as functions of a connection.
//!
//! A caller wraps writes in a transaction; each function here either succeeds or leaves an error that must roll it back.

use rusqlite::{Connection, OptionalExtension, params};

/// Bytes of a key or bucket name.
pub(crate) const MAX_KEY: usize = 1 << 10;
/// Bytes of a value.
pub(crate) const MAX_VALUE: usize = 4 << 20;
/// Bytes that an entry or a counter counts against the quota besides its names and value: what rows and indexes take on disk,
/// so that many small ones are not nearly free.
const ENTRY_OVERHEAD: usize = 128;
/// Rows, and about the bytes of their values, that one step of an erasure removes, because all services wait while the one
/// writer works on it.
const ERASE_ROWS: i64 = 4_096;
const ERASE_BYTES: i64 = 16 << 20;
/// Keys of one call to `get-many`, `set-many` or `delete-many`, because all services wait while the one writer works on it. A
/// call with more is refused as a whole.
pub(crate) const MAX_BATCH: usize = 4_096;
/// Bytes of the values in one reply to `get-many`, which the host has to hold at once.
pub(crate) const MAX_REPLY: usize = 32 << 20;
/// Bytes of keys in one reply to `list-keys`; a longer list is continued by its cursor.
pub(crate) const MAX_PAGE: usize = 4 << 20;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvError {
    #[error("the {what} is longer than {limit} bytes, the limit of this node; shorten it")]
    TooLong { what: &'static str, limit: usize },
    #[error("the call names {count} keys, and this node takes {limit} in one; pass fewer at a time")]
    Batch { count: usize, limit: usize },
    #[error(
        "the values come to more than {limit} bytes, which is all that one reply holds; ask for fewer keys at a time"
    )]
    Reply { limit: usize },
    #[error(
        "the key-value data of this service would grow to {asked} bytes, above the {quota} that engine.kv_mb_per_service of this node allows; delete keys that are no longer needed"
    )]
    Quota { asked: u64, quota: u64 },
    #[error("the counter {key:?} cannot hold the sum of {value} and {delta}; it was left as it is")]
    Overflow { key: String, value: i64, delta: i64 },
    #[error(
        "the names that the run reads and writes, with some overhead for each, and the values that it writes come to more than {limit} bytes, which is all that a transaction of this node holds; do less per run"
    )]
    Transaction { limit: usize },
    #[error("another run of the service changed {what} of bucket {bucket:?} meanwhile; the run is to be repeated")]
    Conflict { bucket: String, what: String },
    #[error("the key-value store of this node failed: {0}")]
    Storage(String),
}

impl KvError {
    /// Whether the guest caused it, rather than the disk.
    pub(crate) fn is_guest(&self) -> bool {
        !matches!(self, Self::Storage(_) | Self::Conflict { .. })
    }
}

impl From<rusqlite::Error> for KvError {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Storage(cause.to_string())
    }
}

/// One bucket of one service, which may store so many bytes in all of its buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketKey {
    pub(crate) service: [u8; 32],
    pub(crate) bucket: String,
    pub(crate) quota: u64,
}

impl BucketKey {
    /// Another bucket of the same service.
    pub(super) fn sibling(&self, bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            ..*self
        }
    }
}

/// A value and the version that a compare-and-swap pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub(crate) value: Vec<u8>,
    pub(crate) version: i64,
}

/// One page of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) keys: Vec<String>,
    /// The first key that is not in this page.
    pub(crate) next: Option<String>,
}

/// The value of a key.
pub(crate) fn get(db: &Connection, at: &BucketKey, key: &str) -> Result<Option<Versioned>, KvError> {
    check_names(at, key)?;
    let found = db
        .prepare_cached("SELECT value, version FROM entry WHERE service = ?1 AND bucket = ?2 AND key = ?3")?
        .query_row(params![at.service, at.bucket.as_bytes(), key.as_bytes()], |row| {
            Ok(Versioned {
                value: row.get(0)?,
                version: row.get(1)?,
            })
        })
        .optional()?;
    Ok(found)
}

/// Keys from `from` on, which is included and need not exist.
pub(crate) fn list(db: &Connection, at: &BucketKey, from: Option<&str>, page: usize) -> Result<Page, KvError> {
    check_names(at, from.unwrap_or_default())?;
    let mut statement =
        db.prepare_cached("SELECT key FROM entry WHERE service = ?1 AND bucket = ?2 AND key >= ?3 ORDER BY key")?;
    let mut rows = statement.query(params![
        at.service,
        at.bucket.as_bytes(),
        from.unwrap_or_default().as_bytes()
    ])?;
    let mut found = Page {
        keys: Vec::new(),
        next: None,
    };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let key = String::from_utf8(row.get(0)?).map_err(|cause| KvError::Storage(cause.to_string()))?;
        bytes += key.len();
        if bytes > page && !found.keys.is_empty() {
            found.next = Some(key);
            break;
        }
        found.keys.push(key);
    }
    Ok(found)
}

/// Stores a value, over an older one too.
pub(crate) fn set(db: &Connection, at: &BucketKey, key: &str, value: &[u8]) -> Result<(), KvError> {
    check_entry(at, key, value.len())?;
    let added = entry_bytes(at, key, value.len()) - stored_bytes(db, at, key)?;
    charge(db, at, added)?;
    let version: i64 = db
        .prepare_cached("UPDATE clock SET version = version + 1 RETURNING version")?
        .query_row([], |row| row.get(0))?;
    db.prepare_cached(
        "INSERT INTO entry (service, bucket, key, value, version) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (service, bucket, key) DO UPDATE SET value = excluded.value, version = excluded.version",
    )?
    .execute(params![
        at.service,
        at.bucket.as_bytes(),
        key.as_bytes(),
        value,
        version
    ])?;
    Ok(())
}

/// Removes a key; a missing one is no error.
pub(crate) fn delete(db: &Connection, at: &BucketKey, key: &str) -> Result<(), KvError> {
    check_names(at, key)?;
    let freed = stored_bytes(db, at, key)?;
    db.prepare_cached("DELETE FROM entry WHERE service = ?1 AND bucket = ?2 AND key = ?3")?
        .execute(params![at.service, at.bucket.as_bytes(), key.as_bytes()])?;
    charge(db, at, -freed)
}

/// Adds to a counter, which starts at 0 and lives apart from the values; returns its new value.
pub(crate) fn increment(db: &Connection, at: &BucketKey, key: &str, delta: i64) -> Result<i64, KvError> {
    let sum = add(key, counter(db, at, key)?.unwrap_or(0), delta)?;
    set_counter(db, at, key, sum)?;
    Ok(sum)
}

/// The sum that a counter would have.
pub(super) fn add(key: &str, value: i64, delta: i64) -> Result<i64, KvError> {
    value.checked_add(delta).ok_or_else(|| KvError::Overflow {
        key: key.to_owned(),
        value,
        delta,
    })
}

/// The value of a counter; absent if it was never written.
pub(super) fn counter(db: &Connection, at: &BucketKey, key: &str) -> Result<Option<i64>, KvError> {
    check_names(at, key)?;
    let found = db
        .prepare_cached("SELECT value FROM counter WHERE service = ?1 AND bucket = ?2 AND key = ?3")?
        .query_row(params![at.service, at.bucket.as_bytes(), key.as_bytes()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(found)
}

/// Gives a counter a value.
pub(super) fn set_counter(db: &Connection, at: &BucketKey, key: &str, value: i64) -> Result<(), KvError> {
    if counter(db, at, key)?.is_none() {
        charge(db, at, entry_bytes(at, key, size_of::<i64>()))?;
    }
    db.prepare_cached(
        "INSERT INTO counter (service, bucket, key, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (service, bucket, key) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![at.service, at.bucket.as_bytes(), key.as_bytes(), value])?;
    Ok(())
}

/// Stores `value` if the key is still at `pinned`. Otherwise nothing changes, and the version found is returned.
pub(crate) fn swap(
    db: &Connection,
    at: &BucketKey,
    key: &str,
    pinned: Option<i64>,
    value: &[u8],
) -> Result<Result<(), Option<i64>>, KvError> {
    let found = version(db, at, key)?;
    if found != pinned {
        return Ok(Err(found));
    }
    set(db, at, key, value).map(Ok)
}

/// The version of a key; absent for a missing key.
pub(crate) fn version(db: &Connection, at: &BucketKey, key: &str) -> Result<Option<i64>, KvError> {
    check_names(at, key)?;
    let found = db
        .prepare_cached("SELECT version FROM entry WHERE service = ?1 AND bucket = ?2 AND key = ?3")?
        .query_row(params![at.service, at.bucket.as_bytes(), key.as_bytes()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(found)
}

/// Removes some of what a service stored, and tells whether nothing was left. The step that finds nothing removes the usage, so an
/// erasure that ended before goes on where it was.
pub(super) fn erase(db: &Connection, service: &[u8; 32]) -> Result<bool, KvError> {
    for (table, name, size) in [
        ("entry", "bucket, key", "length(value)"),
        ("counter", "bucket, key", "0"),
        ("mark", "job, call", "length(result)"),
    ] {
        let removed = db
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE service = ?1 AND ({name}) IN (
                     SELECT {name} FROM (
                         SELECT {name}, sum(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS before
                         FROM (SELECT {name}, {size} AS size FROM {table} WHERE service = ?1 LIMIT ?2))
                     WHERE before < ?3)"
            ))?
            .execute(params![service, ERASE_ROWS, ERASE_BYTES])?;
        if removed > 0 {
            return Ok(false);
        }
    }
    db.execute("DELETE FROM usage WHERE service = ?1", [service])?;
    Ok(true)
}

/// Bounds the keys of one call.
pub(crate) fn check_batch(count: usize) -> Result<(), KvError> {
    if count > MAX_BATCH {
        return Err(KvError::Batch {
            count,
            limit: MAX_BATCH,
        });
    }
    Ok(())
}

/// Bounds the values that one reply carries.
pub(crate) fn check_reply(bytes: usize) -> Result<(), KvError> {
    if bytes > MAX_REPLY {
        return Err(KvError::Reply { limit: MAX_REPLY });
    }
    Ok(())
}

/// Refuses what is too long to be stored.
pub(super) fn check_entry(at: &BucketKey, key: &str, value: usize) -> Result<(), KvError> {
    check_names(at, key)?;
    if value > MAX_VALUE {
        return Err(KvError::TooLong {
            what: "value",
            limit: MAX_VALUE,
        });
    }
    Ok(())
}

fn check_names(at: &BucketKey, key: &str) -> Result<(), KvError> {
    for (what, text) in [("bucket name", at.bucket.as_str()), ("key", key)] {
        if text.len() > MAX_KEY {
            return Err(KvError::TooLong { what, limit: MAX_KEY });
        }
    }
    Ok(())
}

/// What an entry or a counter counts against the quota. Lengths are bounded by [`MAX_KEY`] and [`MAX_VALUE`] before, so they fit.
fn entry_bytes(at: &BucketKey, key: &str, value: usize) -> i64 {
    i64::try_from(at.bucket.len() + key.len() + value + ENTRY_OVERHEAD).unwrap_or(i64::MAX)
}

fn stored_bytes(db: &Connection, at: &BucketKey, key: &str) -> Result<i64, KvError> {
    let value: Option<i64> = db
        .prepare_cached("SELECT length(value) FROM entry WHERE service = ?1 AND bucket = ?2 AND key = ?3")?
        .query_row(params![at.service, at.bucket.as_bytes(), key.as_bytes()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(value.map_or(0, |value| entry_bytes(at, key, usize::try_from(value).unwrap_or(0))))
}

fn charge(db: &Connection, at: &BucketKey, bytes: i64) -> Result<(), KvError> {
    let total: i64 = db
        .prepare_cached(
            "INSERT INTO usage (service, bytes) VALUES (?1, ?2)
             ON CONFLICT (service) DO UPDATE SET bytes = bytes + excluded.bytes RETURNING bytes",
        )?
        .query_row(params![at.service, bytes], |row| row.get(0))?;
    match u64::try_from(total) {
        Ok(asked) if bytes > 0 && asked > at.quota => Err(KvError::Quota { asked, quota: at.quota }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::schema::{V3, in_memory};

    /// Room for a few of the largest values.
    const QUOTA: u64 = 32 << 20;

    fn at(bucket: &str) -> BucketKey {
        BucketKey {
            service: [7; 32],
            bucket: bucket.to_owned(),
            quota: QUOTA,
        }
    }

    #[test]
    fn buckets_and_keys_never_run_together() {
        let db = in_memory();
        set(&db, &at("a/b"), "c", b"1").unwrap();
        assert_eq!(get(&db, &at("a"), "b/c").unwrap(), None);
        let other = BucketKey {
            service: [8; 32],
            ..at("a/b")
        };
        assert_eq!(get(&db, &other, "c").unwrap(), None);
    }

    #[test]
    fn counters_live_apart_from_values() {
        let db = in_memory();
        set(&db, &at("b"), "k", b"100").unwrap();
        assert_eq!(increment(&db, &at("b"), "k", 3).unwrap(), 3);
        assert_eq!(increment(&db, &at("b"), "k", -5).unwrap(), -2);
        assert_eq!(increment(&db, &at("b"), "only counter", 1).unwrap(), 1);
        assert_eq!(get(&db, &at("b"), "k").unwrap().unwrap().value, b"100");
        assert_eq!(list(&db, &at("b"), None, MAX_PAGE).unwrap().keys, ["k"]);
        delete(&db, &at("b"), "k").unwrap();
        assert_eq!(increment(&db, &at("b"), "k", 0).unwrap(), -2);
        increment(&db, &at("b"), "max", i64::MAX).unwrap();
        assert!(matches!(
            increment(&db, &at("b"), "max", 1),
            Err(KvError::Overflow { .. })
        ));
    }

    #[test]
    fn lists_are_ordered_by_bytes_and_continue_at_an_inclusive_cursor() {
        let db = in_memory();
        for n in 0..20 {
            set(&db, &at("b"), &format!("key{n:02}"), b"").unwrap();
        }
        let rest = list(&db, &at("b"), Some("key05"), MAX_PAGE).unwrap();
        assert_eq!((rest.keys.len(), rest.keys[0].as_str(), rest.next), (15, "key05", None));
        assert_eq!(list(&db, &at("b"), Some("key04x"), MAX_PAGE).unwrap().keys[0], "key05");
        let page = list(&db, &at("b"), None, 10).unwrap();
        assert_eq!((page.keys.len(), page.next.as_deref()), (2, Some("key02")));
        set(&db, &at("c"), "ä", b"").unwrap();
        set(&db, &at("c"), "Z", b"").unwrap();
        set(&db, &at("c"), "a", b"").unwrap();
        assert_eq!(list(&db, &at("c"), None, MAX_PAGE).unwrap().keys, ["Z", "a", "ä"]);
    }

    #[test]
    fn a_swap_needs_the_version_that_was_pinned() {
        let db = in_memory();
        let absent = version(&db, &at("b"), "k").unwrap();
        assert_eq!(swap(&db, &at("b"), "k", absent, b"1").unwrap(), Ok(()));
        let stale = swap(&db, &at("b"), "k", absent, b"2").unwrap().unwrap_err();
        assert_eq!(get(&db, &at("b"), "k").unwrap().unwrap().value, b"1");
        assert_eq!(swap(&db, &at("b"), "k", stale, b"3").unwrap(), Ok(()));
        // The same bytes written again are a change too.
        let pinned = version(&db, &at("b"), "k").unwrap();
        set(&db, &at("b"), "k", b"3").unwrap();
        assert!(swap(&db, &at("b"), "k", pinned, b"4").unwrap().is_err());
    }

    #[test]
    fn sizes_are_limited_and_deleting_gives_the_quota_back() {
        let db = in_memory();
        assert!(matches!(
            set(&db, &at("b"), &"k".repeat(MAX_KEY + 1), b""),
            Err(KvError::TooLong { what: "key", .. })
        ));
        assert!(matches!(
            get(&db, &at(&"b".repeat(MAX_KEY + 1)), ""),
            Err(KvError::TooLong {
                what: "bucket name",
                ..
            })
        ));
        assert!(matches!(
            set(&db, &at("b"), "k", &vec![0; MAX_VALUE + 1]),
            Err(KvError::TooLong { what: "value", .. })
        ));
        let value = vec![0; MAX_VALUE];
        let full = QUOTA / (MAX_VALUE + 4 + ENTRY_OVERHEAD) as u64;
        for n in 0..full {
            set(&db, &at("b"), &format!("{n:03}"), &value).unwrap();
        }
        db.execute_batch("SAVEPOINT s").unwrap();
        assert!(matches!(
            set(&db, &at("b"), "one more", &value),
            Err(KvError::Quota { .. })
        ));
        db.execute_batch("ROLLBACK TO s; RELEASE s").unwrap();
        // Overwriting does not grow, and a deleted value makes room.
        set(&db, &at("b"), "000", &value).unwrap();
        delete(&db, &at("b"), "000").unwrap();
        set(&db, &at("b"), "new", &value).unwrap();
    }

    fn usage(db: &Connection) -> i64 {
        db.query_row("SELECT bytes FROM usage", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn each_entry_and_counter_counts_more_than_its_bytes() {
        let (db, b) = (in_memory(), at("b"));
        let check = |bytes: usize, entries: usize| {
            let expect = bytes + entries * ENTRY_OVERHEAD;
            assert_eq!(usage(&db), i64::try_from(expect).unwrap());
        };
        set(&db, &b, "key", b"").unwrap();
        check(4, 1);
        set(&db, &b, "key", b"12345").unwrap();
        check(9, 1);
        let pinned = version(&db, &b, "key").unwrap();
        swap(&db, &b, "key", pinned, b"1").unwrap().unwrap();
        swap(&db, &b, "new", None, b"1").unwrap().unwrap();
        check(10, 2);
        increment(&db, &b, "n", 1).unwrap();
        increment(&db, &b, "n", 1).unwrap();
        check(20, 3);
        delete(&db, &b, "key").unwrap();
        delete(&db, &b, "key").unwrap();
        check(15, 2);
        let small = BucketKey { quota: 1_000, ..b };
        let stored = (0..1_000).take_while(|n| set(&db, &small, &n.to_string(), b"").is_ok());
        assert!(stored.count() < 1_000 / ENTRY_OVERHEAD);
    }

    #[test]
    fn what_was_stored_before_counts_like_what_is_stored_now() {
        let db = in_memory();
        for n in 0..5 {
            set(&db, &at("b"), &n.to_string(), b"value").unwrap();
            increment(&db, &at("c"), &n.to_string(), 1).unwrap();
        }
        let now = usage(&db);
        db.execute_batch(
            "UPDATE usage SET bytes = (SELECT sum(length(bucket) + length(key) + length(value)) FROM entry)
             + (SELECT sum(length(bucket) + length(key) + 8) FROM counter);
             INSERT INTO usage (service, bytes) VALUES (x'ff', 0);",
        )
        .unwrap();
        db.execute_batch(V3).unwrap();
        let bytes = |service: &[u8]| -> i64 {
            db.query_row("SELECT bytes FROM usage WHERE service = ?1", [service], |row| {
                row.get(0)
            })
            .unwrap()
        };
        assert_eq!((bytes(&[7; 32]), bytes(&[0xff])), (now, 0));
    }

    #[test]
    fn a_service_is_erased_in_steps_and_loses_its_usage_last() {
        let db = in_memory();
        let count = |table: &str| -> i64 {
            db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
                .unwrap()
        };
        for n in 0..5 {
            set(&db, &at("large"), &n.to_string(), &vec![0; MAX_VALUE]).unwrap();
        }
        for n in 0..ERASE_ROWS {
            set(&db, &at("small"), &n.to_string(), b"").unwrap();
        }
        increment(&db, &at("b"), "n", 1).unwrap();
        let left = || (count("entry"), count("counter"), count("usage"));
        let step = || erase(&db, &[7; 32]).unwrap();
        assert!(!step());
        assert_eq!(left(), (ERASE_ROWS + 1, 1, 1));
        assert!(!step());
        assert_eq!(left(), (1, 1, 1));
        assert!(!step());
        assert_eq!(left(), (0, 1, 1));
        assert!(!step());
        assert_eq!(left(), (0, 0, 1));
        assert!(step());
        assert_eq!(left(), (0, 0, 0));
        assert!(step());
    }
}
