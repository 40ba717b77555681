//! What the routes share: the settings, a connection to each process, and what the supervisor knows of them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wavs_ipc::contract::engine_admin::EngineAdminClient;
use wavs_ipc::contract::lifecycle::LifecycleClient;
use wavs_ipc::contract::p2p_admin::P2pAdminClient;
use wavs_ipc::contract::records::RecordsClient;
use wavs_ipc::contract::registry::RegistryClient;
use wavs_ipc::contract::trigger_admin::TriggerAdminClient;
use wavs_ipc::tarpc::client::RpcError;
use wavs_ipc::{Context, Contract, ErrorCode, Identity, Reconnecting, Role, WireError};
use wavs_service::ProcessName;
use wavs_service::config::RedactedConfig;

use super::metrics::HttpMetrics;
use super::problem::Problem;
use super::routes::health::HealthCache;
use super::settings::Settings;
use super::wire;
use crate::alerts::Alert;
use crate::control::Control;
use crate::supervise::snapshot::{ProcessState, Snapshot};
use crate::supervise::tail::Tail;

/// Deadline of a call that only reads memory or an index.
pub const READ: Duration = Duration::from_secs(10);
/// Deadline of a call that resolves, fetches and compiles; below the time limit of its route.
pub const LIFECYCLE: Duration = Duration::from_secs(115);
/// How long a request waits for a process that is being restarted before it is answered 503.
const RESTART_PATIENCE: Duration = Duration::from_millis(1500);

/// The shared state of all routes; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    /// Replaced as a whole by a reload.
    current: RwLock<(Arc<Settings>, Arc<RedactedConfig>)>,
    control: Control,
    data_dir: PathBuf,
    processes: watch::Receiver<Vec<Snapshot>>,
    requests: Arc<Semaphore>,
    registry: Reconnecting<RegistryClient>,
    records: Reconnecting<RecordsClient>,
    triggers: Reconnecting<TriggerAdminClient>,
    engine: Reconnecting<EngineAdminClient>,
    p2p: Reconnecting<P2pAdminClient>,
    lifecycles: [Reconnecting<LifecycleClient>; 4],
    health: HealthCache,
    metrics: HttpMetrics,
    alerts: RwLock<Vec<Alert>>,
    tail: Option<Tail>,
}

/// A call that failed, and whose it was.
#[derive(Debug)]
pub struct CallError {
    process: ProcessName,
    error: WireError,
}

impl CallError {
    /// The problem, where "not found" means the thing that the route is about.
    #[must_use]
    pub fn or_missing(self, code: &'static str, detail: impl Into<String>) -> Problem {
        if self.error.code == ErrorCode::NotFound {
            Problem::missing(code, detail)
        } else {
            self.into()
        }
    }

    /// What the process answered.
    #[must_use]
    pub fn error(&self) -> &WireError {
        &self.error
    }
}

impl From<CallError> for Problem {
    fn from(CallError { process, error }: CallError) -> Self {
        wire::problem(process.full(), error)
    }
}

