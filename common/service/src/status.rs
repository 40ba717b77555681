//! The board on which the parts of a process write how they are, and which the supervisor reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use wavs_ipc::contract::lifecycle::{Health, PartCheck, ProcessStatus, QueueDepth};

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
    /// Each part that was ever named, with its fault.
    parts: BTreeMap<String, Option<String>>,
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
            parts: BTreeMap::new(),
            facts: BTreeMap::new(),
            queues: Vec::new(),
            sandbox: Vec::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(board)),
        }
    }

    /// Something is missing. `key` names the part (`store`, `chain:evm:1`), `reason` says what and what to do. Replaces an earlier
    /// reason of the part.
    pub fn degrade(&self, key: impl Into<String>, reason: impl Into<String>) {
        self.lock().parts.insert(key.into(), Some(reason.into()));
    }

    /// The part named `key` works, or works again. Called at the start it makes the part known, so that readiness shows it.
    pub fn recover(&self, key: &str) {
        self.lock().parts.insert(key.to_owned(), None);
    }

    /// The part named `key` is no part of the process any more, such as a chain that was removed.
    pub fn forget(&self, key: &str) {
        self.lock().parts.remove(key);
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
        let protection = protection.into();
        let sandbox = &mut self.lock().sandbox;
        if !sandbox.contains(&protection) {
            sandbox.push(protection);
        }
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
            checks: board
                .parts
                .iter()
                .map(|(name, fault)| PartCheck {
                    name: name.clone(),
                    fault: fault.clone(),
                })
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn health(&self) -> Health {
        let reasons: Vec<String> = self.parts.values().flatten().cloned().collect();
        if self.draining {
            Health::Draining
        } else if reasons.is_empty() {
            Health::Running
        } else {
            Health::Degraded { reasons }
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
        let checks = || {
            let checks = board.snapshot().checks;
            checks
                .into_iter()
                .map(|check| (check.name, check.fault.is_none()))
                .collect::<Vec<_>>()
        };
        assert_eq!(checks(), [("chain evm:1".to_owned(), false)]);
        board.recover("chain evm:1");
        board.recover("store");
        assert_eq!(board.snapshot().health, Health::Running);
        assert_eq!(checks(), [("chain evm:1".to_owned(), true), ("store".to_owned(), true)]);
        board.forget("chain evm:1");
        assert_eq!(checks(), [("store".to_owned(), true)]);
        board.drain();
        assert_eq!(board.snapshot().health, Health::Draining);
    }
}
