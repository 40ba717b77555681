//! The accept loop and what protects it: which contracts a socket serves, who may connect, how much runs at a time.
//!
//! A connection passes the credential check and the preamble, then its contract's handler answers its requests. Each
//! connection is a task of its own, so whatever its peer does ends there. **Every handler runs in a task of its own and
//! to its end**: a caller that goes away, a deadline that passes or a connection that breaks does not stop it, because
//! it may be in the middle of durable work. A handler bounds its own time. A panic in it becomes an error reply.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use interprocess::local_socket::traits::{StreamCommon as _, tokio::Listener as _};
use tarpc::ServerError;
use tarpc::context::Context;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bounds;
use crate::connection::{self, Running};
use crate::contract_table::Contract;
use crate::identity::{Identity, Role};
use crate::preamble::{self, Answer, Hello, Refusal, VersionRange};
use crate::socket::{Listener, Stream};

/// Pause after a failed accept, which means that descriptors or memory ran out: trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one socket allows. The defaults are the constants of [`bounds`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// See [`bounds::MAX_CONNECTIONS`].
    pub connections: usize,
    /// See [`bounds::MAX_IN_FLIGHT`].
    pub in_flight: usize,
    /// See [`bounds::MAX_RUNNING`].
    pub running: usize,
    /// See [`bounds::PREAMBLE_TIMEOUT`].
    pub preamble_timeout: Duration,
    /// See [`bounds::FRAME_TIMEOUT`].
    pub frame_timeout: Duration,
    /// See [`bounds::STOP_GRACE`].
    pub stop_grace: Duration,
    /// Users that may connect besides root and our own.
    pub uids: Vec<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: bounds::MAX_CONNECTIONS,
            in_flight: bounds::MAX_IN_FLIGHT,
            running: bounds::MAX_RUNNING,
            preamble_timeout: bounds::PREAMBLE_TIMEOUT,
            frame_timeout: bounds::FRAME_TIMEOUT,
            stop_grace: bounds::STOP_GRACE,
            uids: Vec::new(),
        }
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Handlers that were still running when the grace period ended; they go on until the process ends.
    pub unfinished: usize,
}

/// The contracts that one socket serves.
pub struct Router {
    identity: Identity,
    limits: Limits,
    routes: BTreeMap<u16, Route>,
}

type Serve = Box<dyn Fn(Stream, Arc<Running>) -> BoxFuture<'static, ()> + Send + Sync>;

struct Route {
    name: &'static str,
    versions: VersionRange,
    serve: Serve,
}

/// A handler for [`Router::serve`] from a service trait and a value that implements it:
/// `router.serve::<EngineClient, _, _>(handler!(Engine, server))`. The value is cloned for every request.
#[macro_export]
macro_rules! handler {
    ($service:path, $server:expr) => {{
        let server = $server;
        move |context, request| {
            $crate::tarpc::server::Serve::serve(<_ as $service>::serve(server.clone()), context, request)
        }
    }};
}

impl Router {
    /// A socket of the process `identity` that serves nothing yet.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            limits: Limits::default(),
            routes: BTreeMap::new(),
        }
    }

    /// Replaces the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves contract `C` with `handler`, which is best made by [`handler!`]. A second handler for the same contract
    /// replaces the first.
    #[must_use]
    pub fn serve<C, F, Fut>(mut self, handler: F) -> Self
    where
        C: Contract,
        F: Fn(Context, C::Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C::Response, ServerError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let serve: Serve = Box::new(move |stream, running| {
            Box::pin(connection::serve::<C, F, Fut>(stream, Arc::clone(&handler), running))
        });
        self.routes.insert(
            C::ID,
            Route {
                name: C::NAME,
                versions: C::VERSIONS,
                serve,
            },
        );
        self
    }

    /// Serves `listener` until `shutdown` completes, then stops: new requests are refused as draining, running handlers get
    /// [`Limits::stop_grace`] to finish and to answer, and the callers of those that do not are told so.
    pub async fn run(self, listener: Listener, shutdown: impl Future<Output = ()> + Send) -> Stopped {
        let server = Arc::new(Server::new(self));
        let slots = Arc::new(Semaphore::new(server.limits.connections));
        let refusals = Arc::new(Semaphore::new(bounds::MAX_REFUSALS));
        let connections = TaskTracker::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(cause) => {
                    tracing::warn!(error = %cause, "cannot accept a connection; raise the limit of open files if this goes on");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let server = Arc::clone(&server);
            if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                connections.spawn(async move {
                    server.connection(stream).await;
                    drop(slot);
                });
            } else if let Ok(slot) = Arc::clone(&refusals).try_acquire_owned() {
                connections.spawn(async move {
                    server.refuse(stream, Refusal::TooManyConnections, None).await;
                    drop(slot);
                });
            }
        }
        drop(listener);
        server.stop(&connections).await
    }
}

