//! What the supervisor asks of every process: how it is, its metrics, and to finish.

use serde::{Deserialize, Serialize};

use crate::error::WireError;

#[tarpc::service]
pub trait Lifecycle {
    /// How the process is. Cheap: answered from memory.
    async fn status() -> Result<ProcessStatus, WireError>;

    /// The process's metrics in the Prometheus text format 0.0.4, without the `process` label.
    async fn metrics() -> Result<String, WireError>;

    /// Stop taking new work, finish what runs, then exit 0. Answers when draining has begun.
    async fn drain() -> Result<(), WireError>;

    /// Replaces the filter of the log by these directives, without a restart.
    async fn set_log_level(directives: Vec<String>) -> Result<(), WireError>;
}

/// A snapshot of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// `trigger-svc`, `engine-svc`, `aggregator-svc` or `p2p-svc`.
    pub name: String,
    /// Version of the binary.
    pub version: String,
    /// Operating system process id.
    pub pid: u32,
    /// When the process became ready, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Whether it does its work.
    pub health: Health,
    /// Its bounded queues.
    pub queues: Vec<QueueDepth>,
    /// The protections in force, such as `no_new_privs`.
    pub sandbox: Vec<String>,
    /// Further facts for people, as label and value.
    pub facts: Vec<(String, String)>,
    /// The parts of the process, each with whether it works; the failed ones are the reasons of a degraded health.
    pub checks: Vec<PartCheck>,
}

/// One part of a process that can be missing while the rest works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartCheck {
    /// What it is, such as `store` or `chain:evm:1`.
    pub name: String,
    /// What is wrong and what to do; `None` while it works.
    pub fault: Option<String>,
}

/// Whether a process does its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Everything works.
    Running,
    /// It works in part; the reasons say what is missing.
    Degraded { reasons: Vec<String> },
    /// It finishes what runs and takes nothing new.
    Draining,
}

/// How full one bounded queue is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueDepth {
    /// Name of the queue, as in metrics.
    pub name: String,
    /// Items waiting now.
    pub depth: u64,
    /// Most items it holds.
    pub capacity: u64,
}
