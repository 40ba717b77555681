//! What the API asks of whoever runs the processes: another incarnation of one, and a new configuration.
//!
//! The requests go to one task, which also answers SIGHUP, so that there is one reload at a time. Under systemd the same requests
//! are answered by asking the processes to end, since systemd starts them again.

use tokio::sync::{mpsc, oneshot};
use wavs_service::ProcessName;

use crate::reload::Report;

/// Requests that wait. A further one waits with its caller, within the time limit of its route.
const REQUESTS: usize = 8;

/// The way to ask; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Request>);

/// What is asked.
#[derive(Debug)]
pub enum Request {
    /// Another incarnation of a process.
    Restart {
        /// Which one.
        process: ProcessName,
        /// Kill it instead of letting it finish its work.
        kill: bool,
        /// Whether it is under way.
        answer: oneshot::Sender<Result<(), RestartError>>,
    },
    /// The configuration as it is now.
    Reload {
        /// What became of it.
        answer: oneshot::Sender<Report>,
    },
}

/// Why a process is not restarted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// It is switched off.
    #[error("{0} is disabled by process.{name}.enabled", name = .0.short())]
    Disabled(ProcessName),
    /// systemd owns it.
    #[error("{0} is a unit of systemd, which alone may kill it: systemctl kill -s KILL wavs-{name}", name = .0.short())]
    OwnedBySystemd(ProcessName),
    /// It did not take the request.
    #[error("{process} did not answer ({detail}); it is down or hangs, and is restarted when it does")]
    Silent {
        /// The process.
        process: ProcessName,
        /// What went wrong.
        detail: String,
    },
    /// This process ends.
    #[error("the node is stopping")]
    Stopping,
}

impl Control {
    /// The way to ask, and the requests for the task that answers them.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        (Self(requests), inbox)
    }

    /// Asks for another incarnation; answers when it is under way.
    ///
    /// # Errors
    /// See [`RestartError`].
    pub async fn restart(&self, process: ProcessName, kill: bool) -> Result<(), RestartError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Restart { process, kill, answer };
        self.0.send(request).await.map_err(|_| RestartError::Stopping)?;
        answered.await.unwrap_or(Err(RestartError::Stopping))
    }

    /// Reads the configuration again.
    pub async fn reload(&self) -> Report {
        let (answer, answered) = oneshot::channel();
        let stopping = || Report::refused(RestartError::Stopping.to_string());
        match self.0.send(Request::Reload { answer }).await {
            Ok(()) => answered.await.unwrap_or_else(|_| stopping()),
            Err(_) => stopping(),
        }
    }
}
