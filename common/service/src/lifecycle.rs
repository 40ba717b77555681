//! The `Lifecycle` contract, ready-made for every process.

use tarpc::context::Context;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::lifecycle::{Lifecycle, ProcessStatus};
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
        Ok(self.metrics.render())
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
