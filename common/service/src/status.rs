//! The board on which the parts of a process write how they are, and which the supervisor reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use wavs_ipc::contract::lifecycle::{Health, ProcessStatus, QueueDepth};

use crate::process::ProcessName;

/// The current state of a process. Clones share it. Keys are few and named by code, so the board cannot grow without limit.
#[derive(Clone)]
pub struct StatusBoard {
    inner: Arc<Mutex<Board>>,
}

struct Board {
    name: ProcessName,
    started_at_ms: u64,
    draining: bool,
    degraded: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
    queues: Vec<Queue>,
    sandbox: Vec<String>,
}

struct Queue {
    name: String,
    capacity: u64,
    depth: Box<dyn Fn() -> u64 + Send>,
}

impl StatusBoard {
    /// A board that says Running.
    #[must_use]
    pub fn new(name: ProcessName) -> Self {
        let board = Board {
            name,
            started_at_ms: now_ms(),
            draining: false,
            degraded: BTreeMap::new(),
            facts: BTreeMap::new(),
            queues: Vec::new(),
            sandbox: Vec::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(board)),
        }
    }

    /// Something is missing. `key` names the part (a chain, a key), `reason` says what and what to do. Replaces an earlier reason of the part.
    pub fn degrade(&self, key: impl Into<String>, reason: impl Into<String>) {
        self.lock().degraded.insert(key.into(), reason.into());
    }

    /// The part named `key` works again.
    pub fn recover(&self, key: &str) {
        self.lock().degraded.remove(key);
    }

    /// A fact for people, such as the number of watched routes. Replaces an earlier one of the same label.
    pub fn fact(&self, label: impl Into<String>, value: impl ToString) {
        self.lock().facts.insert(label.into(), value.to_string());
    }

    /// Shows a bounded queue. `depth` is called for every report and must be cheap.
    pub fn queue(&self, name: impl Into<String>, capacity: u64, depth: impl Fn() -> u64 + Send + 'static) {
        self.lock().queues.push(Queue {
            name: name.into(),
            capacity,
            depth: Box::new(depth),
        });
    }

    /// A protection is in force.
    pub fn sandboxed(&self, protection: impl Into<String>) {
        self.lock().sandbox.push(protection.into());
    }

    /// The process takes nothing new from now on.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Everything, as the supervisor gets it.
    #[must_use]
    pub fn snapshot(&self) -> ProcessStatus {
        let board = self.lock();
        ProcessStatus {
            name: board.name.full().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at_ms: board.started_at_ms,
            health: board.health(),
            queues: board.queues.iter().map(Queue::report).collect(),
            sandbox: board.sandbox.clone(),
            facts: board
                .facts
                .iter()
                .map(|(label, value)| (label.clone(), value.clone()))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn health(&self) -> Health {
        if self.draining {
            Health::Draining
        } else if self.degraded.is_empty() {
            Health::Running
        } else {
            Health::Degraded {
                reasons: self.degraded.values().cloned().collect(),
            }
        }
    }
}

impl Queue {
    fn report(&self) -> QueueDepth {
        QueueDepth {
            name: self.name.clone(),
            depth: (self.depth)(),
            capacity: self.capacity,
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_reports_what_the_parts_wrote() {
        let board = StatusBoard::new(ProcessName::Engine);
        assert_eq!(board.snapshot().health, Health::Running);
        board.degrade("chain evm:1", "evm:1: no endpoint");
        board.degrade("chain evm:1", "evm:1: no endpoint answers");
        board.queue("runs", 8, || 3);
        board.fact("services", 2);
        let status = board.snapshot();
        assert_eq!(status.name, "engine-svc");
        assert_eq!(
            status.health,
            Health::Degraded {
                reasons: vec!["evm:1: no endpoint answers".to_owned()]
            }
        );
        assert_eq!(
            status.queues,
            [QueueDepth {
                name: "runs".to_owned(),
                depth: 3,
                capacity: 8
            }]
        );
        assert_eq!(status.facts, [("services".to_owned(), "2".to_owned())]);
        board.recover("chain evm:1");
        assert_eq!(board.snapshot().health, Health::Running);
        board.drain();
        assert_eq!(board.snapshot().health, Health::Draining);
    }
}
