//! Whose secrets are looked up.
//!
//! A supervisor that starts its children reads all secrets and hands each child its own. Under systemd every process reads
//! the same wavs.toml by itself; then a process must neither fail on a secret that only another one may read, nor hold one
//! that is not its own.

use crate::process::ProcessName;

/// For whom a configuration is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audience {
    /// For all: the loader hands the secrets on.
    #[default]
    Node,
    /// For the HTTP API alone.
    Api,
    /// For somebody who only wants to know where things are.
    Nobody,
    /// For one process.
    Process(ProcessName),
}

impl Audience {
    /// Whether secrets of `owner` are looked up.
    pub(crate) fn may_hold(self, owner: Self) -> bool {
        self == Self::Node || self == owner
    }
}

/// Owner of the signing and posting keys and of the variables of components.
pub(crate) const AGGREGATOR: Audience = Audience::Process(ProcessName::Aggregator);

/// Owner of the network identity.
pub(crate) const P2P: Audience = Audience::Process(ProcessName::P2p);
