//! Removing a service: one commit, after which it is gone for everybody; the pin and the sign-once rows stay.

use wavs_ipc::WireError;
use wavs_store::{Durability, fault};
use wavs_types::ServiceManager;

use super::{Registry, ledger_failed};
use crate::clock;
use crate::ledger::history::{self, Actor, Note};
use crate::ledger::{Ending, blame, counters, events, jobs, meta, pins, services};
use crate::pipeline::quarantine;

impl Registry {
    /// Removes a service. An unknown one is not an error.
    ///
    /// # Errors
    /// When another step of the service runs, or the ledger cannot be written.
    pub async fn remove(&self, manager: &ServiceManager) -> Result<(), WireError> {
        let service_id = manager.service_id();
        if self.directory().get(&service_id).is_none() {
            return Ok(());
        }
        let _step = self.begin(service_id)?;
        let generation = self
            .core()
            .ledger
            .write(Durability::Power, move |tx| {
                let (now_us, ending) = (clock::now_us(), Ending::skipped("removed", "the service was removed"));
                services::delete(tx, &service_id)?;
                fault::point("remove.deleted");
                pins::retire(tx, &service_id)?;
                fault::point("remove.retired");
                jobs::end_of_service(tx, &service_id, &ending, now_us)?;
                events::end_of_service(tx, &service_id, &ending, now_us)?;
                fault::point("remove.ended");
                counters::forget(tx, &service_id)?;
                blame::forgive(tx, &service_id, None)?;
                history::note(tx, &service_id, &Note::new("deleted", Actor::Api, ""), now_us / 1_000)?;
                meta::next_generation(tx)
            })
            .await
            .map_err(ledger_failed)?;
        self.directory().remove(&service_id);
        self.count_services();
        quarantine::count(self.core());
        self.core().progressed();
        tracing::info!(%service_id, "service removed");
        // The desired state is re-sent until it arrives; the service is gone for the API and the pipeline already.
        if let Err(error) = self.inner.watch.push(generation).await {
            tracing::warn!(%service_id, %error, "trigger-svc has not confirmed yet that the triggers of the removed service are off");
        }
        Ok(())
    }
}
