//! The `Lifecycle` contract, ready-made for every process.

use std::fmt::Write as _;

use tarpc::context::Context;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::lifecycle::{Lifecycle, ProcessStatus, QueueDepth};
use wavs_ipc::{ErrorCode, WireError};

use crate::metrics::Metrics;
use crate::status::StatusBoard;
use crate::telemetry;

/// Answers status from the board, metrics from the registry, and starts the drain by cancelling the shutdown token.
#[derive(Clone)]
pub struct LifecycleServer {
    /// What status answers.
    pub status: StatusBoard,
    /// What metrics answers.
    pub metrics: Metrics,
    shutdown: CancellationToken,
}

impl LifecycleServer {
    /// Reports `status` and `metrics`; a drain cancels `shutdown`.
    #[must_use]
    pub fn new(status: StatusBoard, metrics: Metrics, shutdown: CancellationToken) -> Self {
        Self {
            status,
            metrics,
            shutdown,
        }
    }
}

impl Lifecycle for LifecycleServer {
    async fn status(self, _: Context) -> Result<ProcessStatus, WireError> {
        Ok(self.status.snapshot())
    }

    async fn metrics(self, _: Context) -> Result<String, WireError> {
        let mut text = self.metrics.render();
        queues(&mut text, &self.status.snapshot().queues);
        Ok(text)
    }

    async fn drain(self, _: Context) -> Result<(), WireError> {
        self.status.drain();
        self.shutdown.cancel();
        Ok(())
    }

    async fn set_log_level(self, _: Context, directives: Vec<String>) -> Result<(), WireError> {
        telemetry::set_level(&directives).map_err(|error| WireError::never(ErrorCode::Invalid, error.to_string()))
    }
}

/// The bounded queues of the status board as metrics, so that each is named in one place only.
fn queues(text: &mut String, queues: &[QueueDepth]) {
    if queues.is_empty() {
        return;
    }
    // Writing to a String does not fail.
    let mut family = |name: &str, help: &str, value: fn(&QueueDepth) -> u64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for queue in queues {
            let _ = writeln!(text, "{name}{{queue=\"{}\"}} {}", queue.name, value(queue));
        }
    };
    family("wavs_queue_depth", "Items that wait.", |queue| queue.depth);
    family("wavs_queue_capacity", "Most items that may wait.", |queue| {
        queue.capacity
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_metrics_too() {
        let queue = QueueDepth {
            name: "jobs".to_owned(),
            depth: 3,
            capacity: 8,
        };
        let mut text = String::new();
        queues(&mut text, &[queue]);
        assert!(text.contains("wavs_queue_depth{queue=\"jobs\"} 3\n"), "{text}");
        assert!(text.contains("wavs_queue_capacity{queue=\"jobs\"} 8\n"), "{text}");
        let mut none = String::new();
        queues(&mut none, &[]);
        assert_eq!(none, "");
    }
}
