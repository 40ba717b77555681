//! The other operators of a service: tell them what this node signed, take what they signed, and share the posting.
//!
//! Out: [`announce`] makes a record of each signature and each landing and hands it to p2p-svc until it is there. In:
//! [`inbox`] pulls records, checks them against the [`operators`] and moves signatures into their buckets; those whose
//! envelope this node does not know are parked until [`bodies`] has fetched it. [`topics`] keeps p2p-svc told who is an
//! operator, and [`lookups`] asks the chain about those who are not known. [`stage`] decides when it is this node's turn to post, by the order of [`order`], and [`notices`] checks on
//! chain what others say has landed. p2p-svc is never believed: every record is verified here again.

pub mod announce;
pub mod bodies;
pub mod inbox;
pub mod lookups;
pub mod notices;
pub mod operators;
pub mod order;
mod said;
pub mod stage;
pub mod topics;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch::{Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wavs_ipc::contract::gossip::GossipClient;
use wavs_ipc::{Identity, Reconnecting, Role};

use wavs_types::ServiceId;

use crate::pipeline::core::Core;
use lookups::Lookups;
use operators::Operators;

/// How long the add of a service waits for its topic. Without p2p-svc it is joined when that process is back.
const JOIN_WAIT: Duration = Duration::from_secs(5);

/// The link to the network, shared by all stages. Without a network it does nothing.
pub struct Peers {
    gossip: Option<Reconnecting<GossipClient>>,
    /// Who is an operator of what.
    pub operators: Operators,
    /// Whom the chain is to be asked about.
    lookups: Lookups,
    /// The services whose topics p2p-svc has joined.
    joined: Sender<BTreeSet<ServiceId>>,
    /// There is news for the network.
    news: Notify,
    /// An envelope is wanted.
    wanted: Notify,
    /// The table of operators has changed.
    changed: Notify,
}

impl Peers {
    /// A link to p2p-svc at `socket`; none: there is no network.
    #[must_use]
    pub fn new(socket: Option<PathBuf>) -> Self {
        Self {
            gossip: socket.map(|socket| Reconnecting::new(socket, Identity::new(Role::Aggregator))),
            operators: Operators::default(),
            lookups: Lookups::default(),
            joined: Sender::default(),
            news: Notify::new(),
            wanted: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// Whether there is a network.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.gossip.is_some()
    }

    /// There may be news to tell, or events that are over.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// This node speaks for another key now.
    pub fn rekeyed(&self) {
        self.changed.notify_one();
    }

    /// There is news of the manager of a service, perhaps a new operator.
    pub fn manager_changed(&self, service: &ServiceId) {
        self.operators.recheck(service);
        self.changed.notify_one();
    }

    /// Waits for a moment until the topic of a service is joined, so that nothing is said to nobody. A network that does not
    /// answer holds nothing up: the topic is joined when it does.
    pub async fn join(&self, service: &ServiceId) {
        if !self.enabled() {
            return;
        }
        let mut joined = self.joined.subscribe();
        let wait = joined.wait_for(|joined| joined.contains(service));
        if tokio::time::timeout(JOIN_WAIT, wait).await.is_err() {
            tracing::warn!(service_id = %service, "p2p-svc has not joined the topic of the service yet; it does when it answers");
        }
    }

    /// Starts the tasks that keep network and ledger together. `services` changes with the registry.
    pub fn start(core: &Arc<Core>, services: Receiver<u64>, tasks: &TaskTracker, stop: &CancellationToken) {
        let Some(gossip) = core.peers.gossip.clone() else {
            return;
        };
        tasks.spawn(topics::run(Arc::clone(core), gossip.clone(), services, stop.clone()));
        tasks.spawn(announce::run(Arc::clone(core), gossip.clone(), stop.clone()));
        tasks.spawn(inbox::run(Arc::clone(core), gossip.clone(), stop.clone()));
        tasks.spawn(bodies::run(Arc::clone(core), gossip, stop.clone()));
        tasks.spawn(lookups::run(Arc::clone(core), stop.clone()));
        tasks.spawn(operators::refresh(Arc::clone(core), stop.clone()));
    }
}
