//! A small contract, a server of it on a real socket, and raw connections to annoy that server with.

// Each test binary uses its own part of this module.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wavs_ipc::preamble::{self, Answer, Hello};
use wavs_ipc::{
    Context, Contract, ErrorCode, Identity, Limits, Reconnecting, Role, Router, Stopped, WireError, contract, handler,
    socket,
};

/// Longer than anything here takes; only a failing test waits so long.
pub const LONG: Duration = Duration::from_secs(20);

#[tarpc::service]
pub trait Probe {
    async fn echo(text: String) -> Result<String, WireError>;
    async fn blob(size: u32) -> Result<Vec<u8>, WireError>;
    async fn swallow(blob: Vec<u8>) -> Result<u32, WireError>;
    async fn panic() -> Result<(), WireError>;
    async fn fail(detail: String) -> Result<(), WireError>;
    async fn block() -> Result<(), WireError>;
}

contract!(60_001, "Probe", 1..=1, ProbeClient, ProbeRequest, ProbeResponse);

/// The same contract as a later build would speak it.
#[tarpc::service]
pub trait Newer {
    async fn echo(text: String) -> Result<String, WireError>;
}

contract!(60_001, "Probe", 2..=3, NewerClient, NewerRequest, NewerResponse);

/// A contract that the server does not have.
#[tarpc::service]
pub trait Foreign {
    async fn echo(text: String) -> Result<String, WireError>;
}

contract!(60_002, "Foreign", 1..=1, ForeignClient, ForeignRequest, ForeignResponse);

#[derive(Clone)]
pub struct ProbeServer {
    /// Each permit lets one `block` finish.
    pub gate: Arc<Semaphore>,
    /// How many `block`s have begun and have finished.
    pub begun: watch::Sender<u32>,
    pub finished: watch::Sender<u32>,
}

impl ProbeServer {
    fn new() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            begun: watch::Sender::new(0),
            finished: watch::Sender::new(0),
        }
    }
}

impl Probe for ProbeServer {
    async fn echo(self, _: Context, text: String) -> Result<String, WireError> {
        Ok(text)
    }

    async fn blob(self, _: Context, size: u32) -> Result<Vec<u8>, WireError> {
        Ok(vec![7; size as usize])
    }

    async fn swallow(self, _: Context, blob: Vec<u8>) -> Result<u32, WireError> {
        Ok(u32::try_from(blob.len()).unwrap())
    }

    async fn panic(self, _: Context) -> Result<(), WireError> {
        panic!("asked to")
    }

    async fn fail(self, _: Context, detail: String) -> Result<(), WireError> {
        Err(WireError::never(ErrorCode::Conflict, detail))
    }

    async fn block(self, _: Context) -> Result<(), WireError> {
        self.begun.send_modify(|count| *count += 1);
        self.gate.acquire().await.unwrap().forget();
        self.finished.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// A running server.
pub struct Harness {
    directory: TempDir,
    pub path: PathBuf,
    pub probe: ProbeServer,
    stop: CancellationToken,
    task: JoinHandle<Stopped>,
}

impl Harness {
    pub fn start(limits: Limits) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), limits)
    }

    pub fn start_in(directory: TempDir, limits: Limits) -> Self {
        let path = directory.path().join("run/rpc.sock");
        let probe = ProbeServer::new();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(socket::bind(&path).unwrap(), probe.clone(), limits, stop.clone()));
        Self {
            directory,
            path,
            probe,
            stop,
            task,
        }
    }

    /// What is left of a server whose runtime is gone.
    pub fn remains(self) -> TempDir {
        self.directory
    }

    pub fn client(&self) -> Reconnecting<ProbeClient> {
        client_of(&self.path)
    }

    /// A client whose connection stands already.
    pub async fn good_client(&self) -> Reconnecting<ProbeClient> {
        let client = self.client();
        assert_works(&client).await;
        client
    }

    pub async fn raw(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// A connection that has its preamble behind it.
    pub async fn raw_open(&self) -> UnixStream {
        let mut stream = self.raw().await;
        stream.write_all(&hello().encode()).await.unwrap();
        assert_eq!(answer(&mut stream).await.verdict, Ok(1));
        stream
    }

    /// Asks the server to stop and keeps the directory.
    pub async fn stop(self) -> (Stopped, TempDir) {
        self.stop.cancel();
        (within(self.task).await.unwrap(), self.directory)
    }

    pub fn begin_stop(&self) {
        self.stop.cancel();
    }
}

pub async fn serve(listener: socket::Listener, probe: ProbeServer, limits: Limits, stop: CancellationToken) -> Stopped {
    Router::new(identity())
        .limits(limits)
        .serve::<ProbeClient, _, _>(handler!(Probe, probe))
        .run(listener, stop.cancelled_owned())
        .await
}

pub fn new_probe() -> ProbeServer {
    ProbeServer::new()
}

pub fn identity() -> Identity {
    Identity::new(Role::Tool)
}

pub fn hello() -> Hello {
    Hello::new(identity(), ProbeClient::ID, ProbeClient::VERSIONS)
}

pub fn client_of(path: &Path) -> Reconnecting<ProbeClient> {
    Reconnecting::new(path, identity())
}

pub async fn echo(client: &Reconnecting<ProbeClient>, text: &str) -> Result<String, WireError> {
    client
        .call(LONG, async |client, context| {
            client.echo(context, text.to_owned()).await
        })
        .await
}

pub async fn block(client: Reconnecting<ProbeClient>) -> Result<(), WireError> {
    client
        .call(LONG, async |client, context| client.block(context).await)
        .await
}

pub async fn assert_works(client: &Reconnecting<ProbeClient>) {
    assert_eq!(echo(client, "still here").await.unwrap(), "still here");
    assert_eq!(*client.connected().borrow(), 1, "on its first connection still");
}

/// The server's half of the preamble.
pub async fn answer(stream: &mut UnixStream) -> Answer {
    let mut bytes = [0; preamble::LEN];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    Answer::decode(&bytes).unwrap()
}

/// Waits until the server has closed `stream`, and returns how many bytes came before that.
pub async fn ended(mut stream: UnixStream) -> usize {
    let mut bytes = Vec::new();
    // A reset means that the server closed without reading everything, which is an end as well.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    bytes.len()
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future)
        .await
        .expect("nothing here takes so long")
}

pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

pub async fn wait_for(watched: &watch::Sender<u32>, count: u32) {
    within(watched.subscribe().wait_for(|seen| *seen >= count))
        .await
        .unwrap();
}
