//! Following the service URI of a manager: on its event, on request, and from time to time.
//!
//! The old version runs until the new one is prepared; the switch is one commit. A failed update leaves the service
//! `degraded` under its old version and is tried again with a doubling delay.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::registry::ServiceSummary;
use wavs_ipc::{ErrorCode, WireError};
use wavs_store::Durability;
use wavs_types::ServiceId;

use super::directory::Entry;
use super::{Registry, components, ledger_failed, view};
use crate::clock;
use crate::ledger::history::{self, Actor, Note};
use crate::ledger::services::Phase;
use crate::ledger::{blame, meta, services};
use crate::pipeline::backoff::Backoff;
use crate::pipeline::intake::UriNotice;
use crate::pipeline::quarantine;

/// Updates that run at once.
const PARALLEL: usize = 10;
/// Wait when another step of the service runs.
const BUSY_REST: Duration = Duration::from_secs(2);

impl Registry {
    /// Reads the service URI and updates if the document changed.
    ///
    /// # Errors
    /// When the service is not registered, another step runs, or the new document cannot be used.
    pub async fn refresh(&self, service_id: ServiceId) -> Result<ServiceSummary, WireError> {
        self.registered(&service_id)?;
        self.update(service_id, None, Actor::Api).await?;
        Ok(view::summary(&*self.registered(&service_id)?))
    }

    /// Updates a service from `uri`, or from what its manager names now.
    async fn update(&self, service_id: ServiceId, uri: Option<String>, actor: Actor) -> Result<(), WireError> {
        let _step = self.begin(service_id)?;
        let entry = self.registered(&service_id)?;
        if entry.row.phase == Phase::Pending {
            let text = format!("service {service_id} is still being added; try again when it is active");
            return Err(WireError::never(ErrorCode::Conflict, text));
        }
        let result = self.switch(&entry, uri, actor).await;
        if let Err(error) = &result {
            self.core().metrics.update_failures.inc();
            tracing::warn!(%service_id, %error, "the service could not be updated; the old version keeps running");
            self.note(&entry, Some(error.to_string()), actor).await?;
        }
        result
    }

    async fn switch(&self, entry: &Entry, uri: Option<String>, actor: Actor) -> Result<(), WireError> {
        let candidate = self.resolve(&entry.row.manager, uri).await?;
        if candidate.document.digest() == entry.digest() && candidate.uri == entry.row.uri {
            return match entry.row.reason {
                Some(_) => self.note(entry, None, actor).await,
                None => Ok(()),
            };
        }
        self.prepare(candidate.document.service()).await?;
        let mut row = self.row(entry.id()).await?;
        row.digest = candidate.document.digest();
        row.raw = candidate.document.raw().to_vec();
        row.uri = candidate.uri;
        row.warnings = candidate.warnings;
        row.reason = None;
        row.updated_ms = clock::now_ms();
        let (stored, old) = (row.clone(), entry.digest());
        let used = components::used(candidate.document.service());
        let generation = self
            .core()
            .ledger
            .write(Durability::Power, move |tx| {
                services::put(tx, &stored)?;
                blame::keep(tx, &stored.service_id, &used)?;
                let note = Note {
                    uri: stored.uri.clone(),
                    old: Some(old),
                    new: Some(stored.digest),
                    ..Note::new("updated", actor, "")
                };
                history::note(tx, &stored.service_id, &note, stored.updated_ms)?;
                meta::next_generation(tx)
            })
            .await
            .map_err(ledger_failed)?;
        tracing::info!(service_id = %entry.id(), old = %old, new = %row.digest, "service updated");
        let next = self.changed(entry, row, candidate.document)?;
        let (components, used) = (Arc::clone(&next.components), next.document.clone());
        self.directory().put(next);
        // Only now is nothing put down to the former components any more.
        components.update(used.service());
        quarantine::count(self.core());
        self.inner.watch.announce(generation);
        self.core().reload();
        Ok(())
    }

    /// Notes why the last update failed, or that it did not.
    async fn note(&self, entry: &Entry, reason: Option<String>, actor: Actor) -> Result<(), WireError> {
        let mut row = self.row(entry.id()).await?;
        if row.reason == reason {
            return Ok(());
        }
        row.reason = reason;
        let stored = row.clone();
        self.core()
            .ledger
            .write(Durability::Process, move |tx| {
                services::put(tx, &stored)?;
                if let Some(reason) = &stored.reason {
                    let note = Note {
                        uri: stored.uri.clone(),
                        old: Some(stored.digest),
                        ..Note::new("update-failed", actor, reason)
                    };
                    history::note(tx, &stored.service_id, &note, clock::now_ms())?;
                }
                Ok(())
            })
            .await
            .map_err(ledger_failed)?;
        self.directory().put(self.changed(entry, row, entry.document.clone())?);
        Ok(())
    }
}

