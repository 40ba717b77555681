//! The standing of the services' keys on chain: who registered them, with which weight, and whether it is safe to sign.
//!
//! Looked at when a service is added or loaded, after a rotation, on news from a manager, and every hour. What is found is
//! only shown, with one exception: a key that is new in this ledger although it has weight on chain has probably signed
//! before, under a ledger that was lost, and signs nothing here until the operator accepts the empty history.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wavs_ipc::{ErrorCode, WireError};
use wavs_store::Durability;
use wavs_types::{ChainKey, EvmAddress, ServiceId, ServiceManager};

use super::directory::Entry;
use super::{Registry, ledger_failed};
use crate::chain::{ChainError, Registration};
use crate::clock;
use crate::keys::history::History;
use crate::ledger::history::{self, Actor, Note};
use crate::ledger::{pins, signed};

/// Time between two looks at all keys.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// Time between two looks while a key may not sign because its chain could not be asked.
const RETRY: Duration = Duration::from_secs(2);
/// How long the add of a service waits for the answer; without one signing waits.
const ADD_WAIT: Duration = Duration::from_secs(3);

/// What was last found about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The key.
    pub key: EvmAddress,
    /// What its manager says, or why nothing could be learnt.
    pub registration: Result<Registration, String>,
    /// When, in milliseconds since the Unix epoch.
    pub checked_ms: u64,
    /// What the managers of the target chains say.
    pub mirrors: Vec<Mirrored>,
}

/// What the manager of a target chain says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// The target chain.
    pub chain: ChainKey,
    /// The manager there.
    pub manager: EvmAddress,
    /// What it says, or why nothing could be learnt.
    pub registration: Result<Registration, String>,
}

/// What was last found about all keys. One entry per registered service.
#[derive(Default)]
pub(super) struct Standings {
    found: Mutex<BTreeMap<ServiceId, Standing>>,
    due: Notify,
}

impl Standings {
    /// What is known of a service's key.
    pub(super) fn get(&self, service_id: &ServiceId) -> Option<Standing> {
        self.lock().get(service_id).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceId, Standing>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Looks at all keys until `stop`.
    pub async fn watch_keys(self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.watch_all()).await;
    }

    async fn watch_all(&self) {
        loop {
            let due = self.inner.standings.due.notified();
            let all = self.directory().services();
            self.inner.standings.lock().retain(|id, _| all.contains_key(id));
            let mut waiting = false;
            for entry in all.values() {
                self.look_at_key(entry).await;
                waiting |= entry.history.get() == History::Unchecked;
            }
            let rest = if waiting { RETRY } else { INTERVAL };
            let news = async {
                tokio::select! {
                    () = due => {}
                    () = self.core().mirrored.notified() => {}
                }
            };
            let _ = tokio::time::timeout(rest, news).await;
        }
    }

    /// There is news about a manager: all keys are looked at again soon.
    pub(super) fn keys_changed(&self) {
        self.inner.standings.due.notify_one();
    }

    /// Looks at the key of a service that is being added, so that it may sign from its first event on.
    pub(super) async fn look_before_use(&self, entry: &Entry) {
        if tokio::time::timeout(ADD_WAIT, self.look_at_key(entry)).await.is_err() {
            tracing::warn!(service_id = %entry.id(), "the chain does not say in time who registered the signing key; signing waits for it");
        }
    }

    async fn look_at_key(&self, entry: &Entry) {
        let key = entry.pin.1;
        let found = match &entry.row.manager {
            ServiceManager::Evm { chain, address } => self.core().chains.registration(chain, *address, key).await,
            ServiceManager::Cosmos { chain, .. } => Err(ChainError::CosmosNotServed(chain.clone())),
        };
        if entry.history.get() == History::Unchecked {
            self.judge(entry, &found).await;
        }
        let standing = Standing {
            key,
            registration: found.map_err(|error| error.to_string()),
            checked_ms: clock::now_ms(),
            mirrors: self.look_at_mirrors(entry).await,
        };
        let before = self.inner.standings.lock().insert(entry.id(), standing.clone());
        if before
            .as_ref()
            .is_none_or(|before| before.registration != standing.registration || before.key != key)
        {
            report(entry, &standing);
        }
        let known = before.map(|before| before.mirrors).unwrap_or_default();
        for mirror in standing.mirrors.iter().filter(|mirror| !known.contains(mirror)) {
            if let Ok(found) = &mirror.registration
                && found.status() != "registered"
            {
                tracing::warn!(service_id = %entry.id(), signer = %key, chain = %mirror.chain, manager = %mirror.manager, status = found.status(), "signatures of this key do not count on a target chain; is its manager in step?");
            }
        }
    }

    /// Asks the managers of the target chains that the service was seen with.
    async fn look_at_mirrors(&self, entry: &Entry) -> Vec<Mirrored> {
        let mut found = Vec::new();
        for (chain, manager) in entry.mirrors.all() {
            let registration = self.core().chains.registration(&chain, manager, entry.pin.1).await;
            found.push(Mirrored {
                chain,
                manager,
                registration: registration.map_err(|error| error.to_string()),
            });
        }
        found
    }

