//! The `Registry` contract: what the supervisor asks for the HTTP API, answered from the registry and the ledger.

use std::sync::Arc;
use std::time::Duration;

use tarpc::context::Context;
use tokio::time::Instant;
use wavs_ipc::contract::registry::{
    AddService, ChainAccount, Document, HistoryCursor, HistoryRow, InjectionProgress, JobQuery, JobView,
    MAX_INJECTION_WAIT_MS, PauseMode, Registry as RegistryContract, ServiceSummary, ServiceView, Signer, SignerView,
};
use wavs_ipc::{ErrorCode, Json, WireError};
use wavs_types::{ChainConfig, ChainKey, ServiceDigest, ServiceId, ServiceManager};

use crate::ledger::{jobs, views};
use crate::pipeline::core::Core;
use crate::registry::{Registry, ledger_failed, view};
use crate::wallets;

/// Shortest time between two counts of one injection, so that a large one is not counted after each of its jobs.
const COUNT_INTERVAL: Duration = Duration::from_millis(10);

/// Serves the contract.
#[derive(Clone)]
pub struct RegistryService {
    registry: Registry,
    core: Arc<Core>,
}

impl RegistryService {
    /// A server over the registry and the ledger.
    #[must_use]
    pub fn new(registry: Registry, core: Arc<Core>) -> Self {
        Self { registry, core }
    }

    fn entry(&self, service_id: &ServiceId) -> Result<Arc<crate::registry::directory::Entry>, WireError> {
        self.core.directory.get(service_id).ok_or_else(|| {
            let text =
                format!("Service ID {service_id} has not been set on the http server: it is not registered here");
            WireError::never(ErrorCode::NotFound, text)
        })
    }

    async fn count(&self, id: u128) -> Result<InjectionProgress, WireError> {
        let count = self
            .core
            .ledger
            .read(move |conn| jobs::injection(conn, id))
            .await
            .map_err(ledger_failed)?;
        let jobs::InjectionCount {
            received,
            done,
            failed,
            first_error,
        } = count;
        Ok(InjectionProgress {
            received,
            done,
            failed,
            first_error,
        })
    }
}

impl RegistryContract for RegistryService {
    async fn add_service(self, _: Context, request: AddService) -> Result<ServiceSummary, WireError> {
        self.registry.add(request).await
    }

    async fn remove_service(self, _: Context, manager: ServiceManager, purge: bool) -> Result<(), WireError> {
        // Key-value data and files belong to engine-svc, which erases those of services that stay away.
        tracing::debug!(purge, "removing a service");
        self.registry.remove(&manager).await
    }

    async fn refresh_service(self, _: Context, service_id: ServiceId) -> Result<ServiceSummary, WireError> {
        self.registry.refresh(service_id).await
    }

    async fn pause_service(
        self,
        _: Context,
        service_id: ServiceId,
        mode: Option<PauseMode>,
        reason: String,
    ) -> Result<ServiceSummary, WireError> {
        self.registry.pause(service_id, mode, reason).await
    }

    async fn services(self, _: Context) -> Result<Vec<ServiceSummary>, WireError> {
        Ok(self
            .core
            .directory
            .services()
            .values()
            .map(|entry| view::summary(entry))
            .collect())
    }

    async fn service(self, _: Context, service_id: ServiceId) -> Result<ServiceView, WireError> {
        Ok(view::full(&*self.entry(&service_id)?))
    }

    async fn signer(self, _: Context, service_id: ServiceId) -> Result<Signer, WireError> {
        let entry = self.core.directory.get(&service_id).ok_or_else(|| {
            WireError::never(
                ErrorCode::NotFound,
                format!("missing key for service {service_id}: it is not registered here"),
            )
        })?;
        Ok(view::signer(&entry))
    }

    async fn put_document(self, _: Context, document: Document) -> Result<ServiceDigest, WireError> {
        self.registry.put_document(document).await
    }

    async fn document(self, _: Context, digest: ServiceDigest) -> Result<Document, WireError> {
        self.registry.document(digest).await
    }

    async fn add_chain(self, _: Context, chain: ChainKey, config: Json<ChainConfig>) -> Result<(), WireError> {
        self.registry.add_chain(chain, config).await
    }

    async fn chains(self, _: Context) -> Result<Vec<(ChainKey, Json<ChainConfig>)>, WireError> {
        Ok(self.registry.chains())
    }

    async fn injection(self, _: Context, id: u128, wait_ms: u32) -> Result<InjectionProgress, WireError> {
        let until = Instant::now() + Duration::from_millis(u64::from(wait_ms.min(MAX_INJECTION_WAIT_MS)));
        let mut progress = self.core.progress();
        loop {
            progress.mark_unchanged();
            let complete = self
                .core
                .ledger
                .read(move |conn| jobs::is_injected(conn, id))
                .await
                .map_err(ledger_failed)?;
            if complete || tokio::time::timeout_at(until, progress.changed()).await.is_err() {
                return self.count(id).await;
            }
            tokio::time::sleep_until(until.min(Instant::now() + COUNT_INTERVAL)).await;
        }
    }

    async fn signers(self, _: Context) -> Result<Vec<SignerView>, WireError> {
        self.registry.signers().await
    }

    async fn rotate_signer(self, _: Context, service_id: ServiceId) -> Result<Signer, WireError> {
        let (hd_index, address) = self.registry.rotate(service_id).await?;
        Ok(Signer {
            hd_index,
            address: address.into_array(),
        })
    }

    async fn accept_empty_history(
        self,
        _: Context,
        service_id: Option<ServiceId>,
    ) -> Result<Vec<ServiceId>, WireError> {
        self.registry.accept_empty_history(service_id).await
    }

    async fn export_history(
        self,
        _: Context,
        after: Option<HistoryCursor>,
        max: u32,
    ) -> Result<Vec<HistoryRow>, WireError> {
        self.registry.export_history(after, max).await
    }

    async fn import_history(self, _: Context, rows: Vec<HistoryRow>) -> Result<u32, WireError> {
        self.registry.import_history(rows).await
    }

    async fn jobs(self, _: Context, query: JobQuery) -> Result<Vec<JobView>, WireError> {
        self.core
            .ledger
            .read(move |conn| views::jobs(conn, &query))
            .await
            .map_err(ledger_failed)
    }

    async fn chain_accounts(self, _: Context) -> Result<Vec<ChainAccount>, WireError> {
        Ok(wallets::views(&self.core.chains, &self.core.transactions))
    }
}
