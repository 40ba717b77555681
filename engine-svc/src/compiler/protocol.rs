//! What engine-svc asks the compile host.
//!
//! A request names a component by digest only, so whoever takes over engine-svc can make the host compile what is in the
//! component store, and nothing else.

use serde::{Deserialize, Serialize};
use wavs_types::ComponentDigest;

use crate::runtime::Variant;

/// Have code in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Request {
    /// The component, which is in the store.
    pub(super) digest: ComponentDigest,
    /// Which code.
    pub(super) variant: Variant,
    /// The code that is in the cache is of no use.
    pub(super) replace: bool,
}

/// How a compilation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The code is in the cache.
    Stored,
    /// The component is at fault; it will be so again.
    Rejected(String),
    /// This machine is at fault; it may go better another time.
    Failed(String),
}
