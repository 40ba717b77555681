//! The connections to other nodes and what flows over them.
//!
//! One task owns the swarm ([`task`]); everybody else talks to it through a [`Network`] handle. Records that come in are
//! judged ([`records`]), stored by a keeper task and only then visible to aggregator-svc; what was missed is asked for
//! ([`exchange`]). [`peers`] keeps what is known of each peer, [`dial`] when to try whom again, [`discovery`] finds more.

mod address;
mod behaviour;
mod dial;
mod discovery;
mod exchange;
mod gossip;
mod peers;
mod records;
mod status;
mod task;

pub(crate) use dial::Dialler;
pub(crate) use task::now_ms;

use std::sync::Arc;

use libp2p::PeerId;
use libp2p::identity::Keypair;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::p2p_admin::{NetworkStatus, PeerView};
use wavs_types::{B256, EventId, EvmAddress, ServiceId, SignedRecord};

use crate::members::Members;
use crate::metrics::NetworkMetrics;
use crate::settings::Settings;
use crate::store::Store;

/// Commands that wait for the task. When it is full, callers wait.
const COMMANDS: usize = 256;

/// Asks the task for something.
enum Command {
    Sync(Members, oneshot::Sender<()>),
    Publish(SignedRecord),
    Retire(ServiceId, Vec<EventId>),
    Blame(B256),
    Body(ServiceId, B256, oneshot::Sender<Vec<u8>>),
    Status(oneshot::Sender<NetworkStatus>),
    Peers(oneshot::Sender<Vec<PeerView>>),
    /// Says anything on a topic, as a hostile node would.
    #[cfg(test)]
    Inject(libp2p::gossipsub::TopicHash, Vec<u8>),
}

/// The network, for everybody but its task. Clones share it.
#[derive(Clone)]
pub struct Network {
    commands: mpsc::Sender<Command>,
    unknown: watch::Receiver<Vec<(ServiceId, EvmAddress)>>,
    local: PeerId,
}

/// The task has ended, so the process is about to.
#[derive(Debug, thiserror::Error)]
#[error("the network is stopping")]
pub struct Stopping;

/// Listens, and runs the network until `stop`.
///
/// # Errors
/// When a required address cannot be listened on, or the store cannot be read.
pub async fn start(
    settings: Settings,
    keys: Keypair,
    store: Store,
    metrics: Arc<NetworkMetrics>,
    stop: CancellationToken,
) -> anyhow::Result<(Network, JoinHandle<anyhow::Result<()>>)> {
    let local = keys.public().to_peer_id();
    let (commands, received) = mpsc::channel(COMMANDS);
    let (unknown_sender, unknown) = watch::channel(Vec::new());
    let swarm = behaviour::swarm(keys, &settings)?;
    let task = task::Task::new(swarm, settings, store, metrics, unknown_sender).await?;
    let task = tokio::spawn(task.run(received, stop));
    let network = Network {
        commands,
        unknown,
        local,
    };
    Ok((network, task))
}

impl Network {
    /// The node's peer id.
    #[must_use]
    pub fn local(&self) -> PeerId {
        self.local
    }

    /// Authors of well-formed records whose standing is not known.
    #[must_use]
    pub fn unknown(&self) -> watch::Receiver<Vec<(ServiceId, EvmAddress)>> {
        self.unknown.clone()
    }

    /// Joins and leaves topics, and knows these operators from now on. The answer means that it is done.
    ///
    /// # Errors
    /// When the network is stopping, as for all commands.
    pub async fn sync(&self, members: Members) -> Result<(), Stopping> {
        let (sender, done) = oneshot::channel();
        self.send(Command::Sync(members, sender)).await?;
        done.await.map_err(|_| Stopping)
    }

    /// Sends a record of our own, which is in the store already.
    ///
    /// # Errors
    /// When the network is stopping.
    pub async fn publish(&self, record: SignedRecord) -> Result<(), Stopping> {
        self.send(Command::Publish(record)).await
    }

    /// Ignores attestations of these events from now on.
    ///
    /// # Errors
    /// When the network is stopping.
    pub async fn retire(&self, service: ServiceId, events: Vec<EventId>) -> Result<(), Stopping> {
        self.send(Command::Retire(service, events)).await
    }

    /// Blames those who sent a record lately.
    ///
    /// # Errors
    /// When the network is stopping.
    pub async fn blame(&self, record: B256) -> Result<(), Stopping> {
        self.send(Command::Blame(record)).await
    }

    /// Asks peers for a body; none when nobody has it.
    ///
    /// # Errors
    /// When the network is stopping.
    pub async fn body(&self, service: ServiceId, digest: B256) -> Result<Option<Vec<u8>>, Stopping> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Body(service, digest, sender)).await?;
        Ok(receiver.await.ok())
    }

    /// The state of the network.
    ///
    /// # Errors
    /// When the network is stopping.
    pub async fn status(&self) -> Result<NetworkStatus, Stopping> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Status(sender)).await?;
        receiver.await.map_err(|_| Stopping)
    }

    /// The peers.
    ///
    /// # Errors
    /// When the network is stopping.
    pub async fn peers(&self) -> Result<Vec<PeerView>, Stopping> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Peers(sender)).await?;
        receiver.await.map_err(|_| Stopping)
    }

    #[cfg(test)]
    pub(crate) async fn inject(&self, topic: libp2p::gossipsub::TopicHash, bytes: Vec<u8>) -> Result<(), Stopping> {
        self.send(Command::Inject(topic, bytes)).await
    }

    async fn send(&self, command: Command) -> Result<(), Stopping> {
        self.commands.send(command).await.map_err(|_| Stopping)
    }
}

#[cfg(test)]
mod tests;
