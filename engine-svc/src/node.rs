//! The process without its sockets: everything that runs, stores and fetches, built once.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto;
use wavs_service::StatusBoard;

use crate::chains::ChainTables;
use crate::compiler::Compiler;
use crate::components::{ContentStore, Sources};
use crate::documents::Documents;
use crate::downloads::Downloads;
use crate::egress::Resolver;
use crate::host::{GuestLogs, Shares, descriptors, memory};
use crate::kv::Kv;
use crate::metrics::Metrics;
use crate::processes::Helpers;
use crate::runtime::{GuestExecutor, Habits, Library, PoolSize, SlotLimits, Slots, Ticker};
use crate::settings::Settings;

/// engine-svc. Clones share everything.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<ContentStore>,
    pub(crate) library: Library,
    pub(crate) slots: Slots,
    pub(crate) executor: GuestExecutor,
    pub(crate) habits: Habits,
    pub(crate) names: Arc<Resolver>,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) kv: Kv,
    pub(crate) logs: Arc<GuestLogs>,
    pub(crate) descriptors: Arc<Shares>,
    pub(crate) memory: Arc<Shares>,
    pub(crate) documents: Documents,
    pub(crate) chains: ChainTables,
    pub(crate) metrics: Arc<Metrics>,
}

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The component store cannot be opened.
    #[error("cannot open the component store {path}: {cause}; check that it belongs to the user of engine-svc", path = path.display())]
    Components {
        /// The directory.
        path: PathBuf,
        /// What failed.
        #[source]
        cause: std::io::Error,
    },
    /// A directory cannot be made.
    #[error("cannot make the directory {path}: {cause}; check that its parent belongs to the user of engine-svc", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What failed.
        #[source]
        cause: std::io::Error,
    },
    /// The key-value store cannot be opened.
    #[error(transparent)]
    Kv(#[from] wavs_store::StoreError),
    /// The system refuses threads.
    #[error("cannot start the threads for guests: {0}; check the task limit of the process")]
    Threads(#[source] std::io::Error),
}

impl Node {
    /// The runtimes that guests have to themselves, by name.
    #[must_use]
    pub fn guest_runtimes(&self) -> [(&'static str, tokio::runtime::Handle); 2] {
        self.inner.executor.runtimes()
    }

    /// Opens the state, takes over the helpers and starts the guest threads. Blocks while the key-value schema is brought up to date.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: Settings, helpers: Helpers, registry: &wavs_service::Metrics) -> Result<Self, OpenError> {
        // `wasi:tls` takes the default of the process; which one wins does not matter.
        let _ = crypto::ring::default_provider().install_default();
        let root = settings.components_dir();
        let store = ContentStore::open(root.clone()).map_err(|cause| OpenError::Components { path: root, cause })?;
        let store = Arc::new(store);
        fs::create_dir_all(settings.kv_dir()).map_err(|cause| OpenError::Directory {
            path: settings.kv_dir(),
            cause,
        })?;
        let kv = Kv::open(&settings.kv_dir().join("kv.db"), settings.caps.guest.kv)?;
        let metrics = Arc::new(Metrics::new(registry));
        let ticker = Arc::new(Ticker::start().map_err(OpenError::Threads)?);
        let executor = GuestExecutor::start(settings.workers).map_err(OpenError::Threads)?;
        let downloads = Downloads::start(helpers.downloads).map_err(OpenError::Threads)?;
        let sources = Sources::new(store.clone(), downloads, metrics.clone());
        let slots = settings.slots();
        let pool = PoolSize {
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            guest: settings.caps.guest,
        };
        let compiler = Compiler::start(helpers.compiler).map_err(OpenError::Threads)?;
        let library = Library::new(
            sources,
            compiler,
            pool,
            ticker.clone(),
            settings.compiled,
            metrics.clone(),
        );
        let limits = SlotLimits {
            total: slots,
            per_service: settings.max_parallel_per_service.max(1),
            queue: settings.queue_per_service.max(1),
        };
        let inner = Inner {
            store,
            library,
            slots: Slots::new(limits),
            executor,
            habits: Habits::default(),
            names: Resolver::start().map_err(OpenError::Threads)?,
            ticker,
            kv,
            logs: Arc::default(),
            descriptors: Arc::new(descriptors::of_process(slots, settings.compiled.get())),
            memory: Arc::new(memory::shares(settings.memory, slots)),
            documents: Documents::default(),
            chains: ChainTables::default(),
            metrics,
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits until the process can no longer compile or download, and should be replaced by a fresh one.
    pub fn broken(&self) -> impl Future<Output = ()> + Send + use<> {
        let [compiles, downloads] = self.inner.library.helpers();
        async move {
            tokio::select! {
                () = compiles.cancelled() => (),
                () = downloads.cancelled() => (),
            }
        }
    }

    /// Shows the queue of runs and the guest threads on the status board.
    pub fn report(&self, board: &StatusBoard) {
        let slots = self.inner.slots.clone();
        let limits = slots.limits();
        let waiting = slots.clone();
        board.queue("runs", limits.total as u64, move || slots.load().0 as u64);
        board.queue("runs waiting", limits.queue as u64, move || waiting.load().1 as u64);
        board.fact("guest threads", self.inner.settings.workers);
    }
}
