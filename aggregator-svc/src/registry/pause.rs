//! Pausing a service for this operator alone, whatever its document says, and letting it run again, also with components that
//! engine-svc died of.

use wavs_ipc::WireError;
use wavs_ipc::contract::registry::{PauseMode, ServiceSummary};
use wavs_store::Durability;
use wavs_types::ServiceId;

use super::{Registry, ledger_failed, view};
use crate::clock;
use crate::ledger::history::{self, Actor, Note};
use crate::ledger::{blame, meta, services};
use crate::pipeline::quarantine;

impl Registry {
    /// Pauses a service, or resumes it (no mode). Signatures and open events are kept while it is paused.
    ///
    /// # Errors
    /// When the service is not registered, another step runs for long, or the ledger cannot be written.
    pub async fn pause(
        &self,
        service_id: ServiceId,
        mode: Option<PauseMode>,
        reason: String,
    ) -> Result<ServiceSummary, WireError> {
        let _step = self.begin_next(service_id).await?;
        let entry = self.registered(&service_id)?;
        let mut row = self.row(service_id).await?;
        (row.paused, row.updated_ms) = (mode, clock::now_ms());
        let stored = row.clone();
        let generation = self
            .core()
            .ledger
            .write(Durability::Process, move |tx| {
                services::put(tx, &stored)?;
                if mode.is_none() {
                    blame::forgive(tx, &stored.service_id, None)?;
                }
                let what = if mode.is_some() { "paused" } else { "resumed" };
                let note = Note::new(what, Actor::Api, reason);
                history::note(tx, &stored.service_id, &note, stored.updated_ms)?;
                meta::next_generation(tx)
            })
            .await
            .map_err(ledger_failed)?;
        if mode.is_none() {
            entry.components.forgive();
            quarantine::count(self.core());
        }
        self.directory().put(self.changed(&entry, row, entry.document.clone())?);
        self.inner.watch.announce(generation);
        self.core().reload();
        Ok(view::summary(&*self.registered(&service_id)?))
    }
}