impl Api {
    /// The state of the routes. `config` is what `GET /config` shows, `control` asks whoever runs the processes, `tail`
    /// is the end of their log where it passes through this process; nothing is connected yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        config: RedactedConfig,
        data_dir: &Path,
        processes: watch::Receiver<Vec<Snapshot>>,
        control: Control,
        tail: Option<Tail>,
    ) -> Self {
        let identity = Identity::new(Role::Supervisor);
        let ctl = |process: ProcessName| process.ctl_socket(data_dir);
        Self(Arc::new(Shared {
            requests: Arc::new(Semaphore::new(settings.max_concurrent)),
            current: RwLock::new((Arc::new(settings), Arc::new(config))),
            control,
            data_dir: data_dir.to_owned(),
            processes,
            registry: Reconnecting::new(ctl(ProcessName::Aggregator), identity),
            records: Reconnecting::new(ctl(ProcessName::Aggregator), identity),
            triggers: Reconnecting::new(ctl(ProcessName::Trigger), identity),
            engine: Reconnecting::new(ctl(ProcessName::Engine), identity),
            p2p: Reconnecting::new(ctl(ProcessName::P2p), identity),
            lifecycles: ProcessName::ALL.map(|process| Reconnecting::new(ctl(process), identity)),
            health: HealthCache::default(),
            metrics: HttpMetrics::default(),
            alerts: RwLock::default(),
            tail,
        }))
    }

    /// The settings as they are now.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.current().0)
    }

    /// The redacted configuration as of the start or the last reload.
    #[must_use]
    pub fn config(&self) -> Arc<RedactedConfig> {
        Arc::clone(&self.current().1)
    }

    /// Requests that begin from now on are served by these settings.
    pub fn renew(&self, settings: Settings, config: RedactedConfig) {
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = (Arc::new(settings), Arc::new(config));
    }

    /// The way to whoever runs the processes.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.0.control
    }

    fn current(&self) -> std::sync::RwLockReadGuard<'_, (Arc<Settings>, Arc<RedactedConfig>)> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory under which all processes keep their state.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.0.data_dir
    }

    /// What the API counts of itself.
    #[must_use]
    pub fn metrics(&self) -> &HttpMetrics {
        &self.0.metrics
    }

    /// The conditions that hold now.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        self.0.alerts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the conditions that hold.
    pub fn set_alerts(&self, alerts: Vec<Alert>) {
        *self.0.alerts.write().unwrap_or_else(PoisonError::into_inner) = alerts;
    }

    /// The end of the log, where it passes through this process.
    #[must_use]
    pub fn tail(&self) -> Option<&Tail> {
        self.0.tail.as_ref()
    }

    /// Where uploads are put for engine-svc.
    #[must_use]
    pub fn uploads(&self) -> PathBuf {
        self.0.data_dir.join("run").join("uploads")
    }

    /// The socket for the node's own user.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.0.data_dir.join("run").join("admin.sock")
    }

    /// The processes as the supervisor sees them.
    #[must_use]
    pub fn processes(&self) -> Vec<Snapshot> {
        self.0.processes.borrow().clone()
    }

    /// The cached answer of `GET /health`.
    #[must_use]
    pub fn health(&self) -> &HealthCache {
        &self.0.health
    }

    /// Room for one more request.
    #[must_use]
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.requests).try_acquire_owned().ok()
    }

    /// Calls aggregator-svc for services, keys, chains and jobs.
    pub async fn registry<T, Fut>(
        &self,
        deadline: Duration,
        call: impl FnOnce(RegistryClient, Context) -> Fut,
    ) -> Result<T, CallError>
    where
        Fut: Future<Output = Answer<T>>,
    {
        self.call(ProcessName::Aggregator, &self.0.registry, deadline, call)
            .await
    }

    /// Calls aggregator-svc for what it has on record about the work.
    pub async fn records<T, Fut>(
        &self,
        deadline: Duration,
        call: impl FnOnce(RecordsClient, Context) -> Fut,
    ) -> Result<T, CallError>
    where
        Fut: Future<Output = Answer<T>>,
    {
        self.call(ProcessName::Aggregator, &self.0.records, deadline, call)
            .await
    }

    /// Calls trigger-svc.
    pub async fn triggers<T, Fut>(
        &self,
        deadline: Duration,
        call: impl FnOnce(TriggerAdminClient, Context) -> Fut,
    ) -> Result<T, CallError>
    where
        Fut: Future<Output = Answer<T>>,
    {
        self.call(ProcessName::Trigger, &self.0.triggers, deadline, call).await
    }

    /// Calls engine-svc.
    pub async fn engine<T, Fut>(
        &self,
        deadline: Duration,
        call: impl FnOnce(EngineAdminClient, Context) -> Fut,
    ) -> Result<T, CallError>
    where
        Fut: Future<Output = Answer<T>>,
    {
        self.call(ProcessName::Engine, &self.0.engine, deadline, call).await
    }

    /// Calls p2p-svc.
    pub async fn p2p<T, Fut>(
        &self,
        deadline: Duration,
        call: impl FnOnce(P2pAdminClient, Context) -> Fut,
    ) -> Result<T, CallError>
    where
        Fut: Future<Output = Answer<T>>,
    {
        self.call(ProcessName::P2p, &self.0.p2p, deadline, call).await
    }

    /// Asks any process about itself. Does not wait for one that is down.
    pub async fn lifecycle<T, Fut>(
        &self,
        process: ProcessName,
        deadline: Duration,
        call: impl FnOnce(LifecycleClient, Context) -> Fut,
    ) -> Result<T, CallError>
    where
        Fut: Future<Output = Answer<T>>,
    {
        let down = |state: Option<ProcessState>| CallError {
            process,
            error: down(process, state),
        };
        match self.state(process) {
            Some(ProcessState::Running) => {}
            state => return Err(down(state)),
        }
        let index = ProcessName::ALL
            .iter()
            .position(|name| *name == process)
            .unwrap_or_default();
        self.0.lifecycles[index]
            .call(deadline, call)
            .await
            .map_err(|error| CallError { process, error })
    }

    async fn call<C, T, Fut>(
        &self,
        process: ProcessName,
        client: &Reconnecting<C>,
        deadline: Duration,
        call: impl FnOnce(C, Context) -> Fut,
    ) -> Result<T, CallError>
    where
        C: Contract,
        Fut: Future<Output = Answer<T>>,
    {
        self.available(process)
            .await
            .map_err(|error| CallError { process, error })?;
        client
            .call(deadline, call)
            .await
            .map_err(|error| CallError { process, error })
    }

    /// Waits for a process that comes back by itself in a moment. The sockets exist while a process is down, so without this a
    /// request would hang in its queue.
    async fn available(&self, process: ProcessName) -> Result<(), WireError> {
        let mut processes = self.0.processes.clone();
        let settled = processes.wait_for(|all| {
            !matches!(
                state_of(all, process),
                Some(ProcessState::Starting | ProcessState::Backoff | ProcessState::Stopping)
            )
        });
        // Late or not: what counts is the state now.
        let _ = tokio::time::timeout(RESTART_PATIENCE, settled).await.is_ok();
        match self.state(process) {
            Some(ProcessState::Running) => Ok(()),
            state => Err(down(process, state)),
        }
    }

    fn state(&self, process: ProcessName) -> Option<ProcessState> {
        state_of(&self.0.processes.borrow(), process)
    }
}

/// What a method of a generated client returns.
type Answer<T> = Result<Result<T, WireError>, RpcError>;

fn state_of(all: &[Snapshot], process: ProcessName) -> Option<ProcessState> {
    all.iter()
        .find(|snapshot| snapshot.name == process.full())
        .map(|snapshot| snapshot.state)
}

fn down(process: ProcessName, state: Option<ProcessState>) -> WireError {
    let state = state.map_or("not supervised", ProcessState::as_str);
    WireError::backoff(
        ErrorCode::Unavailable,
        format!("{process} is down ({state}); `wavs status` shows why"),
    )
}
