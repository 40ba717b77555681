//! The registry at start: rows become entries, and what a crash interrupted is completed or undone.

use std::collections::BTreeMap;
use std::sync::Arc;

use wavs_ipc::{ErrorCode, WireError};
use wavs_types::{ChainConfig, ChainKey, ServiceDocument};

use super::directory::Entry;
use super::{Registry, ledger_failed, signer_of, standing};
use crate::keys::history::{History, HistoryCell};
use crate::ledger::history::Actor;
use crate::ledger::pins::FormerPin;
use crate::ledger::services::{Phase, ServiceRow};
use crate::ledger::{blame, chains, pins, services};
use crate::pipeline::quarantine;

impl Registry {
    /// Reads chains and services from the ledger. Answers the keys that differ from their pins, as texts.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn load(&self) -> Result<Vec<String>, WireError> {
        let (stored, rows, pinned, former, mut blamed) = self
            .core()
            .ledger
            .read(|conn| {
                Ok((
                    chains::all(conn)?,
                    services::all(conn)?,
                    pins::all(conn)?,
                    pins::former(conn)?,
                    blame::all(conn)?,
                ))
            })
            .await
            .map_err(ledger_failed)?;
        self.load_former(&former);
        self.set_chains(stored)?;
        let pinned: BTreeMap<_, _> = pinned.into_iter().map(|pin| (pin.service_id, pin)).collect();
        let mut alarms = Vec::new();
        for row in rows {
            let Some(pin) = pinned.get(&row.service_id) else {
                tracing::error!(service_id = %row.service_id, "a service without pin in the ledger; it is left out");
                continue;
            };
            let document = match ServiceDocument::parse(&row.raw) {
                Ok(document) => document,
                Err(cause) => {
                    tracing::error!(service_id = %row.service_id, %cause, "the stored document cannot be read; the service is left out");
                    continue;
                }
            };
            let signer = signer_of(self.inner.keyring.as_deref(), pin);
            if let (Err(reason), true) = (&signer, self.inner.keyring.is_some()) {
                tracing::error!(service_id = %row.service_id, reason, "signing for this service has stopped");
                alarms.push(reason.clone());
            }
            let history = Arc::new(HistoryCell::new(pin.history));
            let entry = self.entry(row, document, (pin.hd_index, pin.address), signer, history)?;
            for (component, blame) in blamed.remove(&entry.id()).unwrap_or_default() {
                entry.blame(component, blame);
            }
            if pin.history == History::Missing {
                alarms.push(standing::missing(&entry));
            }
            self.directory().put(entry);
        }
        self.count_services();
        quarantine::count(self.core());
        Ok(alarms)
    }

    /// Keys from before rotations. One that the mnemonic does not derive any more has nothing to say.
    fn load_former(&self, former: &[FormerPin]) {
        let Some(keyring) = &self.inner.keyring else { return };
        for pin in former {
            match keyring.signer(pin.hd_index) {
                Ok(signer) if signer.address() == pin.address => self.directory().put_former(Arc::new(signer)),
                _ => {
                    tracing::warn!(service_id = %pin.service_id, signer = %pin.address, "a key from before a rotation cannot be derived; what it signed is not told again");
                }
            }
        }
    }

    /// The chain table: what the configuration says, and what was added over the API and is not in the configuration.
    pub(super) fn set_chains(&self, stored: Vec<(ChainKey, ChainConfig)>) -> Result<(), WireError> {
        let mut table: BTreeMap<ChainKey, ChainConfig> = stored.into_iter().collect();
        table.extend(self.core().settings.chains.clone());
        self.core().chains.set(&table);
        self.directory().set_chains(table)
    }

    /// Completes or undoes the adds that a crash interrupted. Waits for trigger-svc and engine-svc as long as an add does.
    pub async fn finish_pending(&self) {
        let pending: Vec<_> = self
            .directory()
            .services()
            .values()
            .filter(|entry| entry.row.phase == Phase::Pending)
            .cloned()
            .collect();
        for entry in pending {
            let service_id = entry.id();
            let Ok(_step) = self.begin_next(service_id).await else {
                tracing::error!(%service_id, "an add that a restart interrupted could not be completed because another step of the service does not end; restart aggregator-svc");
                continue;
            };
            // Whoever had the step may have completed it, or removed it.
            let is_pending = |entry: &Arc<Entry>| entry.row.phase == Phase::Pending;
            let Some(entry) = self.directory().get(&service_id).filter(is_pending) else {
                continue;
            };
            let result = match self.prepare(entry.service()).await {
                Ok(()) => self.wire(&entry, Actor::Restart).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                tracing::warn!(%service_id, %error, "an add that a restart interrupted could not be completed; it is undone");
                self.undo(service_id).await;
            }
        }
    }

    /// Reads a service's row anew.
    pub(super) async fn row(&self, service_id: wavs_types::ServiceId) -> Result<ServiceRow, WireError> {
        self.core()
            .ledger
            .read(move |conn| services::load(conn, &service_id))
            .await
            .map_err(ledger_failed)?
            .ok_or_else(|| {
                WireError::never(
                    ErrorCode::NotFound,
                    format!("service {service_id} was removed meanwhile"),
                )
            })
    }
}
