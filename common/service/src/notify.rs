//! Telling the parent how the process is, in systemd's notification protocol.
//!
//! READY once, STATUS for people, STOPPING at the end, and WATCHDOG pings from a task on the same runtime that does the
//! work, so that a stuck runtime stops pinging. Without a NOTIFY_SOCKET everything here does nothing.
//!
//! engine-svc may run where the kernel refuses to make Unix sockets, so that its guests can never reach another process's. Half
//! of a socket pair is still to be had there, and can send a datagram to any address but never open a connection.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
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
    let Some(parent) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let lines: String = state.iter().map(|line| format!("{line}\n")).collect();
    if let Err(error) = send_to(&parent, &lines) {
        tracing::debug!(%error, "the parent did not take a notification");
    }
}

/// Sends one datagram to a path, or to an abstract name behind `@`.
fn send_to(parent: &OsStr, text: &str) -> io::Result<()> {
    let address = match parent.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(parent)?,
    };
    let (socket, _peer) = UnixDatagram::pair()?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_of_a_pair_reaches_any_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let abstract_name = format!("wavs-notify-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for (socket, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&name).unwrap(),
                format!("@{abstract_name}").into(),
            ),
        ] {
            send_to(&address, "READY=1\n").unwrap();
            let mut text = [0; 32];
            let length = socket.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1\n", "{address:?}");
        }
    }
}
