//! What the operator wants, by signal or over the admin socket: one task follows, so that there is one reload at a time.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use wavs_service::ProcessName;

use crate::control::{Request, RestartError};
use crate::reload::Report;

/// Whoever has the processes.
pub(crate) trait Owner {
    /// What a stop means, for the log.
    const STOP: &'static str;

    /// Has another incarnation of a process started.
    async fn restart(&self, process: ProcessName, kill: bool) -> Result<(), RestartError>;

    /// Takes over the configuration as it is now.
    async fn reload(&mut self) -> Report;
}

/// The signals that the supervisor understands. They count from the moment that this exists.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches them instead of ending by them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }
}

/// Follows until SIGTERM or SIGINT comes.
pub(crate) async fn follow<O: Owner>(mut owner: O, mut signals: Signals, mut requests: mpsc::Receiver<Request>) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return tracing::info!("SIGTERM: {}", O::STOP),
            _ = signals.interrupt.recv() => return tracing::info!("SIGINT: {}", O::STOP),
            _ = signals.hangup.recv() => {
                tracing::info!("SIGHUP: loading the configuration again");
                owner.reload().await;
            }
            Some(request) = requests.recv() => match request {
                Request::Reload { answer } => {
                    // A caller that is gone finds the report in the log.
                    let _ = answer.send(owner.reload().await);
                }
                Request::Restart { process, kill, answer } => {
                    let _ = answer.send(owner.restart(process, kill).await);
                }
            },
        }
    }
}
