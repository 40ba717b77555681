//! The sources: one supervised task per origin of events.
//!
//! [`Sources::apply`] makes the running tasks equal to the desired state. A task that panics is started again; a source
//! whose chain is no longer used lingers a while and ends; its position stays.

pub(crate) mod block_interval;
mod cron;
mod evm;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};
use wavs_ipc::contract::trigger_admin::ChainStatus;
use wavs_service::config::TriggerConfig;
use wavs_types::{ChainConfig, ChainKey, CosmosChainConfig, EvmChainConfig, Trigger, redacted_url};

use self::cron::{CronSource, Misfire, SharedBoard};
use block_interval::IntervalOptions;
pub(crate) use evm::MinedLog;
use evm::{EvmSource, SharedState};

use crate::clock::WallClock;
use crate::metrics::Metrics;
use crate::spool::Spool;
use crate::watch::{EvmView, Route, Watch};

/// Pause before a source that panicked starts again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// How long a source is kept that nothing uses any more: a service that is replaced by another one keeps its connection.
const UNUSED_LINGER: Duration = Duration::from_secs(60);
/// Time between two looks at the endpoints of a chain that are not in use.
const SCOUT_PAUSE: Duration = Duration::from_secs(30);

/// All running sources.
pub(crate) struct Sources {
    spool: Spool,
    metrics: Metrics,
    options: Options,
    evm: BTreeMap<ChainKey, RunningEvm>,
    cron: Option<RunningCron>,
}

/// What the configuration says about sources.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Off in development setups that only inject. Schedules need no network.
    pub networking: bool,
    /// Block intervals.
    pub intervals: IntervalOptions,
    /// Schedules.
    pub misfire: Misfire,
    /// Time between two looks at the endpoints of a chain that are not in use.
    pub scout_pause: Duration,
}

impl Options {
    /// Takes them out of the configuration.
    pub(crate) fn new(config: &TriggerConfig) -> Self {
        Self {
            networking: !config.networking_disabled,
            intervals: IntervalOptions {
                fire_after_end: config.block_interval_fire_after_end,
                catch_up: config.block_interval_catch_up,
            },
            misfire: Misfire {
                policy: config.cron_misfire_policy,
                window: config.cron_misfire_window,
            },
            scout_pause: SCOUT_PAUSE,
        }
    }
}

struct RunningCron {
    routes: watch::Sender<Vec<Route>>,
    state: SharedBoard,
    task: JoinHandle<()>,
}

impl Drop for RunningCron {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct RunningEvm {
    config: EvmChainConfig,
    views: watch::Sender<Option<Arc<EvmView>>>,
    state: SharedState,
    /// Since when no route or manager needs the chain.
    unused_since: Option<Instant>,
    task: JoinHandle<()>,
}

impl RunningEvm {
    /// States what is wanted now. A view that asks for the same as before causes no traffic.
    fn change(&mut self, view: EvmView, is_used: bool) {
        self.unused_since = if is_used {
            None
        } else {
            self.unused_since.or_else(|| Some(Instant::now()))
        };
        self.views.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|current| current.same(&view));
            if !same {
                *current = Some(Arc::new(view));
            }
            !same
        });
    }
}

impl Drop for RunningEvm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sources {
    /// No sources yet.
    pub(crate) fn new(spool: Spool, metrics: Metrics, options: Options) -> Self {
        Self {
            spool,
            metrics,
            options,
            evm: BTreeMap::new(),
            cron: None,
        }
    }

    /// Starts, changes and ends sources until they serve `watch`.
    pub(crate) fn apply(&mut self, watch: &Watch) {
        report_unserved(watch);
        self.apply_schedules(watch.schedules());
        if !self.options.networking {
            return;
        }
        let used = watch.used_chains();
        let running: Vec<ChainKey> = self.evm.keys().cloned().collect();
        let views: BTreeMap<_, _> = used
            .iter()
            .copied()
            .chain(&running)
            .filter_map(|chain| Some((chain.clone(), watch.evm_view(chain)?)))
            .collect();
        // A changed endpoint list needs new connections; the stored position makes the change seamless.
        self.evm
            .retain(|chain, running| views.get(chain).is_some_and(|view| view.config == running.config));
        for (chain, view) in views {
            let is_used = used.contains(&chain);
            match self.evm.get_mut(&chain) {
                Some(running) => running.change(view, is_used),
                None if is_used => {
                    let running = self.start_evm(&chain, Arc::new(view));
                    self.evm.insert(chain, running);
                }
                None => {}
            }
        }
    }

    /// Ends the sources that have not been used for a while. One that is used again before needs no new connection.
    pub(crate) fn end_unused(&mut self) {
        let is_due = |since: Instant| since.elapsed() >= UNUSED_LINGER;
        self.evm.retain(|chain, running| {
            let ends = running.unused_since.is_some_and(is_due);
            if ends {
                info!(%chain, "nothing uses the chain any more; closing its source");
            }
            !ends
        });
    }

