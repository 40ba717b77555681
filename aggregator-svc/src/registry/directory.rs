//! The registered services as the pipeline sees them: an immutable snapshot in memory, replaced with every change.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;
use wavs_ipc::contract::registry::PauseMode;
use wavs_ipc::{Json, WireError};
use wavs_types::{
    ChainConfig, ChainKey, ComponentDigest, EvmAddress, Service, ServiceDigest, ServiceDocument, ServiceId,
    ServiceStatus,
};

use crate::keys::ServiceSigner;
use crate::keys::history::HistoryCell;
use crate::ledger::blame::Blame;
use crate::ledger::services::{Phase, ServiceRow};
use crate::pipeline::room::Room;
use crate::pipeline::runs::Runs;
use crate::registry::components::{self, Components};
use crate::registry::mirrors::Mirrors;

/// A service with everything that a run needs, parsed and encoded once.
pub struct Entry {
    /// The row.
    pub row: ServiceRow,
    /// The document in force.
    pub document: ServiceDocument,
    /// The document as runs carry it.
    pub encoded: Json<Service>,
    /// Its key; the reason when there is none.
    pub signer: Result<Arc<ServiceSigner>, String>,
    /// Its pin: index and address.
    pub pin: (u32, EvmAddress),
    /// Whether its key may sign; kept over updates, new with a new key.
    pub history: Arc<HistoryCell>,
    /// Its runs under way; kept over updates.
    pub runs: Arc<Runs>,
    /// One permit, for a job that may be what engine-svc died of; kept over updates.
    pub trial: Arc<Semaphore>,
    /// How many events it may have open; kept over updates.
    pub room: Arc<Room>,
    /// The managers of its target chains; kept over updates.
    pub mirrors: Arc<Mirrors>,
    /// What keeps its components from running; kept over updates.
    pub components: Arc<Components>,
}

impl Entry {
    /// The service.
    #[must_use]
    pub fn service(&self) -> &Service {
        self.document.service()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ServiceId {
        self.row.service_id
    }

    /// Digest of the document in force.
    #[must_use]
    pub fn digest(&self) -> ServiceDigest {
        self.row.digest
    }

    /// Whether its results are signed and gathered, so that it has a topic among the operators.
    #[must_use]
    pub fn aggregates(&self) -> bool {
        let mut workflows = self.service().workflows.values();
        workflows.any(|workflow| workflow.aggregator().is_some())
    }

    /// Takes over what the ledger holds against a component, if the document uses it.
    pub fn blame(&self, component: ComponentDigest, blame: Blame) {
        if components::used(self.service()).contains(&component) {
            self.components.blame(component, blame);
        }
    }

    /// Whether it runs: registered, and paused neither by its document nor by this operator.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.row.phase == Phase::Active && !self.is_paused()
    }

    /// Whether its document or this operator paused it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.row.paused.is_some() || self.service().status == ServiceStatus::Paused
    }

    /// Whether its triggers wait until this operator resumes it. What its document paused is never held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.row.paused == Some(PauseMode::Hold) && self.service().status != ServiceStatus::Paused
    }
}

/// All services and chains.
#[derive(Default)]
pub struct Directory {
    services: RwLock<Arc<BTreeMap<ServiceId, Arc<Entry>>>>,
    chains: RwLock<Arc<BTreeMap<ChainKey, Chain>>>,
    /// Keys that services had before a rotation: they sign no envelope any more, only the records that carry what they signed.
    /// One for each rotation ever made.
    former: RwLock<BTreeMap<EvmAddress, Arc<ServiceSigner>>>,
}

/// A chain, with its encoded form.
#[derive(Clone)]
pub struct Chain {
    /// Its configuration.
    pub config: ChainConfig,
    /// As runs and the watch set carry it.
    pub encoded: Json<ChainConfig>,
}

impl Directory {
    /// A service, whatever its phase.
    #[must_use]
    pub fn get(&self, id: &ServiceId) -> Option<Arc<Entry>> {
        self.services().get(id).cloned()
    }

    /// All services as of now.
    #[must_use]
    pub fn services(&self) -> Arc<BTreeMap<ServiceId, Arc<Entry>>> {
        Arc::clone(&self.services.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds or replaces a service.
    pub fn put(&self, entry: Entry) {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = BTreeMap::clone(&services);
        next.insert(entry.id(), Arc::new(entry));
        *services = Arc::new(next);
    }

    /// Takes a service out.
    pub fn remove(&self, id: &ServiceId) {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = BTreeMap::clone(&services);
        next.remove(id);
        *services = Arc::new(next);
    }

    /// Remembers a key that a service had before.
    pub fn put_former(&self, signer: Arc<ServiceSigner>) {
        let mut former = self.former.write().unwrap_or_else(PoisonError::into_inner);
        former.insert(signer.address(), signer);
    }

    /// The key of a service with this address: the one in force, or one that it had before.
    #[must_use]
    pub fn signer(&self, entry: &Entry, address: &EvmAddress) -> Option<Arc<ServiceSigner>> {
        match &entry.signer {
            Ok(signer) if signer.address() == *address => Some(Arc::clone(signer)),
            _ => {
                let former = self.former.read().unwrap_or_else(PoisonError::into_inner);
                former.get(address).cloned()
            }
        }
    }

    /// All chains as of now.
    #[must_use]
    pub fn chains(&self) -> Arc<BTreeMap<ChainKey, Chain>> {
        Arc::clone(&self.chains.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the chains.
    ///
    /// # Errors
    /// When a configuration has no JSON form.
    pub fn set_chains(&self, chains: BTreeMap<ChainKey, ChainConfig>) -> Result<(), WireError> {
        let encoded = chains
            .into_iter()
            .map(|(key, config)| {
                Ok((
                    key,
                    Chain {
                        encoded: Json::encode(&config)?,
                        config,
                    },
                ))
            })
            .collect::<Result<_, WireError>>()?;
        *self.chains.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(encoded);
        Ok(())
    }
}
