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
    error: Option<WireError>,
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
                if let Some(error) = state.error.filter(|error| error.code == ErrorCode::Invalid) {
                    return Err(error);
                }
            }
        };
        tokio::time::timeout(PUSH_WAIT, wait).await.unwrap_or_else(|_| {
            let cause = self
                .confirmed
                .borrow()
                .error
                .as_ref()
                .map_or_else(|| "no answer".to_owned(), ToString::to_string);
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
                        error: None,
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
                Err(error) => {
                    tracing::debug!(%error, "the desired state could not be stated to trigger-svc; trying again");
                    self.confirmed.send_modify(|confirmed| confirmed.error = Some(error));
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
    ) -> Result<u64, WireError> {
        // The generation first: a later change of the directory then only makes the set newer than its number says.
        let generation = ledger.read(meta::generation).await.map_err(super::ledger_failed)?;
        let set = watch_set(directory, generation)?;
        let result = feed
            .call(SYNC_DEADLINE, |client, cx| async move { client.sync(cx, set).await })
            .await;
        match result {
            Err(error) if error.code == ErrorCode::Conflict => {
                // trigger-svc knows a later generation: this ledger was restored from a copy. Leap past it.
                let leap = |tx: &rusqlite::Transaction<'_>| meta::raise_generation(tx, clock::now_ms());
                ledger
                    .write(Durability::Process, leap)
                    .await
                    .map_err(super::ledger_failed)?;
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(generation),
        }
    }
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
