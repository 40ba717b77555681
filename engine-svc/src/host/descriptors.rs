//! The descriptors of this process that guests have open.
//!
//! Each file, socket and connection of a guest is one, and all runs together could want more than the kernel gives the process
//! (`RLIMIT_NOFILE`), although each keeps to its own bounds. They share what there is ([`Shares`]); who gets none is told so by the
//! call, and the process keeps what it needs for itself.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit};

use super::shares::{Holding, Shares};

/// Descriptors that no guest gets, beside one for each compiled component: sockets, pipes, the databases, look-ups of names. Of a
/// process that may have few it is a quarter.
const RESERVED: usize = 1_024;

/// What one run has open.
#[derive(Debug)]
pub(super) struct OpenDescriptors {
    held: Holding,
    told: bool,
}

/// What this process has for so many runs at a time, with so many compiled components in memory.
pub(crate) fn of_process(slots: usize, compiled: usize) -> Shares {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let reserved = RESERVED.saturating_add(compiled);
    Shares::new(limit - reserved.min(limit / 4), slots)
}

impl OpenDescriptors {
    /// None yet.
    pub(super) fn new(all: Arc<Shares>) -> Self {
        Self {
            held: Holding::new(all),
            told: false,
        }
    }

    /// Whether the run may have so many open, now that it wants another one.
    pub(super) fn allow(&mut self, open: usize) -> bool {
        let is_allowed = self.held.allow(open);
        if !is_allowed && !self.told {
            self.told = true;
            tracing::warn!(
                open,
                "a run is refused a file or socket, because guests have all open that this process may have; raise its limit of open files (LimitNOFILE=, ulimit -n), or lower engine.open_files, engine.sockets and engine.http_requests"
            );
        }
        is_allowed
    }
}
