//! Putting the process together: ledger, keys, links, registry and pipeline, and the order in which they start and stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wavs_ipc::{Identity, Reconnecting, Role};
use wavs_service::{Metrics, StatusBoard};
use wavs_store::Durability;

use crate::chain::{ChainMetrics, Chains, PostingSigner, Transactions};
use crate::keys::Keyring;
use crate::ledger::{Ledger, buckets, chains as stored_chains, guardian, jobs, targets, timers};
use crate::metrics::PipelineMetrics;
use crate::peers::Peers;
use crate::peers::operators::Operators;
use crate::pipeline::aggregate::Aggregate;
use crate::pipeline::core::{Core, Parts};
use crate::pipeline::execute::Execute;
use crate::pipeline::settle::Settle;
use crate::pipeline::submit::Submit;
use crate::pipeline::{intake, open, room, stalled, sweep};
use crate::records::RecordsService;
use crate::registry::directory::Directory;
use crate::registry::{Registry, Updater, watch};
use crate::service::RegistryService;
use crate::settings::Settings;
use crate::variables::Variables;
use crate::wallets;

/// Service URI notices that wait for the updater. When it is full a notice is dropped and the periodic check makes up for it.
const NOTICES: usize = 256;

/// How long a stopping node waits for runs and commits; what is interrupted is resumed from the ledger.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What a node is made from.
pub struct Setup {
    /// File of the ledger.
    pub ledger: PathBuf,
    /// Socket of engine-svc.
    pub engine: PathBuf,
    /// Socket of trigger-svc.
    pub trigger: PathBuf,
    /// Socket of p2p-svc; none: there is no network of operators.
    pub p2p: Option<PathBuf>,
    /// How to work.
    pub settings: Settings,
    /// Component variables.
    pub variables: Variables,
    /// Derives the services' keys; none: no service can be added.
    pub keyring: Option<Arc<Keyring>>,
    /// Pays for transactions; none: this node never posts.
    pub posting: Option<Arc<dyn PostingSigner>>,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// Where the process says how it is.
    pub status: StatusBoard,
}

