//! Adding a service: resolve, check, prepare, pin, wire, activate; undone as a whole if a step fails.

use std::sync::Arc;

use wavs_ipc::contract::registry::{AddService, AddSource, ServiceSummary};
use wavs_ipc::{ErrorCode, WireError};
use wavs_store::{Durability, fault};
use wavs_types::{ServiceId, ServiceManager};

use super::directory::Entry;
use super::resolve::Candidate;
use super::{Registry, ledger_failed, view};
use crate::clock;
use crate::keys::history::{History, HistoryCell};
use crate::keys::pins::PinError;
use crate::keys::{ServiceSigner, pins as rules};
use crate::ledger::history::{self, Actor, Note};
use crate::ledger::services::{self, Phase, ServiceRow};
use crate::ledger::{Ending, blame, counters, jobs, meta, pins};

impl Registry {
    /// Adds a service. The answer means that its triggers and its signer are live.
    ///
    /// # Errors
    /// `Conflict` when it is registered or another step runs, `SignerMissing` without signing key, and what the steps return.
    pub async fn add(&self, request: AddService) -> Result<ServiceSummary, WireError> {
        match request.source {
            AddSource::Manager(manager) => {
                let _step = self.admit(&manager)?;
                let candidate = self.resolve(&manager, None).await?;
                self.register(candidate, request.hd_index).await
            }
            AddSource::Document(digest) => {
                let raw = self.stored_document(digest).await?;
                let manager = wavs_types::ServiceDocument::parse(&raw)
                    .map_err(|cause| WireError::never(ErrorCode::InvalidService, cause.to_string()))?
                    .into_service()
                    .manager;
                let _step = self.admit(&manager)?;
                let candidate = self.check(manager.service_id(), &raw, None)?;
                self.register(candidate, request.hd_index).await
            }
        }
    }

    /// Refuses before any use of the network what can never work.
    fn admit(&self, manager: &ServiceManager) -> Result<super::Step, WireError> {
        let service_id = manager.service_id();
        if self.directory().get(&service_id).is_some() {
            return Err(WireError::never(
                ErrorCode::Conflict,
                format!("Service {service_id} already registered"),
            ));
        }
        if self.inner.keyring.is_none() {
            let text = "missing signing mnemonic: set signing_mnemonic to a BIP-39 phrase and restart, so that services get keys";
            return Err(WireError::never(ErrorCode::SignerMissing, text));
        }
        self.chain_of(manager)?;
        let step = self.begin(service_id)?;
        // Another add may have finished between the look above and the mark.
        if self.directory().get(&service_id).is_some() {
            return Err(WireError::never(
                ErrorCode::Conflict,
                format!("Service {service_id} already registered"),
            ));
        }
        Ok(step)
    }

    async fn register(&self, candidate: Candidate, hd_index: Option<u32>) -> Result<ServiceSummary, WireError> {
        self.prepare(candidate.document.service()).await?;
        let entry = self.store_pending(candidate, hd_index).await?;
        let service_id = entry.id();
        self.directory().put(entry);
        let entry = self.registered(&service_id)?;
        self.look_before_use(&entry).await;
        if let Err(error) = self.wire(&entry, Actor::Api).await {
            self.undo(service_id).await;
            return Err(error);
        }
        let entry = self.registered(&service_id)?;
        tracing::info!(%service_id, name = entry.service().name, hd_index = entry.pin.0, signer = %entry.pin.1, "service registered");
        Ok(view::summary(&entry))
    }

