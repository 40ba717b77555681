//! Values that tests share.

use wavs_types::{Component, ComponentDigest, ComponentSource, Permissions};

/// A component with the given limits and nothing else.
pub(crate) fn component(fuel_limit: Option<u64>, time_limit_seconds: Option<u64>) -> Component {
    Component {
        source: ComponentSource::Digest(ComponentDigest::new([0; 32])),
        permissions: Permissions::default(),
        fuel_limit,
        time_limit_seconds,
        config: std::collections::BTreeMap::new(),
        env_keys: std::collections::BTreeSet::new(),
    }
}
