//! Stating the desired state to trigger-svc: after every change, and again after every reconnect.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::trigger_feed::{Route, TriggerFeedClient, WatchSet};
use wavs_ipc::{ErrorCode, Json, Reconnecting, WireError};
use wavs_store::Durability;

use super::directory::Directory;
use crate::clock;
use crate::ledger::{Ledger, meta};

/// How long a step waits for the confirmation of its generation.
const PUSH_WAIT: Duration = Duration::from_secs(15);
/// Deadline of one `sync`.
const SYNC_DEADLINE: Duration = Duration::from_secs(10);
/// Shortest and longest rest after a failed `sync`.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Announces generations and waits for their confirmation. Clones share it.
#[derive(Clone)]
pub struct Watch {
    wanted: Sender<u64>,
    confirmed: Receiver<Confirmed>,
}

/// How far trigger-svc is.
#[derive(Debug, Clone, Default)]
struct Confirmed {
    generation: u64,
    /// Why the last `sync` failed.
    failed: Option<Failed>,
}

/// A `sync` that failed.
#[derive(Debug, Clone)]
struct Failed {
    /// The generation that was to be stated; what is wrong with it says nothing about a later one.
    generation: u64,
    error: WireError,
}

/// The task behind a [`Watch`].
pub struct Pusher {
    wanted: Receiver<u64>,
    confirmed: Sender<Confirmed>,
}

/// A watch and its task.
#[must_use]
pub fn pair() -> (Watch, Pusher) {
    let (wanted, wanted_receiver) = channel(0);
    let (confirmed_sender, confirmed) = channel(Confirmed::default());
    (
        Watch { wanted, confirmed },
        Pusher {
            wanted: wanted_receiver,
            confirmed: confirmed_sender,
        },
    )
}

impl Watch {
    /// Says that the desired state has a new generation.
    pub fn announce(&self, generation: u64) {
        self.wanted.send_if_modified(|wanted| {
            let newer = generation > *wanted;
            *wanted = generation.max(*wanted);
            newer
        });
    }

    /// Follows the generations.
    #[must_use]
    pub fn generations(&self) -> Receiver<u64> {
        self.wanted.subscribe()
    }

    /// Announces a generation and waits until trigger-svc has it.
    ///
    /// # Errors
    /// The last failure, when it is refused for good or not confirmed in time.
    pub async fn push(&self, generation: u64) -> Result<(), WireError> {
        self.announce(generation);
        let mut confirmed = self.confirmed.clone();
        confirmed.mark_changed();
        let wait = async {
            loop {
                if confirmed.changed().await.is_err() {
                    return Err(WireError::backoff(ErrorCode::Draining, "the process is stopping"));
                }
                let state = confirmed.borrow_and_update().clone();
                if state.generation >= generation {
                    return Ok(());
                }
                let is_refused =
                    |failed: &Failed| failed.generation >= generation && failed.error.code == ErrorCode::Invalid;
                if let Some(failed) = state.failed.filter(is_refused) {
                    return Err(failed.error);
                }
            }
        };
        tokio::time::timeout(PUSH_WAIT, wait).await.unwrap_or_else(|_| {
            let cause = self
                .confirmed
                .borrow()
                .failed
                .as_ref()
                .map_or_else(|| "no answer".to_owned(), |failed| failed.error.to_string());
            Err(WireError::backoff(
                ErrorCode::Unavailable,
                format!("trigger-svc did not take the new triggers over: {cause}"),
            ))
        })
    }
}

impl Pusher {
    /// Keeps trigger-svc at the desired state until `stop`.
    pub async fn run(
        mut self,
        directory: Arc<Directory>,
        ledger: Ledger,
        feed: Reconnecting<TriggerFeedClient>,
        stop: CancellationToken,
    ) {
        let _ = stop
            .run_until_cancelled(self.push_all(&directory, &ledger, &feed))
            .await;
    }

    async fn push_all(&mut self, directory: &Directory, ledger: &Ledger, feed: &Reconnecting<TriggerFeedClient>) {
        let mut connected = feed.connected();
        let mut rest = REST.0;
        loop {
            // Seen before the call: a connection that is made for it, or after it, is no reason to send again, any other is.
            self.wanted.mark_unchanged();
            match self.sync(directory, ledger, feed).await {
                Ok(generation) => {
                    rest = REST.0;
                    self.confirmed.send_replace(Confirmed {
                        generation,
                        failed: None,
                    });
                    connected.mark_unchanged();
                    let changed = tokio::select! {
                        changed = self.wanted.changed() => changed,
                        changed = connected.changed() => changed,
                    };
                    if changed.is_err() {
                        return;
                    }
                }
                Err(failed) => {
                    tracing::debug!(error = %failed.error, "the desired state could not be stated to trigger-svc; trying again");
                    self.confirmed.send_modify(|confirmed| confirmed.failed = Some(failed));
                    tokio::select! {
                        () = tokio::time::sleep(rest) => {}
                        _ = self.wanted.changed() => {}
                    }
                    rest = (rest * 2).min(REST.1);
                }
            }
        }
    }

    async fn sync(
        &self,
        directory: &Directory,
        ledger: &Ledger,
        feed: &Reconnecting<TriggerFeedClient>,
    ) -> Result<u64, Failed> {
        // The generation first: a later change of the directory then only makes the set newer than its number says.
        let read = ledger.read(meta::generation).await.map_err(super::ledger_failed);
        let generation = read.map_err(|error| Failed { generation: 0, error })?;
        let stated = state(directory, ledger, feed, generation).await;
        stated.map_err(|error| Failed { generation, error })?;
        Ok(generation)
    }
}

async fn state(
    directory: &Directory,
    ledger: &Ledger,
    feed: &Reconnecting<TriggerFeedClient>,
    generation: u64,
) -> Result<(), WireError> {
    let set = watch_set(directory, generation)?;
    let result = feed
        .call(SYNC_DEADLINE, |client, cx| async move { client.sync(cx, set).await })
        .await;
    if result.as_ref().is_err_and(|error| error.code == ErrorCode::Conflict) {
        // trigger-svc knows a later generation: this ledger was restored from a copy. Leap past it.
        let leap = |tx: &rusqlite::Transaction<'_>| meta::raise_generation(tx, clock::now_ms());
        let leapt = ledger.write(Durability::Process, leap).await;
        leapt.map_err(super::ledger_failed)?;
    }
    result
}

/// Everything that trigger-svc is to do.
fn watch_set(directory: &Directory, generation: u64) -> Result<WatchSet, WireError> {
    let services = directory.services();
    let mut routes = Vec::new();
    for entry in services.values() {
        let active = !entry.is_paused();
        for (workflow_id, workflow) in &entry.service().workflows {
            let trigger = Json::encode(&workflow.trigger)?;
            routes.push(Route {
                service_id: entry.id(),
                workflow_id: workflow_id.clone(),
                trigger,
                active,
            });
        }
    }
    Ok(WatchSet {
        generation,
        chains: directory
            .chains()
            .iter()
            .map(|(key, chain)| (key.clone(), chain.encoded.clone()))
            .collect(),
        routes,
        managers: services
            .values()
            .map(|entry| (entry.id(), entry.row.manager.clone()))
            .collect(),
    })
}
