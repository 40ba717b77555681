//! Rows that one stage hands to the next in memory, so that the next does not read what was just written.
//!
//! Every row here is in the ledger, and whoever takes one acts on it only by a commit that looks at the row again. So a row may
//! be missing (it is read then) or stale (the commit refuses), never wrong. Bounded by bytes: the oldest rows make room.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Bytes of one kind of row that are kept, roughly; those handed over longest ago are read from the ledger instead.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What a row takes beside its texts, roughly.
const ROW_BYTES: usize = 512;

/// Rows under way from one stage to the next.
pub struct Handover<K, V> {
    rows: Mutex<Rows<K, V>>,
}

struct Rows<K, V> {
    by_key: LruCache<K, (V, usize)>,
    bytes: usize,
}

impl<K: Hash + Eq, V> Default for Handover<K, V> {
    fn default() -> Self {
        let rows = Rows {
            by_key: LruCache::unbounded(),
            bytes: 0,
        };
        Self { rows: Mutex::new(rows) }
    }
}

impl<K: Hash + Eq, V> Handover<K, V> {
    /// Hands a row over whose texts have `bytes` bytes.
    pub fn give(&self, key: K, row: V, bytes: usize) {
        let bytes = bytes.saturating_add(ROW_BYTES);
        let mut rows = self.rows();
        if let Some((_, before)) = rows.by_key.put(key, (row, bytes)) {
            rows.bytes -= before;
        }
        rows.bytes = rows.bytes.saturating_add(bytes);
        while rows.bytes > MAX_BYTES {
            let Some((_, (_, oldest))) = rows.by_key.pop_lru() else {
                break;
            };
            rows.bytes -= oldest;
        }
    }

    /// Takes a row over; it is gone then.
    pub fn take(&self, key: &K) -> Option<V> {
        let mut rows = self.rows();
        let (row, bytes) = rows.by_key.pop(key)?;
        rows.bytes -= bytes;
        Some(row)
    }

    /// Forgets all rows, because some of them have changed.
    pub fn clear(&self) {
        let mut rows = self.rows();
        rows.by_key.clear();
        rows.bytes = 0;
    }

    fn rows(&self) -> MutexGuard<'_, Rows<K, V>> {
        // No call panics between its changes, so a panic elsewhere does not spoil the rows.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_taken_once_and_the_oldest_make_room() {
        let handover = Handover::default();
        handover.give(1, "one", MAX_BYTES / 2);
        handover.give(2, "two", MAX_BYTES / 4);
        assert_eq!(handover.take(&2), Some("two"));
        assert_eq!(handover.take(&2), None);
        handover.give(1, "one again", 0);
        handover.give(3, "three", MAX_BYTES / 2);
        assert_eq!(handover.take(&1), Some("one again"));
        handover.give(4, "four", MAX_BYTES / 2);
        assert_eq!((handover.take(&3), handover.take(&4)), (None, Some("four")));
        handover.give(5, "too large", MAX_BYTES + 1);
        assert_eq!(handover.take(&5), None);
        handover.give(6, "six", 0);
        handover.clear();
        assert_eq!(handover.take(&6), None);
        assert_eq!(handover.rows().bytes, 0);
    }
}