/// The background task that updates services.
pub struct Updater {
    registry: Registry,
    notices: mpsc::Receiver<UriNotice>,
    /// At most one waiting update per service; a newer notice replaces an older one.
    waiting: BTreeMap<ServiceId, Waiting>,
    running: JoinSet<(ServiceId, Waiting, Result<(), WireError>)>,
    running_ids: HashSet<ServiceId>,
}

#[derive(Clone)]
struct Waiting {
    uri: Option<String>,
    attempt: u32,
    due: Instant,
}

impl Updater {
    /// Takes notices from `notices`.
    #[must_use]
    pub fn new(registry: Registry, notices: mpsc::Receiver<UriNotice>) -> Self {
        Self {
            registry,
            notices,
            waiting: BTreeMap::new(),
            running: JoinSet::new(),
            running_ids: HashSet::new(),
        }
    }

    /// Updates services until `stop`: on notices, and all that came from a URI at start and every `recheck`.
    pub async fn run(mut self, recheck: Duration, stop: CancellationToken) {
        let mut timer = tokio::time::interval(recheck.max(Duration::from_secs(1)));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.start_due();
            let due = self.next_due();
            tokio::select! {
                () = stop.cancelled() => return,
                notice = self.notices.recv() => match notice {
                    Some(UriNotice { service_id, uri }) => {
                        self.registry.keys_changed();
                        self.registry.core().peers.manager_changed(&service_id);
                        self.waiting.insert(service_id, Waiting { uri: Some(uri), attempt: 0, due: Instant::now() });
                    }
                    None => return,
                },
                _ = timer.tick() => self.recheck_all(),
                Some(ended) = self.running.join_next() => self.ended(ended),
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
        }
    }

    fn recheck_all(&mut self) {
        for entry in self
            .registry
            .directory()
            .services()
            .values()
            .filter(|entry| entry.row.uri.is_some() && entry.row.phase == Phase::Active)
        {
            self.waiting.entry(entry.id()).or_insert(Waiting {
                uri: None,
                attempt: 0,
                due: Instant::now(),
            });
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let startable = self
            .waiting
            .iter()
            .filter(|(id, _)| !self.running_ids.contains(*id))
            .map(|(_, waiting)| waiting.due);
        if self.running.len() < PARALLEL {
            startable.min()
        } else {
            None
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while self.running.len() < PARALLEL {
            let next = self
                .waiting
                .iter()
                .find(|(id, waiting)| waiting.due <= now && !self.running_ids.contains(*id));
            let Some(service_id) = next.map(|(id, _)| *id) else {
                return;
            };
            let Some(waiting) = self.waiting.remove(&service_id) else {
                return;
            };
            self.running_ids.insert(service_id);
            let registry = self.registry.clone();
            self.running.spawn(async move {
                let actor = if waiting.uri.is_some() {
                    Actor::Chain
                } else {
                    Actor::PeriodicCheck
                };
                let result = registry.update(service_id, waiting.uri.clone(), actor).await;
                (service_id, waiting, result)
            });
        }
    }

    fn ended(&mut self, ended: Result<(ServiceId, Waiting, Result<(), WireError>), tokio::task::JoinError>) {
        let (service_id, mut waiting, result) = match ended {
            Ok(ended) => ended,
            Err(cause) => {
                // The id went with the task: let all be startable again; the registry still keeps steps apart.
                tracing::error!(%cause, "an update panicked; the periodic check tries again");
                self.running_ids.clear();
                return;
            }
        };
        self.running_ids.remove(&service_id);
        let Err(error) = result else { return };
        if error.code == ErrorCode::NotFound && self.registry.directory().get(&service_id).is_none() {
            return;
        }
        let busy = error.code == ErrorCode::Conflict;
        waiting.attempt += u32::from(!busy);
        waiting.due = Instant::now()
            + if busy {
                BUSY_REST
            } else {
                Backoff::UPDATE.after(waiting.attempt)
            };
        // A newer notice that came meanwhile wins.
        self.waiting.entry(service_id).or_insert(waiting);
    }
}
