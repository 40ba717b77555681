//! The four processes beneath the supervisor and the names that they go by.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wavs_ipc::identity::Role;

/// A process of the node. The order is that in which tables show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessName {
    /// Watches chains and clocks.
    Trigger,
    /// Runs guest code.
    Engine,
    /// Keeps the ledger, signs and submits.
    Aggregator,
    /// Talks to other operators.
    P2p,
}

impl ProcessName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Trigger, Self::Engine, Self::Aggregator, Self::P2p];

    /// The short name: in the configuration, and of the directories under the data and run directory.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Engine => "engine",
            Self::Aggregator => "aggregator",
            Self::P2p => "p2p",
        }
    }

    /// The full name: in status, logs and metrics.
    #[must_use]
    pub const fn full(self) -> &'static str {
        match self {
            Self::Trigger => "trigger-svc",
            Self::Engine => "engine-svc",
            Self::Aggregator => "aggregator-svc",
            Self::P2p => "p2p-svc",
        }
    }

    /// The name of the program.
    #[must_use]
    pub const fn binary(self) -> &'static str {
        match self {
            Self::Trigger => "wavs-trigger",
            Self::Engine => "wavs-engine",
            Self::Aggregator => "wavs-aggregator",
            Self::P2p => "wavs-p2p",
        }
    }

    /// What it does, in one sentence for `--help`.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Trigger => "Watches chains and clocks and keeps what they trigger until it is taken",
            Self::Engine => "Runs the components of services in a sandbox",
            Self::Aggregator => "Keeps the ledger and the keys: signs results, counts the quorum, submits",
            Self::P2p => "Exchanges signatures with other operators",
        }
    }

    /// Who it is on a connection.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Trigger => Role::Trigger,
            Self::Engine => Role::Engine,
            Self::Aggregator => Role::Aggregator,
            Self::P2p => Role::P2p,
        }
    }

    /// Whether other processes than the supervisor call it, so that it has a second socket.
    #[must_use]
    pub const fn has_rpc(self) -> bool {
        !matches!(self, Self::Aggregator)
    }

    /// Its state directory.
    #[must_use]
    pub fn state_dir(self, data_dir: &Path) -> PathBuf {
        data_dir.join(self.short())
    }

    /// The socket that the supervisor calls.
    #[must_use]
    pub fn ctl_socket(self, data_dir: &Path) -> PathBuf {
        self.run_dir(data_dir).join("ctl.sock")
    }

    /// The socket that aggregator-svc calls.
    #[must_use]
    pub fn rpc_socket(self, data_dir: &Path) -> PathBuf {
        self.run_dir(data_dir).join("rpc.sock")
    }

    fn run_dir(self, data_dir: &Path) -> PathBuf {
        data_dir.join("run").join(self.short())
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full())
    }
}
