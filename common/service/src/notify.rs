//! Telling the parent how the process is, in systemd's notification protocol.
//!
//! READY once, STATUS for people, STOPPING at the end, and WATCHDOG pings while [`crate::watchdog`] sees progress. Without a
//! NOTIFY_SOCKET everything here does nothing.
//!
//! Most processes give up the right to make Unix sockets, so the one for notifications is made before. It is half of a pair of
//! datagram sockets: it can send to the parent's address but never opens a connection.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

use sd_notify::NotifyState;

/// Longest status text in bytes; a longer one is cut, since a datagram is limited.
const MAX_STATUS: usize = 512;

/// Sends notifications. Copies are as good as the original.
#[derive(Debug, Clone, Copy)]
pub struct Notifier(());

impl Notifier {
    pub(crate) const fn new() -> Self {
        Self(())
    }

    /// Makes the socket, for a process that may not do so later.
    pub(crate) fn open() {
        if let Some(parent) = std::env::var_os("NOTIFY_SOCKET")
            && let Ok(socket) = Socket::new(&parent)
        {
            // A second call finds the first socket, which is as good.
            let _ = SOCKET.set(socket);
        }
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

    /// The process makes progress.
    pub(crate) fn alive(self) {
        send(&[NotifyState::Watchdog]);
    }
}

/// The socket of this process, once it was made.
static SOCKET: OnceLock<Socket> = OnceLock::new();

/// Half of a pair, and where it sends.
struct Socket {
    socket: UnixDatagram,
    parent: SocketAddr,
}

impl Socket {
    /// A socket for a path, or for an abstract name behind `@`.
    fn new(parent: &OsStr) -> io::Result<Self> {
        let parent = match parent.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(parent)?,
        };
        let (socket, _peer) = UnixDatagram::pair()?;
        // Connected now, it also reaches an abstract name from inside of a Landlock domain.
        let _ = socket.connect_addr(&parent);
        Ok(Self { socket, parent })
    }

    fn send(&self, text: &str) -> io::Result<()> {
        let text = text.as_bytes();
        // A parent that made its socket anew is found by its address.
        let sent = self
            .socket
            .send(text)
            .or_else(|_| self.socket.send_to_addr(text, &self.parent));
        sent.map(drop)
    }
}

fn send(state: &[NotifyState<'_>]) {
    let Some(parent) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let lines: String = state.iter().map(|line| format!("{line}\n")).collect();
    let sent = match SOCKET.get() {
        Some(socket) => socket.send(&lines),
        None => Socket::new(&parent).and_then(|socket| socket.send(&lines)),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "the parent did not take a notification");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_of_a_pair_reaches_any_address_also_after_it_was_made_anew() {
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
            Socket::new(&address).unwrap().send("READY=1\n").unwrap();
            let mut text = [0; 32];
            let length = socket.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1\n", "{address:?}");
        }
        let path = directory.path().join("again");
        let first = UnixDatagram::bind(&path).unwrap();
        let socket = Socket::new(path.as_os_str()).unwrap();
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        socket.send("STOPPING=1\n").unwrap();
        let mut text = [0; 32];
        assert_eq!(second.recv(&mut text).unwrap(), 11);
    }
}
