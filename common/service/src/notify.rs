//! Telling the parent how the process is, in systemd's notification protocol.
//!
//! READY once, STATUS for people, STOPPING at the end, and WATCHDOG pings from a task on the same runtime that does the
//! work, so that a stuck runtime stops pinging. Without a NOTIFY_SOCKET everything here does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// Longest status text in bytes; a longer one is cut, since a datagram is limited.
const MAX_STATUS: usize = 512;

/// Sends notifications. Copies are as good as the original.
#[derive(Debug, Clone, Copy)]
pub struct Notifier(());

impl Notifier {
    pub(crate) const fn new() -> Self {
        Self(())
    }

    /// The process serves its sockets. Call it once, when the first call would be answered.
    pub fn ready(self) {
        send(&[NotifyState::Ready]);
        tracing::info!("ready");
    }

    /// One line for people, shown by the supervisor.
    pub fn status(self, text: &str) {
        let cut = text.floor_char_boundary(MAX_STATUS);
        send(&[NotifyState::Status(&text[..cut].replace('\n', " "))]);
    }

    pub(crate) fn stopping(self) {
        send(&[NotifyState::Stopping]);
    }

    /// Pings at half of the period that the parent asked for, until `stop`.
    pub(crate) async fn watchdog(self, stop: CancellationToken) {
        let Some(period) = sd_notify::watchdog_enabled()
            .map(|period| period / 2)
            .filter(|period| *period > Duration::ZERO)
        else {
            return;
        };
        let mut ticks = tokio::time::interval(period);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => send(&[NotifyState::Watchdog]),
            }
        }
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the parent did not take a notification");
    }
}