/// A running node.
pub struct Node {
    /// What the supervisor calls.
    pub service: RegistryService,
    /// What the supervisor asks about the work.
    pub records: RecordsService,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Node {
    /// Opens the ledger and starts everything. Services run as soon as engine-svc and trigger-svc answer.
    ///
    /// # Errors
    /// When the ledger cannot be opened or read.
    pub async fn start(setup: Setup, stop: CancellationToken) -> anyhow::Result<Self> {
        let ledger = Ledger::open(&setup.ledger)?;
        let identity = Identity::new(Role::Aggregator);
        let feed = Reconnecting::new(setup.trigger, identity);
        let chains = Chains::new(Arc::new(ChainMetrics::new(&setup.metrics)));
        let posts = setup.posting.is_some();
        let directory = Arc::new(Directory::default());
        // The transaction manager resumes what is open, so the chains have to be known to it first.
        let mut known: BTreeMap<_, _> = ledger.read(stored_chains::all).await?.into_iter().collect();
        known.extend(setup.settings.chains.clone());
        chains.set(&known);
        let transactions =
            Transactions::start(chains.clone(), ledger.database().writer(), setup.posting, stop.clone()).await?;
        let core = Arc::new(Core::new(Parts {
            ledger: ledger.clone(),
            directory: Arc::clone(&directory),
            engine: Reconnecting::new(setup.engine, identity),
            chains,
            transactions,
            settings: setup.settings,
            variables: setup.variables,
            metrics: PipelineMetrics::new(&setup.metrics),
            peers: Peers::new(setup.p2p),
        }));
        Operators::load(&core).await?;
        let (watch, pusher) = watch::pair();
        let changes = watch.generations();
        let signs = setup.keyring.is_some();
        let registry = Registry::new(Arc::clone(&core), feed.clone(), setup.keyring, watch);
        let alarms = registry.load().await?;
        report(&setup.status, &core, signs, posts, alarms);
        let wallets = wallets::report(setup.status.clone(), core.transactions.clone(), stop.clone());
        let interrupted = ledger
            .write(Durability::Process, |tx| {
                targets::hurry(tx)?;
                buckets::renumber_interrupted(tx)?;
                timers::renumber_interrupted(tx)?;
                targets::renumber_interrupted(tx)?;
                jobs::renumber_interrupted(tx)
            })
            .await?;
        if interrupted > 0 {
            tracing::info!(jobs = interrupted, "resuming the jobs that wait for their runs");
        }

        let tasks = TaskTracker::new();
        tasks.spawn(wallets);
        tasks.spawn(pusher.run(directory, ledger, feed.clone(), stop.clone()));
        tasks.spawn(
            core.execute
                .clone()
                .run(Arc::new(Execute(Arc::clone(&core))), stop.clone()),
        );
        tasks.spawn(
            core.aggregate
                .clone()
                .run(Arc::new(Aggregate(Arc::clone(&core))), stop.clone()),
        );
        tasks.spawn(
            core.submit
                .clone()
                .run(Arc::new(Submit(Arc::clone(&core))), stop.clone()),
        );
        tasks.spawn(
            core.settle
                .clone()
                .run(Arc::new(Settle(Arc::clone(&core))), stop.clone()),
        );
        tasks.spawn(guardian::run(core.ledger.clone(), setup.status, stop.clone()));
        tasks.spawn(registry.clone().watch_keys(stop.clone()));
        tasks.spawn(room::run(Arc::clone(&core), stop.clone()));
        tasks.spawn(stalled::run(Arc::clone(&core), stop.clone()));
        tasks.spawn(open::run(Arc::clone(&core), stop.clone()));
        tasks.spawn(sweep::run(Arc::clone(&core), stop.clone()));
        Peers::start(&core, changes, &tasks, &stop);
        let (notices, received) = mpsc::channel(NOTICES);
        tasks.spawn(intake::run(Arc::clone(&core), feed, notices, stop.clone()));
        tasks.spawn(Updater::new(registry.clone(), received).run(core.settings.recheck, stop.clone()));
        let (starting, ended) = (registry.clone(), stop.clone());
        tasks.spawn(async move {
            let preparing = async { tokio::join!(starting.finish_pending(), starting.warm_up()) };
            let _ = ended.run_until_cancelled(preparing).await;
        });
        Ok(Self {
            service: RegistryService::new(registry, Arc::clone(&core)),
            records: RecordsService::new(core),
            tasks,
            stop,
        })
    }

    /// Stops: nothing new is taken, what runs gets `STOP_GRACE` to finish, everything else is in the ledger.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_GRACE, self.tasks.wait()).await.is_err() {
            tracing::info!("guests are still running; their jobs are run again after the restart");
        }
    }
}

fn report(status: &StatusBoard, core: &Arc<Core>, signs: bool, posts: bool, alarms: Vec<String>) {
    if !signs {
        tracing::warn!("no signing_mnemonic is configured: no service can be added");
        status.fact("signing key", "none");
    }
    if !posts {
        tracing::warn!("no aggregator_evm_credential is configured: this node never posts to EVM chains");
        status.fact("posting key", "none");
    }
    for alarm in alarms {
        status.degrade(format!("key {alarm}"), alarm);
    }
    let lanes = Arc::clone(core);
    status.queue("jobs", lanes.settings.max_queue as u64, move || {
        lanes.execute.depth() as u64
    });
    let lanes = Arc::clone(core);
    status.queue("aggregator_runs", lanes.aggregate.capacity() as u64, move || {
        lanes.aggregate.depth() as u64
    });
    let lanes = Arc::clone(core);
    status.queue("targets", lanes.submit.capacity() as u64, move || {
        lanes.submit.depth() as u64
    });
}
