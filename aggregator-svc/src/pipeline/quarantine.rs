//! What becomes of a component of which engine-svc dies: each death that can be put down to it counts, and after some of them it is
//! not run any more until it is replaced or the operator lets it run again. A call is over after [`MAX_DEATHS`] deaths.

use rusqlite::{Connection, Result};
use wavs_store::{Durability, StoreError};
use wavs_types::{ComponentDigest, ServiceId};

use super::core::Core;
use super::run::{self, Run, RunFault};
use crate::clock;
use crate::ledger::blame::{self, Blame};
use crate::ledger::history::{self, Actor, Note};

/// Deaths of engine-svc during one call, after which the call is over.
pub(super) const MAX_DEATHS: u32 = 3;

/// What engine-svc died of.
#[derive(Debug, Clone)]
pub struct Culprit {
    /// Whose it is.
    pub service_id: ServiceId,
    /// The component that ran.
    pub component: ComponentDigest,
    /// What was seen of the death.
    pub detail: String,
}

impl Culprit {
    /// The component of a run beside no other suspect, if engine-svc died.
    pub(super) fn of(run: &Run<'_>, fault: &RunFault) -> Option<Self> {
        let RunFault::Death(detail) = fault else { return None };
        Some(Self {
            service_id: run.entry.id(),
            component: run.component.source.digest(),
            detail: run::cut(detail),
        })
    }

    fn record(&self, tx: &Connection) -> Result<Blame> {
        let now_ms = clock::now_ms();
        let blame = blame::add(tx, &self.service_id, &self.component, &self.detail, now_ms)?;
        if blame.deaths == blame::MAX_DEATHS {
            let cause = format!("component {}: {}", self.component, self.detail);
            let note = Note::new("component-quarantined", Actor::Pipeline, cause);
            history::note(tx, &self.service_id, &note, now_ms)?;
        }
        wavs_store::fault::point("quarantine.blamed");
        Ok(blame)
    }

    fn blamed(self, core: &Core, blame: Blame) {
        if blame.is_quarantine() {
            tracing::error!(service_id = %self.service_id, component = %self.component, deaths = blame.deaths, detail = blame.detail, "a component is quarantined because engine-svc dies of it; its triggers wait until the service is updated or resumed");
        }
        if let Some(entry) = core.directory.get(&self.service_id) {
            entry.blame(self.component, blame);
        }
        count(core);
    }
}

/// Commits what a run led to, as `change` writes it, and what engine-svc died of, if that is known.
///
/// # Errors
/// When the ledger cannot be written; then nothing was changed.
pub(super) async fn commit(
    core: &Core,
    culprit: Option<Culprit>,
    change: impl FnOnce(&Connection) -> Result<()> + Send + 'static,
) -> std::result::Result<(), StoreError> {
    let recorded = culprit.clone();
    let blame = core
        .ledger
        .write(Durability::Process, move |tx| {
            change(tx)?;
            recorded.map(|culprit| culprit.record(tx)).transpose()
        })
        .await?;
    if let Some((culprit, blame)) = culprit.zip(blame) {
        culprit.blamed(core, blame);
    }
    Ok(())
}

/// A run beside no other suspect did no harm. After some of them nothing is held against the component any more.
pub(super) async fn survived(core: &Core, run: &Run<'_>) {
    let (service, component) = (run.entry.id(), run.component.source.digest());
    if !run.entry.components.survived(&component) {
        return;
    }
    let forgiven = core
        .ledger
        .write(Durability::Process, move |tx| {
            blame::forgive(tx, &service, Some(&component))
        })
        .await;
    if let Err(cause) = forgiven {
        tracing::warn!(service_id = %service, %cause, "a component cannot be forgiven in the ledger; that is tried again after the next start");
    }
}

/// Keeps the number of quarantined components up to date.
pub(crate) fn count(core: &Core) {
    let services = core.directory.services();
    let quarantined: usize = services.values().map(|entry| entry.components.quarantined()).sum();
    let gauge = &core.metrics.quarantined_components;
    gauge.set(i64::try_from(quarantined).unwrap_or(i64::MAX));
}

/// What ends a call: its detail says of what engine-svc died.
pub(super) fn text(detail: &str) -> String {
    format!("engine-svc died or stopped answering {MAX_DEATHS} times during this call, the last time: {detail}")
}
