//! The readiness protocol of systemd (`sd_notify`), server side.
//!
//! Each incarnation of a process gets a socket of its own, so a late message of a dead one is never taken for its
//! successor's. Messages are datagrams of `KEY=value` lines; unknown keys are ignored.

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::UnixDatagram;

/// Longest message; the rest of a longer one is cut off.
const MAX_MESSAGE: usize = 4096;
/// Longest STATUS text that is kept.
const MAX_STATUS: usize = 512;

/// What a process says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It takes work.
    Ready,
    /// Its main loop makes progress.
    Ping,
    /// It is on its way down.
    Stopping,
    /// A line for people.
    Status(String),
}

/// The socket on which one incarnation of a process is heard.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl NotifySocket {
    /// Binds `path`, in place of what an earlier incarnation left there.
    ///
    /// # Errors
    /// When the old socket cannot be removed or the new one cannot be bound.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        Ok(Self {
            socket: UnixDatagram::bind(path)?,
            path: path.to_owned(),
        })
    }

    /// The address for `NOTIFY_SOCKET`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The notices of the next message.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn recv(&self) -> io::Result<Vec<Notice>> {
        let mut buffer = [0_u8; MAX_MESSAGE];
        let length = self.socket.recv(&mut buffer).await?;
        Ok(parse(&buffer[..length]))
    }
}

fn parse(message: &[u8]) -> Vec<Notice> {
    String::from_utf8_lossy(message).lines().filter_map(notice).collect()
}

fn notice(line: &str) -> Option<Notice> {
    match line.split_once('=')? {
        ("READY", "1") => Some(Notice::Ready),
        ("WATCHDOG", "1") => Some(Notice::Ping),
        ("STOPPING", "1") => Some(Notice::Stopping),
        ("STATUS", text) => Some(Notice::Status(
            text.chars().filter(|c| !c.is_control()).take(MAX_STATUS).collect(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_several_notices() {
        let notices = parse(b"READY=1\nSTATUS=4 services\nX_FOO=bar\nWATCHDOG=1\nWATCHDOG=trigger");
        assert_eq!(
            notices,
            [Notice::Ready, Notice::Status("4 services".into()), Notice::Ping]
        );
    }

    #[test]
    fn any_bytes_are_harmless() {
        assert_eq!(parse(b"\xff\xfe=\0\nREADY\n=\nREADY=2"), []);
        let long = format!("STATUS={}\u{7}", "x".repeat(4000));
        assert_eq!(parse(long.as_bytes()), [Notice::Status("x".repeat(MAX_STATUS))]);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify.sock");
        drop(NotifySocket::bind(&path).unwrap());
        let socket = NotifySocket::bind(&path).unwrap();
        UnixDatagram::unbound()
            .unwrap()
            .send_to(b"READY=1", &path)
            .await
            .unwrap();
        assert_eq!(socket.recv().await.unwrap(), [Notice::Ready]);
    }
}
