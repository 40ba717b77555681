//! The data of one store: everything that belongs to one run and dies with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_tls::{WasiTlsCtx, WasiTlsCtxBuilder, WasiTlsCtxView, WasiTlsView};
use wavs_service::config::GuestLimits;
use wavs_types::{EventId, Service, ServiceId, TriggerData, Workflow, WorkflowId};

use super::clock::GuestClock;
use super::descriptors::OpenDescriptors;
use super::determinism::{Determinism, StandingClock};
use super::limiter::Limiter;
use super::log::{RunLog, Stream};
use super::shares::Shares;
use super::stdio::GuestOutput;
use crate::chains::ChainTable;
use crate::egress::{Denials, GuestEgress, HttpHooks, ServiceResolver};
use crate::kv::GuestKv;
use crate::limits::{RANDOM_BYTES, RunLimits};

/// What a run needs from its surroundings.
pub(crate) struct RunSetup {
    pub(crate) service_id: ServiceId,
    pub(crate) service: Arc<Service>,
    pub(crate) workflow_id: WorkflowId,
    pub(crate) workflow: Workflow,
    pub(crate) chains: Arc<ChainTable>,
    /// The config of the component that runs.
    pub(crate) config: BTreeMap<String, String>,
    /// The variables that it may see.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) event: EventSource,
    pub(crate) egress: GuestEgress,
    /// Whether the guest may look up names itself.
    pub(crate) dns: bool,
    /// The directory of the service, if the component may use it. Made when it does not exist.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) kv: GuestKv,
    pub(crate) log: Arc<RunLog>,
    /// The descriptors of the process that guests share.
    pub(crate) descriptors: Arc<Shares>,
    /// The memory of the process that guests share, in bytes.
    pub(crate) memory: Arc<Shares>,
    /// For services whose runs follow from their input alone.
    pub(crate) determinism: Option<Determinism>,
}

/// Where `get-event-id` takes its answer from.
pub(crate) enum EventSource {
    /// Operator world: hashed from the trigger data or a salt of the guest.
    Trigger(TriggerData),
    /// Aggregator world: the event of the submission at hand.
    Fixed(EventId),
}

impl EventSource {
    /// The event that the run is for, whatever salts its responses will have.
    pub(crate) fn id(&self, service: &ServiceId, workflow: &WorkflowId) -> EventId {
        match self {
            Self::Trigger(data) => EventId::for_response(service, workflow, data, None),
            Self::Fixed(id) => *id,
        }
    }
}

/// A run that could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot open the directory {path} of the service: {cause}; check that it belongs to the user of engine-svc", path = path.display())]
    Directory { path: PathBuf, cause: String },
}

/// The part of [`RunSetup`] that host functions read.
pub(super) struct RunInfo {
    pub(super) service_id: ServiceId,
    pub(super) service: Arc<Service>,
    pub(super) workflow_id: WorkflowId,
    pub(super) workflow: Workflow,
    pub(super) chains: Arc<ChainTable>,
    pub(super) config: BTreeMap<String, String>,
    pub(super) event: EventSource,
    pub(super) log: Arc<RunLog>,
}

/// The data of a store.
pub(crate) struct GuestState {
    pub(super) table: ResourceTable,
    pub(super) run: RunInfo,
    pub(super) limits: GuestLimits,
    descriptors: OpenDescriptors,
    /// The clock of a deterministic run.
    pub(super) clock: Option<GuestClock>,
    pub(crate) kv: GuestKv,
    pub(crate) limiter: Limiter,
    /// Looks up names for the guest, if it may do so.
    pub(super) names: Option<ServiceResolver>,
    /// What the guest was refused for want of a permission.
    pub(crate) denials: Arc<Denials>,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: HttpHooks,
    tls: WasiTlsCtx,
}

impl GuestState {
    /// Builds the context of one run that must end at `deadline`.
    ///
    /// # Errors
    /// When the directory of the service cannot be used.
    pub(crate) fn new(setup: RunSetup, limits: &RunLimits, deadline: Instant) -> Result<Self, StateError> {
        let egress = Arc::new(setup.egress);
        let mut wasi = WasiCtx::builder();
        let denials = Arc::new(Denials::default());
        let (sockets, refused) = (egress.clone(), denials.clone());
        wasi.envs(&setup.env)
            .stdout(GuestOutput::new(setup.log.clone(), Stream::Stdout))
            .stderr(GuestOutput::new(setup.log.clone(), Stream::Stderr))
            .max_random_size(RANDOM_BYTES)
            // Without the permission a socket can be made, but every address is refused.
            .allow_tcp(true)
            .allow_udp(true)
            .socket_addr_check(move |address, usage| {
                let denied = sockets.denies_socket(address, usage);
                if let Some(denial) = denied {
                    refused.count(denial);
                }
                Box::pin(async move { denied.is_none() })
            });
        if let Some(determinism) = &setup.determinism {
            wasi.secure_random(determinism.random())
                .insecure_random(determinism.insecure())
                .insecure_random_seed(determinism.seed())
                .wall_clock(StandingClock(determinism.time));
        }
        if let Some(path) = setup.directory {
            let failed = |cause: String| StateError::Directory {
                path: path.clone(),
                cause,
            };
            std::fs::create_dir_all(&path).map_err(|cause| failed(cause.to_string()))?;
            wasi.preopened_dir(&path, ".", FsPerms::ReadWrite)
                .map_err(|cause| failed(cause.to_string()))?;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.guest.handles);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits.guest.http_headers);
        Ok(Self {
            table,
            limits: limits.guest,
            descriptors: OpenDescriptors::new(setup.descriptors),
            clock: setup.determinism.map(|_| GuestClock::default()),
            kv: setup.kv,
            limiter: Limiter::new(limits.guest, setup.memory),
            names: setup.dns.then(|| egress.names.clone()),
            wasi: wasi.build(),
            http,
            hooks: HttpHooks::new(egress, denials.clone(), limits.guest, deadline),
            denials,
            tls: WasiTlsCtxBuilder::new().build(),
            run: RunInfo {
                service_id: setup.service_id,
                service: setup.service,
                workflow_id: setup.workflow_id,
                workflow: setup.workflow,
                chains: setup.chains,
                config: setup.config,
                event: setup.event,
                log: setup.log,
            },
        })
    }

    /// Whether the process has a descriptor for one more file, socket or connection of this run.
    pub(super) fn admit_descriptor(&mut self) -> bool {
        let open = self.open_descriptors() + self.hooks.under_way();
        self.descriptors.allow(open + 1)
    }

    /// Has the request that is sent next refused where there is no descriptor for it.
    pub(super) fn admit_request(&mut self) {
        self.hooks.crowded = !self.admit_descriptor();
    }

    /// The log of the run.
    pub(crate) fn log(&self) -> &RunLog {
        &self.run.log
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

impl WasiTlsView for GuestState {
    fn tls(&mut self) -> WasiTlsCtxView<'_> {
        WasiTlsCtxView {
            ctx: &mut self.tls,
            table: &mut self.table,
        }
    }
}
