//! The service registry: which services this operator runs, under which document, with which key.
//!
//! Every step commits its rows first, then replaces the [`directory`] that the pipeline reads, then states the new desired
//! state to trigger-svc ([`watch`]). One step per service at a time. A service is fully present or fully absent: a failed
//! add is undone, and one that a crash interrupted is completed or undone at the next start.

mod add;
mod chains;
pub mod components;
pub mod directory;
mod documents;
mod doubt;
mod load;
pub mod mirrors;
mod pause;
mod prepare;
mod remove;
mod resolve;
mod signers;
pub mod standing;
mod update;
pub mod view;
mod warm_up;
pub mod watch;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use wavs_ipc::contract::trigger_feed::TriggerFeedClient;
use wavs_ipc::{ErrorCode, Json, Reconnecting, WireError};
use wavs_store::StoreError;
use wavs_types::{ServiceDocument, ServiceId};

use crate::keys::history::{History, HistoryCell};
use crate::keys::{Keyring, ServiceSigner};
use crate::ledger::pins::Pin;
use crate::ledger::services::ServiceRow;
use crate::pipeline::core::Core;
use crate::pipeline::room::Room;
use crate::pipeline::runs::Runs;
use directory::{Directory, Entry};
use watch::Watch;

pub use update::Updater;

/// How long a step that is short itself waits for another one of its service, such as the regular look at its document.
const STEP_WAIT: Duration = Duration::from_secs(10);

/// The registry. Clones share it.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    feed: Reconnecting<TriggerFeedClient>,
    keyring: Option<Arc<Keyring>>,
    watch: Watch,
    standings: standing::Standings,
    /// Services with a step under way.
    busy: Mutex<BTreeSet<ServiceId>>,
    /// Tells those who wait that a step has ended.
    stepped: Notify,
    /// One change of the chain table at a time.
    chains: tokio::sync::Mutex<()>,
}

/// Marks a step of one service; the mark goes with it.
struct Step {
    registry: Registry,
    service_id: ServiceId,
}

impl Drop for Step {
    fn drop(&mut self) {
        self.registry.busy().remove(&self.service_id);
        self.registry.inner.stepped.notify_waiters();
    }
}

impl Registry {
    /// A registry over the rows of the ledger, which are not read yet.
    #[must_use]
    pub fn new(
        core: Arc<Core>,
        feed: Reconnecting<TriggerFeedClient>,
        keyring: Option<Arc<Keyring>>,
        watch: Watch,
    ) -> Self {
        let inner = Inner {
            core,
            feed,
            keyring,
            watch,
            standings: standing::Standings::default(),
            busy: Mutex::default(),
            stepped: Notify::new(),
            chains: tokio::sync::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn core(&self) -> &Core {
        &self.inner.core
    }

    fn directory(&self) -> &Directory {
        &self.inner.core.directory
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, BTreeSet<ServiceId>> {
        self.inner.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a step of a service.
    fn begin(&self, service_id: ServiceId) -> Result<Step, WireError> {
        if self.busy().insert(service_id) {
            return Ok(Step {
                registry: self.clone(),
                service_id,
            });
        }
        let text =
            format!("lifecycle-busy: another change of service {service_id} is under way; try again when it is done");
        Err(WireError::never(ErrorCode::Conflict, text))
    }

    /// Begins a step of a service, after one that is under way if that ends within [`STEP_WAIT`].
    async fn begin_next(&self, service_id: ServiceId) -> Result<Step, WireError> {
        let begun = tokio::time::timeout(STEP_WAIT, async {
            loop {
                let stepped = self.inner.stepped.notified();
                tokio::pin!(stepped);
                // From here on no end is missed.
                stepped.as_mut().enable();
                if let Ok(step) = self.begin(service_id) {
                    return step;
                }
                stepped.await;
            }
        });
        begun.await.or_else(|_| self.begin(service_id))
    }

    /// A registered service, or the error that names it.
    fn registered(&self, service_id: &ServiceId) -> Result<Arc<Entry>, WireError> {
        self.directory().get(service_id).ok_or_else(|| {
            let text =
                format!("Service ID {service_id} has not been set on the http server: it is not registered here");
            WireError::never(ErrorCode::NotFound, text)
        })
    }

    /// Builds what the pipeline needs of a service. Permits of runs are kept from the version before.
    fn entry(
        &self,
        row: ServiceRow,
        document: ServiceDocument,
        pin: (u32, wavs_types::EvmAddress),
        signer: Result<Arc<ServiceSigner>, String>,
        history: Arc<HistoryCell>,
    ) -> Result<Entry, WireError> {
        let settings = &self.core().settings;
        let (runs, trial, room, mirrors, components) = match self.directory().get(&row.service_id) {
            Some(before) => (
                Arc::clone(&before.runs),
                Arc::clone(&before.trial),
                Arc::clone(&before.room),
                Arc::clone(&before.mirrors),
                Arc::clone(&before.components),
            ),
            None => (
                Runs::new(settings.max_parallel_per_service),
                Arc::new(Semaphore::new(1)),
                Room::new(settings.max_open_events(&row.service_id)),
                Arc::default(),
                Arc::default(),
            ),
        };
        Ok(Entry {
            encoded: Json::encode(document.service())?,
            row,
            document,
            signer,
            pin,
            history,
            runs,
            trial,
            room,
            mirrors,
            components,
        })
    }

    /// The same service with a changed row or document.
    fn changed(&self, entry: &Entry, row: ServiceRow, document: ServiceDocument) -> Result<Entry, WireError> {
        let history = Arc::clone(&entry.history);
        self.entry(row, document, entry.pin, entry.signer.clone(), history)
    }

    /// The same service with another key, whose history is not known.
    fn rekeyed(&self, entry: &Entry, signer: ServiceSigner) -> Result<Entry, WireError> {
        let pin = (signer.hd_index(), signer.address());
        let history = Arc::new(HistoryCell::new(History::Unchecked));
        self.entry(
            entry.row.clone(),
            entry.document.clone(),
            pin,
            Ok(Arc::new(signer)),
            history,
        )
    }

    fn count_services(&self) {
        let count = self.directory().services().len();
        self.core()
            .metrics
            .services
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// The key of a pin, or why there is none.
fn signer_of(keyring: Option<&Keyring>, pin: &Pin) -> Result<Arc<ServiceSigner>, String> {
    let Some(keyring) = keyring else {
        return Err("missing signing mnemonic: set signing_mnemonic".to_owned());
    };
    crate::keys::pins::load(keyring, pin)
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

/// The error of a request that the ledger could not serve.
pub(crate) fn ledger_failed(cause: StoreError) -> WireError {
    WireError::backoff(ErrorCode::Internal, format!("the ledger could not be used: {cause}"))
}
