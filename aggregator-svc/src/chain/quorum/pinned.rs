//! What every attempt at one block would read anew with the same result: the block number as contracts see it, and the managers that
//! handlers name. Attempts that come together read it once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::{Address, B256};
use tokio::sync::OnceCell;

/// Most handlers that are remembered at one block. When full all are dropped and read again.
const HANDLERS_MAX: usize = 1024;

/// Facts of the newest block that was looked at.
#[derive(Default)]
pub(in crate::chain) struct PinnedCache(Mutex<Option<Arc<Pinned>>>);

/// Facts of one block.
pub(super) struct Pinned {
    hash: B256,
    /// The block number as contracts see it.
    pub(super) contract_number: OnceCell<u64>,
    managers: Mutex<HashMap<Address, Arc<OnceCell<Address>>>>,
}

impl PinnedCache {
    /// The facts of a block; those of any other one are dropped.
    pub(super) fn at(&self, hash: B256) -> Arc<Pinned> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.as_ref().filter(|pinned| pinned.hash == hash) {
            Some(pinned) => Arc::clone(pinned),
            None => Arc::clone(newest.insert(Arc::new(Pinned {
                hash,
                contract_number: OnceCell::new(),
                managers: Mutex::default(),
            }))),
        }
    }
}

impl Pinned {
    /// The manager that a handler names.
    pub(super) fn manager(&self, handler: Address) -> Arc<OnceCell<Address>> {
        let mut managers = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        if managers.len() >= HANDLERS_MAX {
            managers.clear();
        }
        Arc::clone(managers.entry(handler).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn facts_hold_for_their_block_only() {
        let cache = PinnedCache::default();
        let (one, two) = (B256::repeat_byte(1), B256::repeat_byte(2));
        cache.at(one).contract_number.set(7).unwrap();
        assert_eq!(cache.at(one).contract_number.get(), Some(&7));
        assert_eq!(cache.at(two).contract_number.get(), None);
        assert_eq!(cache.at(one).contract_number.get(), None);
        let handler = Address::repeat_byte(3);
        cache.at(one).manager(handler).set(Address::repeat_byte(4)).unwrap();
        assert_eq!(cache.at(one).manager(handler).get(), Some(&Address::repeat_byte(4)));
    }
}