/// A router at work.
struct Server {
    identity: Identity,
    limits: Limits,
    routes: BTreeMap<u16, Route>,
    uids: Vec<u32>,
    running: Arc<Running>,
}

impl Server {
    fn new(router: Router) -> Self {
        let Router {
            identity,
            limits,
            routes,
        } = router;
        let mut uids = limits.uids.clone();
        uids.extend(crate::callers::allowed());
        let running = Running {
            permits: Arc::new(Semaphore::new(limits.running)),
            handlers: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            abandon: CancellationToken::new(),
            in_flight: limits.in_flight,
            frame_timeout: limits.frame_timeout,
        };
        Self {
            identity,
            limits,
            routes,
            uids,
            running: Arc::new(running),
        }
    }

    async fn connection(&self, mut stream: Stream) {
        let peer = match stream.peer_creds().map(|creds| creds.euid()) {
            Ok(Some(uid)) if self.uids.contains(&uid) => uid,
            Ok(uid) => {
                tracing::warn!(?uid, "refused a connection of a foreign user");
                return self.refuse(stream, Refusal::PeerNotAllowed, None).await;
            }
            Err(cause) => {
                tracing::warn!(error = %cause, "refused a connection whose user cannot be read");
                return self.refuse(stream, Refusal::PeerNotAllowed, None).await;
            }
        };
        let hello = match self.hello(&mut stream).await {
            Ok(hello) => hello,
            Err(cause) => {
                tracing::debug!(peer, error = %cause, "a connection ended in its preamble");
                return;
            }
        };
        let (route, version) = match self.negotiate(&hello) {
            Ok(chosen) => chosen,
            Err((refusal, versions)) => {
                if let Ok(hello) = hello {
                    tracing::warn!(
                        peer,
                        role = Role::name(hello.role),
                        build = %hello.build,
                        contract = hello.contract,
                        versions = %hello.versions,
                        reason = ?refusal,
                        "refused a connection; do all processes run the same build?"
                    );
                }
                return self.refuse(stream, refusal, versions).await;
            }
        };
        let answer = Answer::new(self.identity, Ok(version), Some(route.versions));
        if self.answer(&mut stream, answer).await.is_ok() {
            tracing::debug!(peer, contract = route.name, version, "a connection is open");
            (route.serve)(stream, Arc::clone(&self.running)).await;
        }
    }

    /// The client's half; an error means that there is nobody to answer.
    async fn hello(&self, stream: &mut Stream) -> io::Result<Result<Hello, Refusal>> {
        tokio::select! {
            biased;
            () = self.running.stop.cancelled() => Ok(Err(Refusal::Draining)),
            read = tokio::time::timeout(self.limits.preamble_timeout, preamble::read(stream)) => {
                Ok(Hello::decode(&read??))
            }
        }
    }

    fn negotiate(&self, hello: &Result<Hello, Refusal>) -> Result<(&Route, u16), (Refusal, Option<VersionRange>)> {
        let hello = hello.as_ref().map_err(|refusal| (*refusal, None))?;
        let route = self
            .routes
            .get(&hello.contract)
            .ok_or((Refusal::UnknownContract, None))?;
        match route.versions.common(hello.versions) {
            Some(version) => Ok((route, version)),
            None => Err((Refusal::NoCommonVersion, Some(route.versions))),
        }
    }

    async fn refuse(&self, mut stream: Stream, refusal: Refusal, versions: Option<VersionRange>) {
        let answer = Answer::new(self.identity, Err(refusal), versions);
        if let Err(cause) = self.answer(&mut stream, answer).await {
            tracing::debug!(error = %cause, "a refused peer did not wait for the reason");
        }
    }

    async fn answer(&self, stream: &mut Stream, answer: Answer) -> io::Result<()> {
        tokio::time::timeout(self.limits.preamble_timeout, preamble::write(stream, answer.encode())).await?
    }

    async fn stop(&self, connections: &TaskTracker) -> Stopped {
        let running = &self.running;
        running.stop.cancel();
        connections.close();
        running.handlers.close();
        let finished = async {
            running.handlers.wait().await;
            connections.wait().await;
        };
        let unfinished = match tokio::time::timeout(self.limits.stop_grace, finished).await {
            Ok(()) => 0,
            Err(_) => {
                let unfinished = running.handlers.len();
                running.cut_off.cancel();
                // A caller that does not read is not waited for.
                let _ = tokio::time::timeout(bounds::LAST_ANSWER, connections.wait()).await;
                unfinished
            }
        };
        running.abandon.cancel();
        connections.wait().await;
        Stopped { unfinished }
    }
}
