//! A proxy before a chain's RPC endpoint that breaks in known ways, for HTTP and WebSocket on one port.
//!
//! A connection passes two layers: [`wire`] treats its bytes (delays, cuts and spoils them), [`relay`] its messages (refuses
//! requests, answers in the chain's place). The fault is switched at any time for all connections, those that are open
//! included, or for the next one only. [`Proxy::struck`] waits until a fault has had an effect, so that no test must guess.

mod relay;
mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Connections that are served at once; one beyond it waits in the backlog of the port.
const MAX_CONNECTIONS: usize = 256;
/// Connections for which a fault of their own can be noted in advance.
const MAX_NOTED: usize = 64;

/// What happens to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// What the chain sends arrives this much later.
    Delay(Duration),
    /// The connection is reset, now if it is open, and as soon as it is accepted otherwise.
    Drop,
    /// The connection stays open and nothing comes through any more, in either direction and for good: what was swallowed is
    /// missing afterwards.
    HalfOpen,
    /// Bytes without meaning come in place of what the chain sends.
    Garbage,
    /// Half of the chain's next bytes arrive, then the connection is reset.
    Truncate,
    /// Each HTTP request and each WebSocket handshake is answered with status 429. An open WebSocket is closed.
    TooManyRequests,
    /// Requests are answered with a JSON-RPC error; the others pass.
    RpcError {
        /// For example -32005, "limit exceeded".
        code: i64,
        /// The text beside it.
        message: String,
        /// The methods that it concerns; empty means all.
        methods: Vec<String>,
    },
    /// Requests over HTTP in which this text occurs get no answer as long as this is the fault; the others pass. So some calls hang,
    /// such as those to one contract.
    Withhold(String),
    /// `eth_chainId` is answered with this id; everything else passes.
    WrongChain(u64),
}

impl Fault {
    /// The JSON-RPC error with which providers refuse what exceeds a rate limit, for every method.
    #[must_use]
    pub fn limit_exceeded() -> Self {
        Self::RpcError {
            code: -32005,
            message: "daily request count exceeded, request rate limited".to_owned(),
            methods: Vec::new(),
        }
    }
}

/// A running proxy; it and its connections end when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    client: reqwest::Client,
    fault: watch::Sender<Fault>,
    noted: Mutex<VecDeque<Fault>>,
    struck: watch::Sender<u64>,
    accepted: watch::Sender<u64>,
    open: watch::Sender<usize>,
}

impl Shared {
    fn strike(&self) {
        self.struck.send_modify(|count| *count += 1);
    }
}

impl Proxy {
    /// Starts a proxy before a port of this machine, on a free port.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(upstream_port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: SocketAddr::from(([127, 0, 0, 1], upstream_port)),
            // A connection for each request, so that a chain that was restarted is noticed by nobody but the chain's clients.
            client: reqwest::Client::builder().pool_max_idle_per_host(0).build()?,
            fault: watch::Sender::new(Fault::Pass),
            noted: Mutex::default(),
            struck: watch::Sender::new(0),
            accepted: watch::Sender::new(0),
            open: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, task })
    }

    /// The HTTP endpoint.
    #[must_use]
    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The WebSocket endpoint.
    #[must_use]
    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// From now on every connection has this fault, also those that are open, unless it has one of its own.
    pub fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// The next connection has this fault for as long as it lasts. Several calls are for several connections. At most 64 can be
    /// noted; further ones are not.
    pub fn next(&self, fault: Fault) {
        let mut noted = self.shared.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MAX_NOTED {
            noted.push_back(fault);
        }
    }

    /// How many times a fault had an effect so far: a connection cut or spoiled, a request refused, bytes delayed or swallowed.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        *self.shared.struck.borrow()
    }

    /// Waits until faults had an effect more than `since` times.
    ///
    /// # Errors
    /// When they did not within `limit`.
    pub async fn struck(&self, since: u64, limit: Duration) -> Result<u64> {
        reached(&self.shared.struck, since, limit)
            .await
            .with_context(|| format!("no fault had an effect within {limit:?}"))
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        *self.shared.accepted.borrow()
    }

    /// Waits until more than `since` connections were accepted.
    ///
    /// # Errors
    /// When they were not within `limit`.
    pub async fn connected(&self, since: u64, limit: Duration) -> Result<u64> {
        reached(&self.shared.accepted, since, limit)
            .await
            .with_context(|| format!("nobody connected within {limit:?}"))
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        *self.shared.open.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reached(count: &watch::Sender<u64>, since: u64, limit: Duration) -> Result<u64> {
    let mut counts = count.subscribe();
    let reached = tokio::time::timeout(limit, counts.wait_for(|count| *count > since)).await;
    Ok(*reached??)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Aborted with this task, because they are dropped with it.
    let mut connections = JoinSet::new();
    while let Ok(permit) = permits.clone().acquire_owned().await {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        let own = shared.noted.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let fault = own.map_or_else(
            || shared.fault.subscribe(),
            // Its sender is gone, so this value stays.
            |own| watch::Sender::new(own).subscribe(),
        );
        shared.accepted.send_modify(|count| *count += 1);
        let shared = shared.clone();
        connections.spawn(async move {
            shared.open.send_modify(|count| *count += 1);
            wire::serve(client, fault, &shared).await;
            shared.open.send_modify(|count| *count -= 1);
            drop(permit);
        });
    }
}