    /// Commits the service as `pending`, with its pin.
    async fn store_pending(&self, candidate: Candidate, hd_index: Option<u32>) -> Result<Entry, WireError> {
        let Some(keyring) = self.inner.keyring.clone() else {
            return Err(WireError::never(ErrorCode::SignerMissing, "missing signing mnemonic"));
        };
        let Candidate {
            document,
            uri,
            warnings,
        } = candidate;
        let service = document.service();
        let row = ServiceRow {
            service_id: service.id(),
            manager: service.manager.clone(),
            digest: document.digest(),
            raw: document.raw().to_vec(),
            uri,
            phase: Phase::Pending,
            reason: None,
            paused: None,
            warnings,
            updated_ms: clock::now_ms(),
        };
        let stored = row.clone();
        let pinned: Result<(ServiceSigner, History), PinError> = self
            .core()
            .ledger
            .write(Durability::Power, move |tx| {
                let signer = match rules::pin(tx, &keyring, &stored.service_id, hd_index, stored.updated_ms)? {
                    Ok(signer) => signer,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let history = pins::of_service(tx, &stored.service_id)?.map_or(History::Unchecked, |pin| pin.history);
                fault::point("add.pinned");
                services::put(tx, &stored)?;
                fault::point("add.stored");
                meta::next_generation(tx)?;
                Ok(Ok((signer, history)))
            })
            .await
            .map_err(ledger_failed)?;
        let signer = pinned.map_err(pin_refused)?;
        self.entry(
            row,
            document,
            (signer.0.hd_index(), signer.0.address()),
            Ok(Arc::new(signer.0)),
            Arc::new(HistoryCell::new(signer.1)),
        )
    }

    /// Makes a pending service live: its triggers first, then the state in the ledger, then its runs.
    pub(super) async fn wire(&self, entry: &Arc<Entry>, actor: Actor) -> Result<(), WireError> {
        let generation = self.core().ledger.read(meta::generation).await.map_err(ledger_failed)?;
        self.inner.watch.push(generation).await?;
        let mut row = entry.row.clone();
        (row.phase, row.updated_ms) = (Phase::Active, clock::now_ms());
        let stored = row.clone();
        self.core()
            .ledger
            .write(Durability::Power, move |tx| {
                services::put(tx, &stored)?;
                fault::point("add.activated");
                pins::activate(tx, &stored.service_id)?;
                fault::point("add.pin_activated");
                let note = Note {
                    uri: stored.uri.clone(),
                    new: Some(stored.digest),
                    ..Note::new("added", actor, "")
                };
                history::note(tx, &stored.service_id, &note, stored.updated_ms)
            })
            .await
            .map_err(ledger_failed)?;
        self.directory().put(self.changed(entry, row, entry.document.clone())?);
        self.count_services();
        if entry.aggregates() {
            self.core().peers.join(&entry.id()).await;
        }
        // Triggers that came while the service was pending are executable now.
        self.core().reload();
        Ok(())
    }

    /// Takes a service back that could not be wired. Nobody has seen its index, so a first one is released.
    pub(super) async fn undo(&self, service_id: ServiceId) {
        self.directory().remove(&service_id);
        let undone = self
            .core()
            .ledger
            .write(Durability::Power, move |tx| {
                services::delete(tx, &service_id)?;
                fault::point("undo.deleted");
                pins::release(tx, &service_id)?;
                fault::point("undo.released");
                let ending = Ending::skipped("removed", "the service could not be added");
                jobs::end_of_service(tx, &service_id, &ending, clock::now_us())?;
                counters::forget(tx, &service_id)?;
                blame::forgive(tx, &service_id, None)?;
                meta::next_generation(tx)
            })
            .await;
        match undone {
            Ok(generation) => self.inner.watch.announce(generation),
            Err(cause) => {
                tracing::error!(%service_id, %cause, "a failed add could not be undone in the ledger; the next start does it");
            }
        }
        self.count_services();
    }
}

fn pin_refused(error: PinError) -> WireError {
    let code = match error {
        PinError::Zero | PinError::Credential(_) => ErrorCode::Invalid,
        PinError::Pinned { .. } | PinError::Taken { .. } | PinError::OtherMnemonic { .. } => ErrorCode::Conflict,
    };
    WireError::never(code, error.to_string())
}
