//! The listeners: TCP for everyone, the admin socket for the node's own user.
//!
//! Each connection is a task with its own limits; nothing it does reaches another one. On shutdown no connection is
//! accepted any more, running requests get a bounded time, and the rest is cut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::access::Peer;

/// Connections at a time; a further one waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// Bytes of the headers of a request; more is answered 431.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Time for running requests after the shutdown began.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which means that descriptors ran out: trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The sockets of the API.
#[derive(Debug)]
pub struct Listeners {
    /// For everyone.
    pub tcp: TcpListener,
    /// For the node's own user and root.
    pub admin: UnixListener,
}

/// Serves until `shutdown`, then finishes what runs.
pub async fn serve(listeners: Listeners, router: Router, header_timeout: Duration, shutdown: CancellationToken) {
    let server = Server {
        router,
        header_timeout,
        shutdown: shutdown.clone(),
        connections: TaskTracker::new(),
        room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    tokio::join!(server.accept_tcp(listeners.tcp), server.accept_unix(listeners.admin));
    server.connections.close();
    if tokio::time::timeout(DRAIN, server.connections.wait()).await.is_err() {
        tracing::warn!(
            connections = server.connections.len(),
            "requests were cut off by the shutdown"
        );
    }
}

/// Serves a router on one TCP socket until `shutdown`; connections that are open then are cut.
pub async fn serve_tcp(listener: TcpListener, router: Router, header_timeout: Duration, shutdown: CancellationToken) {
    let server = Server {
        router,
        header_timeout,
        shutdown,
        connections: TaskTracker::new(),
        room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    server.accept_tcp(listener).await;
}

struct Server {
    router: Router,
    header_timeout: Duration,
    shutdown: CancellationToken,
    connections: TaskTracker,
    room: Arc<Semaphore>,
}

impl Server {
    async fn accept_tcp(&self, listener: TcpListener) {
        while let Some(room) = self.room().await {
            let Some(accepted) = self.until_shutdown(listener.accept()).await else {
                return;
            };
            match accepted {
                Ok((stream, address)) => {
                    // Answers are small; waiting for more to send with them only adds latency.
                    let _ = stream.set_nodelay(true);
                    self.spawn(stream, tcp_peer(address), room);
                }
                Err(cause) => pause(&cause).await,
            }
        }
    }

    async fn accept_unix(&self, listener: UnixListener) {
        while let Some(room) = self.room().await {
            let Some(accepted) = self.until_shutdown(listener.accept()).await else {
                return;
            };
            match accepted {
                Ok((stream, _)) if stream.peer_cred().is_ok_and(|peer| is_ours(peer.uid())) => {
                    self.spawn(stream, Peer::Unix, room);
                }
                Ok(_) => tracing::warn!("another user tried the admin socket and was refused"),
                Err(cause) => pause(&cause).await,
            }
        }
    }

    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.until_shutdown(Arc::clone(&self.room).acquire_owned()).await?.ok()
    }

    async fn until_shutdown<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.shutdown.run_until_cancelled(work).await
    }

    fn spawn(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        room: OwnedSemaphorePermit,
    ) {
        let router = self.router.clone();
        let shutdown = self.shutdown.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            router.clone().oneshot(request)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        self.connections.spawn(async move {
            let _room = room;
            let mut connection = std::pin::pin!(connection);
            // What a connection fails with is the client's business.
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(cause) = ended {
                tracing::debug!(%cause, "connection failed");
            }
        });
    }
}

fn tcp_peer(address: SocketAddr) -> Peer {
    Peer::Tcp(address.ip())
}

fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

async fn pause(cause: &io::Error) {
    tracing::warn!(%cause, "cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
