//! Making one connection: socket, preamble, tarpc client.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryFutureExt;
use interprocess::local_socket::traits::StreamCommon as _;
use tarpc::client;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::bounds::{FRAME_TIMEOUT, MAX_IN_FLIGHT, REQUEST_BUFFER};
use crate::codec::ClientCodec;
use crate::contract_table::Contract;
use crate::deadline;
use crate::error::{ErrorCode, WireError};
use crate::identity::Identity;
use crate::preamble::{self, Answer, Hello, Refusal, Refused, VersionRange};
use crate::socket;
use crate::transport::Transport;

/// Why no connection was made. No request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error("cannot connect to {path}: {source}; is the process running?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another user serves the socket: whoever put it there must not be told anything.
    #[error(
        "{path} is served by user {uid}, neither root nor the user of this process; remove it and start the node again"
    )]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// Its server's user id; -1 when the kernel does not tell.
        uid: i64,
    },
    /// The server went away during the preamble.
    #[error("{path} broke off the preamble: {source}; see the log of the process that serves it")]
    Preamble {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server did not accept or answer in time.
    #[error("{path} did not answer in time; its process is starting, overloaded or stuck")]
    Timeout {
        /// The socket.
        path: PathBuf,
    },
    /// The server does not want this connection.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<ConnectError> for WireError {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Refused(refused) => match refused.refusal {
                Refusal::TooManyConnections => Self::backoff(ErrorCode::Busy, error.to_string()),
                Refusal::Draining => Self::backoff(ErrorCode::Draining, error.to_string()),
                // Backoff and not Never: the work itself is sound and must wait for the right build, not be given up.
                _ => Self::backoff(ErrorCode::Denied, error.to_string()),
            },
            ConnectError::Foreign { .. } => Self::backoff(ErrorCode::Denied, error.to_string()),
            _ => Self::backoff(ErrorCode::Transport, error.to_string()),
        }
    }
}

/// Connects once to contract `C` on `path`, within `timeout`. The connection ends with the last clone of the client.
/// A long-lived caller wants [`crate::Reconnecting`].
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect<C: Contract>(path: &Path, identity: Identity, timeout: Duration) -> Result<C, ConnectError> {
    let until = Instant::now() + deadline::clamp(timeout);
    connect_until(path, identity, until).await.map(|(client, _)| client)
}

/// As [`connect`], with the task that lives as long as the connection.
pub(crate) async fn connect_until<C: Contract>(
    path: &Path,
    identity: Identity,
    until: Instant,
) -> Result<(C, JoinHandle<()>), ConnectError> {
    timeout_at(until, shake_hands::<C>(path, identity))
        .await
        .unwrap_or_else(|_| Err(ConnectError::Timeout { path: path.into() }))
        .map(spawn_dispatch::<C>)
}

async fn shake_hands<C: Contract>(path: &Path, identity: Identity) -> Result<socket::Stream, ConnectError> {
    let mut stream = socket::connect(path).await.map_err(|source| ConnectError::Connect {
        path: path.into(),
        source,
    })?;
    check_server(&stream, path)?;
    let hello = Hello::new(identity, C::ID, C::VERSIONS).encode();
    // A server that refuses at once may close before it reads our half, so its answer counts even if writing failed.
    let written = preamble::write(&mut stream, hello).await;
    let bytes = match preamble::read(&mut stream).await {
        Ok(bytes) => bytes,
        Err(source) => {
            let source = written.err().unwrap_or(source);
            return Err(ConnectError::Preamble {
                path: path.into(),
                source,
            });
        }
    };
    let refused = |refusal, answer: Option<Answer>| Refused {
        refusal,
        contract: C::NAME,
        ours: C::VERSIONS,
        theirs: answer.map_or(VersionRange { min: 0, max: 0 }, |answer| answer.versions),
        their_role: answer.map_or(0, |answer| answer.role),
        their_build: answer.map_or(crate::BuildId::from_text("unknown"), |answer| answer.build),
    };
    let answer = Answer::decode(&bytes).map_err(|refusal| refused(refusal, None))?;
    let version = answer.verdict.map_err(|refusal| refused(refusal, Some(answer)))?;
    if (C::VERSIONS.min..=C::VERSIONS.max).contains(&version) {
        Ok(stream)
    } else {
        Err(refused(Refusal::NoCommonVersion, Some(answer)).into())
    }
}

/// Whether the socket is listened on by our own user or by root, which is systemd or an administrator (`SO_PEERCRED`, unix(7):
/// for a client these are the credentials of whoever called `listen`).
fn check_server(stream: &socket::Stream, path: &Path) -> Result<(), ConnectError> {
    let uid = stream.peer_creds().ok().and_then(|creds| creds.euid());
    match uid {
        Some(uid) if uid == 0 || uid == nix::unistd::geteuid().as_raw() => Ok(()),
        uid => Err(ConnectError::Foreign {
            path: path.into(),
            uid: uid.map_or(-1, i64::from),
        }),
    }
}

fn spawn_dispatch<C: Contract>(stream: socket::Stream) -> (C, JoinHandle<()>) {
    let mut config = client::Config::default();
    // Calls beyond both wait in their tasks, within their deadlines.
    config.max_in_flight_requests = MAX_IN_FLIGHT;
    config.pending_request_buffer = REQUEST_BUFFER;
    let client = client::new(config, Transport::new(stream, ClientCodec, FRAME_TIMEOUT));
    let dispatch = client.dispatch.unwrap_or_else(|cause| {
        let cause = &cause as &dyn std::error::Error;
        tracing::debug!(contract = C::NAME, error = %cause.source().unwrap_or(cause), "a connection broke");
    });
    (C::from(client.client), tokio::spawn(dispatch))
}
