//! The handle of the bridge, and the loop that starts its task again whatever ended it: nobody who uses the handle waits for
//! the bridge or fails with it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::p2p_admin::PeerView;
use wavs_types::{EventId, EvmAddress, ServiceId, SignedRecord};

use super::message::{self, MessageError};
use super::settings::BridgeSettings;
use super::task::Task;
use crate::members::Members;
use crate::metrics::NetworkMetrics;
use crate::store::Store;

/// Batches of events that are over and wait for the task. When it is full a batch is not told: the events are offered until
/// they are too old, and the store takes nothing about them.
const RETIRED: usize = 1_024;
/// First and longest rest before a bridge that has ended is started again.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// A bridge that ran for so long starts over with the first rest.
const STEADY: Duration = Duration::from_secs(60);

/// The bridge, for everybody but its task. Clones share it.
#[derive(Clone)]
pub struct Bridge {
    settings: Arc<BridgeSettings>,
    members: watch::Sender<Members>,
    retired: mpsc::Sender<(ServiceId, Vec<EventId>)>,
    unknown: watch::Receiver<Vec<(ServiceId, EvmAddress)>>,
    peers: watch::Receiver<Vec<PeerView>>,
}

/// The other ends, which outlive a task.
pub(super) struct Links {
    /// Topics and operators.
    pub(super) members: watch::Receiver<Members>,
    /// Events that are over.
    pub(super) retired: mpsc::Receiver<(ServiceId, Vec<EventId>)>,
    /// Authors to look up.
    pub(super) unknown: watch::Sender<Vec<(ServiceId, EvmAddress)>>,
    /// The peers as people see them.
    pub(super) peers: watch::Sender<Vec<PeerView>>,
    /// Ends everything.
    pub(super) stop: CancellationToken,
}

impl Bridge {
    /// Runs a bridge until `stop`, beginning anew when it fails.
    #[must_use]
    pub fn start(
        settings: BridgeSettings,
        store: Store,
        metrics: Arc<NetworkMetrics>,
        stop: CancellationToken,
    ) -> Self {
        let settings = Arc::new(settings);
        let (members, members_seen) = watch::channel(Members::default());
        let (retired, retired_seen) = mpsc::channel(RETIRED);
        let (unknown, unknown_seen) = watch::channel(Vec::new());
        let (peers, peers_seen) = watch::channel(Vec::new());
        let links = Links {
            members: members_seen,
            retired: retired_seen,
            unknown,
            peers,
            stop,
        };
        tokio::spawn(keep_running(Arc::clone(&settings), store, metrics, links));
        Self {
            settings,
            members,
            retired,
            unknown: unknown_seen,
            peers: peers_seen,
        }
    }

    /// Takes part for the services of `members` that the configuration lists.
    pub fn sync(&self, members: Members) {
        self.members.send_replace(members);
    }

    /// Whether a record of ours can be sent, as far as its service is bridged.
    ///
    /// # Errors
    /// When it is too large for this generation.
    pub fn check(&self, record: &SignedRecord, body: &[u8]) -> Result<(), MessageError> {
        if !self.settings.bridges(&record.record().service_id) {
            return Ok(());
        }
        message::of_record(record, body).map(drop)
    }

    /// These events are over: do not offer them any more.
    pub fn retire(&self, service: ServiceId, events: Vec<EventId>) {
        if self.retired.try_send((service, events)).is_err() {
            tracing::debug!(service_id = %service, "the bridge is busy; events that are over are offered a little longer");
        }
    }

    /// Authors of submissions whose standing is not known.
    #[must_use]
    pub fn unknown(&self) -> watch::Receiver<Vec<(ServiceId, EvmAddress)>> {
        self.unknown.clone()
    }

    /// The connected peers and those that were turned away.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        self.peers.borrow().clone()
    }
}

async fn keep_running(settings: Arc<BridgeSettings>, store: Store, metrics: Arc<NetworkMetrics>, mut links: Links) {
    let mut rest = REST.0;
    while !links.stop.is_cancelled() {
        let began = Instant::now();
        let running = run_once(&settings, &store, &metrics, &mut links);
        match AssertUnwindSafe(running).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(
                error = format!("{error:#}"),
                ?rest,
                "the bridge to nodes of generation 1 does not run; it is started again, and our own network goes on"
            ),
            Err(_) => tracing::error!(
                ?rest,
                "the bridge to nodes of generation 1 has panicked; it is started again, and our own network goes on"
            ),
        }
        metrics.messages.with(&["bridge", "restarted"]).inc();
        links.peers.send_replace(Vec::new());
        if began.elapsed() > STEADY {
            rest = REST.0;
        }
        let stop = links.stop.clone();
        let _: Option<()> = stop.run_until_cancelled(tokio::time::sleep(rest)).await;
        rest = (rest * 2).min(REST.1);
    }
}

async fn run_once(
    settings: &Arc<BridgeSettings>,
    store: &Store,
    metrics: &Arc<NetworkMetrics>,
    links: &mut Links,
) -> anyhow::Result<()> {
    let task = Task::new(Arc::clone(settings), store.clone(), Arc::clone(metrics)).await?;
    task.run(links).await;
    Ok(())
}
