//! Which values changed between two loads, without keeping the values: some of them are secret.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use super::layer::Layer;

/// One keyed hash for each key that is set. The hash key is random and of this process alone, so a print says nothing about a value
/// to anybody else, and two prints of one process can be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints(BTreeMap<String, u64>);

impl Fingerprints {
    pub(super) fn of(layer: &Layer) -> Self {
        let print = |(path, entry): (&Vec<String>, &super::layer::Entry)| {
            (path.join("."), fingerprint(entry.value.to_string().as_bytes()))
        };
        Self(layer.entries.iter().map(print).collect())
    }

    /// The keys that `newer` sets, unsets or gives another value, in order.
    #[must_use]
    pub fn changed(&self, newer: &Self) -> Vec<String> {
        let mut keys: Vec<_> = self.0.keys().chain(newer.0.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
            .filter(|key| self.0.get(*key) != newer.0.get(*key))
            .cloned()
            .collect()
    }
}

/// The print of any bytes.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one(bytes)
}
