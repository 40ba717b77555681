//! What the supervisor publishes about its processes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use tokio::time::Instant;

use super::child::{Child, Phase};
use super::exit::{Cause, Exit};

/// The state of a process, as in `GET /v1/processes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// Spawned, not READY yet.
    Starting,
    /// READY.
    Running,
    /// READY, and it says that something is missing.
    Degraded,
    /// On its way down.
    Stopping,
    /// Down, waiting for the next start.
    Backoff,
    /// Down or starting after too many restarts.
    Failing,
    /// Down until the operator changes something and sends SIGHUP.
    Blocked,
    /// Not wanted.
    Disabled,
}

impl ProcessState {
    /// The name as used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failing => "failing",
            Self::Blocked => "blocked",
            Self::Disabled => "disabled",
        }
    }

    /// The state of a child.
    #[must_use]
    pub fn of(child: &Child) -> Self {
        match child.phase() {
            Phase::Starting | Phase::Backoff if child.failing() => Self::Failing,
            Phase::Stopped => Self::Disabled,
            Phase::Starting => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Aborting | Phase::Killing | Phase::Stopping => Self::Stopping,
            Phase::Backoff => Self::Backoff,
            Phase::Blocked => Self::Blocked,
        }
    }
}

/// The end of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastExit {
    /// When it was noticed.
    pub at: SystemTime,
    /// How it ended.
    pub exit: Exit,
    /// Why.
    pub cause: Cause,
}

/// One process as the supervisor sees it, without asking it anything.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its name.
    pub name: &'static str,
    /// Its state.
    pub state: ProcessState,
    /// Operating system process id while it runs.
    pub pid: Option<u32>,
    /// When the current incarnation was spawned.
    pub started_at: Option<SystemTime>,
    /// Restarts since the supervisor started.
    pub restarts: u64,
    /// The same, by what ended the incarnation before.
    pub restart_causes: BTreeMap<&'static str, u64>,
    /// How the previous incarnation ended.
    pub last_exit: Option<LastExit>,
    /// When it was last heard of.
    pub heartbeat: Option<Instant>,
    /// What it says about itself (STATUS of the readiness protocol).
    pub status: Option<String>,
    /// Lines of its log that were dropped because they came faster than they could be written.
    pub log_lines_dropped: u64,
}