    /// The task of the schedules runs from the first route on; without routes it waits.
    fn apply_schedules(&mut self, routes: Vec<Route>) {
        match &self.cron {
            Some(running) => {
                running.routes.send_replace(routes);
            }
            None if routes.is_empty() => {}
            None => self.cron = Some(self.start_cron(routes)),
        }
    }

    fn start_cron(&self, routes: Vec<Route>) -> RunningCron {
        let (routes, receiver) = watch::channel(routes);
        let state = SharedBoard::default();
        let (spool, metrics, misfire, shown) = (
            self.spool.clone(),
            self.metrics.clone(),
            self.options.misfire,
            state.clone(),
        );
        let task = supervise("cron".to_owned(), move || {
            let source = CronSource {
                routes: receiver.clone(),
                spool: spool.clone(),
                clock: WallClock::system(),
                misfire,
                metrics: metrics.clone(),
                state: shown.clone(),
            };
            source.run()
        });
        RunningCron { routes, state, task }
    }

    fn start_evm(&self, chain: &ChainKey, view: Arc<EvmView>) -> RunningEvm {
        let config = view.config.clone();
        let (views, receiver) = watch::channel(Some(view));
        let state = SharedState::default();
        let (name, of, watched, shown) = (chain.to_string(), chain.clone(), config.clone(), state.clone());
        let (spool, metrics) = (self.spool.clone(), self.metrics.clone());
        let Options {
            intervals, scout_pause, ..
        } = self.options;
        let task = supervise(name, move || {
            let source = EvmSource {
                chain: of.clone(),
                config: watched.clone(),
                views: receiver.clone(),
                spool: spool.clone(),
                state: shown.clone(),
                metrics: metrics.clone(),
                intervals,
                scout_pause,
            };
            source.run()
        });
        RunningEvm {
            config,
            views,
            state,
            unused_since: None,
            task,
        }
    }

    /// The JSON object of `GET /dev/trigger-streams`.
    pub(crate) fn streams(&self) -> Value {
        let chains: serde_json::Map<_, _> = self
            .evm
            .iter()
            .map(|(chain, running)| (chain.to_string(), running.state.lock().to_json()))
            .collect();
        let cron = self.cron.as_ref().map(|running| running.state.to_json());
        json!({
            "chains": chains,
            "hypercore": {},
            "cron": cron.unwrap_or_else(|| json!({ "routes": [] })),
        })
    }

    /// How each of `chains` is followed, in their order.
    pub(crate) fn chains(&self, chains: &BTreeMap<ChainKey, ChainConfig>) -> Vec<ChainStatus> {
        let status = |(chain, config): (&ChainKey, &ChainConfig)| match (self.evm.get(chain), config) {
            (Some(running), _) => running.state.lock().to_status(chain, &running.config),
            (None, ChainConfig::Evm(config)) => evm::idle_status(chain, config),
            (None, ChainConfig::Cosmos(config)) => cosmos_status(chain, config),
        };
        chains.iter().map(status).collect()
    }

    /// The chains that are used, each with what is wrong: why it has no connection.
    pub(crate) fn conditions(&self) -> BTreeMap<ChainKey, Option<String>> {
        let used = self.evm.iter().filter(|(_, running)| running.unused_since.is_none());
        used.map(|(chain, running)| {
            let state = running.state.lock();
            (chain.clone(), state.last_error.clone().filter(|_| !state.connected))
        })
        .collect()
    }
}

/// A chain of a kind that this version does not follow.
fn cosmos_status(chain: &ChainKey, config: &CosmosChainConfig) -> ChainStatus {
    let urls = config.rpc_endpoint.iter().chain(&config.rpc_endpoints);
    ChainStatus {
        last_error: Some("this version does not serve Cosmos chains".to_owned()),
        ..ChainStatus::idle(chain.clone(), "latest", urls.map(|url| redacted_url(url)))
    }
}

/// Runs a source, and starts it again when it panics.
fn supervise<F>(name: String, source: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        // The inner task is aborted together with this one, because dropping a `JoinSet` aborts what is in it.
        let mut inner = tokio::task::JoinSet::new();
        loop {
            inner.spawn(source());
            match inner.join_next().await {
                Some(Err(cause)) if cause.is_panic() => {
                    error!(source = name, "the source panicked; starting it again");
                    tokio::time::sleep(PANIC_PAUSE).await;
                }
                _ => return,
            }
        }
    })
}

/// Says which routes this version cannot serve: never silently.
fn report_unserved(watch: &Watch) {
    for route in &watch.routes {
        let served = match &route.trigger {
            Trigger::EvmContractEvent { .. } | Trigger::Cron { .. } | Trigger::Manual => true,
            Trigger::BlockInterval { chain, .. } => !matches!(watch.chains.get(chain), Some(ChainConfig::Cosmos(_))),
            _ => false,
        };
        if !served {
            warn!(
                service_id = %route.service_id, workflow_id = %route.workflow_id, kind = route.trigger.kind(),
                "this version does not serve triggers of this kind; the workflow does not fire"
            );
        }
    }
}

#[cfg(test)]
mod tests;
