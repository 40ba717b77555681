//! The sources: one supervised task per origin of events.
//!
//! [`Sources::apply`] makes the running tasks equal to the desired state. A task that panics is started again; a source
//! whose chain is no longer used ends, and its cursor stays.

mod evm;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, warn};
use wavs_types::{ChainKey, EvmChainConfig, Trigger};

pub(crate) use evm::MinedLog;
use evm::{EvmSource, SharedState};

use crate::metrics::Metrics;
use crate::spool::Spool;
use crate::watch::{EvmView, Watch};

/// Pause before a source that panicked starts again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// All running sources.
pub(crate) struct Sources {
    spool: Spool,
    metrics: Metrics,
    /// Off in development setups that only inject.
    networking: bool,
    evm: BTreeMap<ChainKey, RunningEvm>,
}

struct RunningEvm {
    config: EvmChainConfig,
    views: watch::Sender<Option<Arc<EvmView>>>,
    state: SharedState,
    task: JoinHandle<()>,
}

impl Drop for RunningEvm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sources {
    /// No sources yet.
    pub(crate) fn new(spool: Spool, metrics: Metrics, networking: bool) -> Self {
        Self {
            spool,
            metrics,
            networking,
            evm: BTreeMap::new(),
        }
    }

    /// Starts, changes and ends sources until they serve `watch`.
    pub(crate) fn apply(&mut self, watch: &Watch) {
        report_unserved(watch);
        if !self.networking {
            return;
        }
        let views: BTreeMap<_, _> = watch
            .used_chains()
            .into_iter()
            .filter_map(|chain| Some((chain.clone(), watch.evm_view(chain)?)))
            .collect();
        // A changed endpoint list needs new connections; the cursor makes the change seamless.
        self.evm
            .retain(|chain, running| views.get(chain).is_some_and(|view| view.config == running.config));
        for (chain, view) in views {
            let view = Arc::new(view);
            match self.evm.get(&chain) {
                Some(running) => {
                    running.views.send_replace(Some(view));
                }
                None => {
                    let running = self.start_evm(&chain, view);
                    self.evm.insert(chain, running);
                }
            }
        }
    }

    fn start_evm(&self, chain: &ChainKey, view: Arc<EvmView>) -> RunningEvm {
        let config = view.config.clone();
        let (views, receiver) = watch::channel(Some(view));
        let state = SharedState::default();
        let source = {
            let (chain, config, state) = (chain.clone(), config.clone(), state.clone());
            let (spool, metrics) = (self.spool.clone(), self.metrics.clone());
            move || EvmSource {
                chain: chain.clone(),
                config: config.clone(),
                views: receiver.clone(),
                spool: spool.clone(),
                state: state.clone(),
                metrics: metrics.clone(),
            }
        };
        let name = chain.clone();
        let task = tokio::spawn(async move {
            // The inner task is aborted together with this one, because dropping a `JoinSet` aborts what is in it.
            let mut inner = tokio::task::JoinSet::new();
            loop {
                inner.spawn(source().run());
                match inner.join_next().await {
                    Some(Err(cause)) if cause.is_panic() => {
                        error!(chain = %name, "the source panicked; starting it again");
                        tokio::time::sleep(PANIC_PAUSE).await;
                    }
                    _ => return,
                }
            }
        });
        RunningEvm {
            config,
            views,
            state,
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
        json!({ "chains": chains, "hypercore": {} })
    }

    /// The chains that have no connection, with the reason.
    pub(crate) fn troubled(&self) -> Vec<(ChainKey, String)> {
        self.evm
            .iter()
            .filter_map(|(chain, running)| {
                let state = running.state.lock();
                let reason = state.last_error.clone()?;
                (!state.connected).then(|| (chain.clone(), reason))
            })
            .collect()
    }
}

/// Says which routes this version cannot serve: never silently.
fn report_unserved(watch: &Watch) {
    for route in &watch.routes {
        if !matches!(route.trigger, Trigger::EvmContractEvent { .. } | Trigger::Manual) {
            warn!(
                service_id = %route.service_id, workflow_id = %route.workflow_id, kind = route.trigger.kind(),
                "this version does not serve triggers of this kind; the workflow does not fire"
            );
        }
    }
}

#[cfg(test)]
mod tests;
