//! What all stages share, and how a stage wakes the next one.

use std::sync::Arc;

use tokio::sync::{Notify, RwLock, watch};
use wavs_ipc::Reconnecting;
use wavs_ipc::contract::engine::EngineClient;
use wavs_types::{B256, EventId, TriggerAction};

use super::handover::Handover;
use super::lane::Lane;
use super::runs::Slots;
use super::schedule::Limits;
use crate::chain::{Chains, Transactions};
use crate::ledger::Ledger;
use crate::ledger::buckets::BucketRow;
use crate::ledger::jobs::JobRow;
use crate::metrics::PipelineMetrics;
use crate::peers::Peers;
use crate::registry::directory::Directory;
use crate::settings::Settings;
use crate::variables::Variables;

/// Jobs at work at once: in a run, or in the commit of their signatures. Most of them wait for that commit, which all share, so
/// this decides how many share one.
const EXECUTE: Limits = Limits {
    running: 512,
    per_service: 256,
    known: usize::MAX,
};
/// Runs of aggregator components at once, or commits of their actions, and how many of their rows are kept in memory; the others
/// wait in the ledger.
const AGGREGATE: Limits = Limits {
    running: 512,
    per_service: 256,
    known: 16_384,
};
/// Targets at work at once, most of them waiting for a receipt, and how many of their rows are kept in memory.
const SUBMIT: Limits = Limits {
    running: 1_024,
    per_service: 256,
    known: 16_384,
};

/// Mined targets that wait for their depth, which costs next to nothing each; the others wait in the ledger.
const SETTLE: Limits = Limits {
    running: 8_192,
    per_service: 4_096,
    known: 16_384,
};

/// A run of an aggregator component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregatorWork {
    /// `process-input` of a bucket.
    Input(EventId, B256),
    /// `handle-timer-callback` of a timer row.
    Timer(i64),
    /// `handle-submit-callback` of a target row.
    Callback(i64),
}

/// What all stages share.
pub struct Core {
    /// The ledger.
    pub ledger: Ledger,
    /// Services and chains.
    pub directory: Arc<Directory>,
    /// engine-svc.
    pub engine: Reconnecting<EngineClient>,
    /// Reads of target chains.
    pub chains: Chains,
    /// Writes to target chains.
    pub transactions: Transactions,
    /// How to work.
    pub settings: Settings,
    /// Component variables.
    pub variables: Variables,
    /// Counters.
    pub metrics: PipelineMetrics,
    /// Jobs whose component is to be run.
    pub execute: Lane<u128>,
    /// From intake to the run of the operator component.
    pub jobs: Handover<u128, (JobRow, TriggerAction)>,
    /// Runs of aggregator components.
    pub aggregate: Lane<AggregatorWork>,
    /// From the signature to the run of the aggregator component.
    pub buckets: Handover<(EventId, B256), BucketRow>,
    /// Targets on their way to a chain.
    pub submit: Lane<i64>,
    /// Mined targets on their way to finality.
    pub settle: Lane<i64>,
    /// The other operators.
    pub peers: Peers,
    /// Limits the runs that are asked of engine-svc at once, over all services.
    pub engine_slots: Slots,
    /// Shared by runs that may be what engine-svc died of, but for the last trial of each, which has it alone.
    pub trials: Arc<RwLock<()>>,
    /// Says that a service has as many open events as it may have.
    pub filled: Notify,
    /// Says that a target has a service manager that its service was not seen with before.
    pub mirrored: Notify,
    /// Counted up when jobs leave `received`.
    progress: watch::Sender<u64>,
}

/// The parts of a [`Core`].
pub struct Parts {
    /// The ledger.
    pub ledger: Ledger,
    /// Services and chains.
    pub directory: Arc<Directory>,
    /// engine-svc.
    pub engine: Reconnecting<EngineClient>,
    /// Reads of target chains.
    pub chains: Chains,
    /// Writes to target chains.
    pub transactions: Transactions,
    /// How to work.
    pub settings: Settings,
    /// Component variables.
    pub variables: Variables,
    /// Counters.
    pub metrics: PipelineMetrics,
    /// The other operators.
    pub peers: Peers,
}

impl Core {
    /// Puts the parts together; nothing runs yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        // Intake waits at `max_queue`, one batch may go beyond it.
        let known = parts.settings.max_queue + wavs_ipc::contract::trigger_feed::MAX_PULL_ITEMS as usize;
        let engine_slots = Slots::new(parts.settings.engine_slots);
        Self {
            ledger: parts.ledger,
            directory: parts.directory,
            engine: parts.engine,
            chains: parts.chains,
            transactions: parts.transactions,
            settings: parts.settings,
            variables: parts.variables,
            metrics: parts.metrics,
            peers: parts.peers,
            execute: Lane::new(Limits { known, ..EXECUTE }),
            jobs: Handover::default(),
            aggregate: Lane::new(AGGREGATE),
            buckets: Handover::default(),
            submit: Lane::new(SUBMIT),
            settle: Lane::new(SETTLE),
            engine_slots,
            trials: Arc::default(),
            filled: Notify::new(),
            mirrored: Notify::new(),
            progress: watch::Sender::new(0),
        }
    }

    /// Says that jobs have left `received`.
    pub fn progressed(&self) {
        self.progress.send_modify(|count| *count += 1);
    }

    /// Follows [`Self::progressed`].
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Has all lanes read their rows again, because a service was resumed or updated.
    pub fn reload(&self) {
        self.execute.reload();
        self.aggregate.reload();
        self.submit.reload();
    }
}