    /// Decides about a key that is new in this ledger.
    async fn judge(&self, entry: &Entry, found: &Result<Registration, ChainError>) {
        let history = match found {
            Ok(found) if !found.weight.is_zero() && self.has_history(entry).await => History::Complete,
            Ok(found) if !found.weight.is_zero() && self.core().settings.accept_empty_history => {
                tracing::warn!(service_id = %entry.id(), signer = %entry.pin.1, "the key has weight on chain but no history here; accepted, because this is a development node");
                History::Complete
            }
            Ok(found) if !found.weight.is_zero() => History::Missing,
            Ok(_) => History::Complete,
            // There is nobody to ask, now or later.
            Err(ChainError::CosmosNotServed(_) | ChainError::Unknown(_)) => History::Complete,
            Err(_) if self.core().settings.accept_empty_history => History::Complete,
            Err(_) => return,
        };
        if let Err(error) = self.set_history(entry, history).await {
            tracing::error!(service_id = %entry.id(), %error, "what the chain says about a key could not be stored; signing waits");
            return;
        }
        if history == History::Missing {
            tracing::error!(service_id = %entry.id(), signer = %entry.pin.1, "{}", missing(entry));
        }
    }

    /// Whether anything that the key signed is here: only an import brings that for a key that is new.
    async fn has_history(&self, entry: &Entry) -> bool {
        let key = entry.pin.1;
        let found = self.core().ledger.read(move |conn| signed::any_of(conn, &key)).await;
        found.unwrap_or_default()
    }

    pub(super) async fn set_history(&self, entry: &Entry, history: History) -> Result<(), WireError> {
        let key = entry.pin.1;
        let stored = self
            .core()
            .ledger
            .write(Durability::Power, move |tx| pins::set_history(tx, &key, history))
            .await
            .map_err(ledger_failed)?;
        if stored {
            entry.history.set(history);
            self.core().reload();
        }
        Ok(())
    }

    /// The operator takes responsibility for what keys may have signed under a lost ledger: of one service, or of all.
    /// Answers the services that may sign now and could not before.
    ///
    /// # Errors
    /// When the service is not registered, or the ledger cannot be written.
    pub async fn accept_empty_history(&self, service_id: Option<ServiceId>) -> Result<Vec<ServiceId>, WireError> {
        let entries = match service_id {
            Some(id) => vec![self.registered(&id)?],
            None => self.directory().services().values().cloned().collect(),
        };
        let mut accepted = Vec::new();
        for entry in entries.iter().filter(|entry| entry.history.get() != History::Complete) {
            self.set_history(entry, History::Complete).await?;
            let id = entry.id();
            let note = Note::new("empty-history-accepted", Actor::Api, format!("key {}", entry.pin.1));
            self.core()
                .ledger
                .write(Durability::Process, move |tx| {
                    history::note(tx, &id, &note, clock::now_ms())
                })
                .await
                .map_err(ledger_failed)?;
            tracing::warn!(service_id = %id, signer = %entry.pin.1, "the empty history of the key is accepted; it signs from now on");
            accepted.push(id);
        }
        Ok(accepted)
    }

    /// Gives a service a new key, at an index that no service ever had. What the former key signed stays valid and is not
    /// signed again.
    ///
    /// # Errors
    /// When the service is not registered, another step of it runs, there is no signing key, or the ledger cannot be written.
    pub async fn rotate(&self, service_id: ServiceId) -> Result<(u32, EvmAddress), WireError> {
        let Some(keyring) = self.inner.keyring.clone() else {
            let text = "missing signing mnemonic: set signing_mnemonic and restart before a key can be rotated";
            return Err(WireError::never(ErrorCode::SignerMissing, text));
        };
        let _step = self.begin(service_id)?;
        let entry = self.registered(&service_id)?;
        let former = entry.pin;
        let rotated = self
            .core()
            .ledger
            .write(Durability::Power, move |tx| {
                let signer = match keyring.signer(pins::next(tx)?) {
                    Ok(signer) => signer,
                    Err(error) => return Ok(Err(error)),
                };
                let now_ms = clock::now_ms();
                pins::rotate(tx, &service_id, signer.hd_index(), &signer.address(), now_ms)?;
                let detail = format!("{former:?} -> ({}, {})", signer.hd_index(), signer.address());
                history::note(tx, &service_id, &Note::new("key-rotated", Actor::Api, detail), now_ms)?;
                Ok(Ok(signer))
            })
            .await
            .map_err(ledger_failed)?;
        let signer = rotated.map_err(|error| WireError::never(ErrorCode::Invalid, error.to_string()))?;
        let pin = (signer.hd_index(), signer.address());
        if let Ok(former) = &entry.signer {
            self.directory().put_former(std::sync::Arc::clone(former));
        }
        let next = self.rekeyed(&entry, signer)?;
        self.directory().put(next);
        self.core().peers.rekeyed();
        tracing::warn!(%service_id, hd_index = pin.0, signer = %pin.1, former = %former.1, "the signing key was rotated; register the new one with the service manager");
        let entry = self.registered(&service_id)?;
        self.look_before_use(&entry).await;
        Ok(pin)
    }
}

/// Why a service's key signs nothing.
pub(crate) fn missing(entry: &Entry) -> String {
    format!(
        "key {} of service {} has weight on chain but no history in this ledger, which may have been lost: nothing is signed. \
         Import the history (wavs-cli signers import), then accept it with wavs-cli signers accept-empty-history",
        entry.pin.1,
        entry.id()
    )
}

fn report(entry: &Entry, standing: &Standing) {
    let (service_id, signer) = (entry.id(), standing.key);
    match &standing.registration {
        Ok(found) if found.status() == "registered" => {
            tracing::info!(%service_id, %signer, operator = ?found.operator, weight = %found.weight, "the signing key is registered");
        }
        Ok(found) => {
            tracing::warn!(%service_id, %signer, status = found.status(), "signatures of this key do not count yet");
        }
        Err(error) => {
            tracing::debug!(%service_id, %signer, error, "the chain does not say who registered the signing key");
        }
    }
}
