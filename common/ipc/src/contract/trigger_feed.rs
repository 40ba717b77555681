//! The work of trigger-svc for aggregator-svc: what to watch, what was seen, and service documents.
//!
//! trigger-svc holds no service configuration of its own: `sync` states everything that is wanted, under a generation
//! number, and is sent again after every reconnect. What was seen waits in a durable spool until it is acknowledged.

use serde::{Deserialize, Serialize};
use wavs_types::{ChainConfig, ChainKey, EventId, ServiceId, ServiceManager, Trigger, TriggerAction, WorkflowId};

use crate::error::WireError;
use crate::json::Json;

/// Longest wait of one `pull`, in milliseconds; a longer one is cut to it.
pub const MAX_PULL_WAIT_MS: u32 = 20_000;
/// Most items in one batch; a larger `max` is cut to it. A batch also ends before 3 MiB.
pub const MAX_PULL_ITEMS: u32 = 1_024;

#[tarpc::service]
pub trait TriggerFeed {
    /// Replace everything that is watched. Idempotent; an older generation than the last one is refused with `Conflict`.
    /// The answer means that the set is stored; `TriggerAdmin::streams` tells which sources are live already.
    async fn sync(watch: WatchSet) -> Result<(), WireError>;

    /// The items after `after`, oldest first, at most `max`. Waits up to `wait_ms` for the first one, then answers empty.
    async fn pull(after: SpoolCursor, max: u32, wait_ms: u32) -> Result<SpoolBatch, WireError>;

    /// Everything up to and including `upto` is committed elsewhere and may be forgotten.
    async fn ack(upto: SpoolCursor) -> Result<(), WireError>;

    /// Read the service URI from the manager (unless `uri` gives it), fetch the document and return its bytes.
    async fn resolve_service(request: ResolveService) -> Result<ResolvedService, WireError>;
}

/// The complete desired state of trigger-svc.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchSet {
    /// Grows with every change; survives restarts of aggregator-svc.
    pub generation: u64,
    /// The chains that may be used, from the configuration and from the API.
    pub chains: Vec<(ChainKey, Json<ChainConfig>)>,
    /// One entry per workflow of every registered service.
    pub routes: Vec<Route>,
    /// The managers whose service URI events are watched: those of all registered services.
    pub managers: Vec<(ServiceId, ServiceManager)>,
}

/// One workflow's trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The service.
    pub service_id: ServiceId,
    /// The workflow inside the service.
    pub workflow_id: WorkflowId,
    /// When it fires.
    pub trigger: Json<Trigger>,
    /// False while the service is paused: cursors move on, hits are counted and dropped.
    pub active: bool,
}

/// A position in the spool. The spool id is drawn when the spool is created, so that a cursor into a lost spool is
/// recognised: a `pull` with a foreign id starts at the oldest item, an `ack` with one is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpoolCursor {
    /// Which spool; zero means none seen yet.
    pub spool: u128,
    /// The last item that was taken; 0 before the first.
    pub seq: u64,
}

/// Items of the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolBatch {
    /// The spool that answered.
    pub spool: u128,
    /// In ascending order of `seq`; empty when the wait ended.
    pub items: Vec<SpoolItem>,
}

/// One thing that trigger-svc saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolItem {
    /// Position in the spool; never used twice.
    pub seq: u64,
    /// When it was seen, in nanoseconds since the Unix epoch.
    pub seen_at_ns: u64,
    /// What it is.
    pub body: SpoolBody,
}

/// A trigger or a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpoolBody {
    /// A workflow fired.
    Trigger {
        /// Durable identity of the occurrence, such as `evm:31337/0x<block hash>/<log index>`.
        source_key: String,
        /// What fired and the data of the occurrence.
        action: Json<TriggerAction>,
        /// The event id of a response without salt.
        event_id: EventId,
        /// Set for `POST /dev/triggers`: which injection, and exempt from every deduplication.
        injection: Option<u128>,
    },
    /// An occurrence that was reported has left its chain.
    Orphaned {
        /// The identity under which it was reported.
        source_key: String,
    },
    /// A registered manager announced a service URI.
    ServiceUri {
        /// The service whose manager spoke.
        service_id: ServiceId,
        /// The URI as announced, not yet checked.
        uri: String,
        /// Block height of the announcement.
        height: u64,
    },
}

/// Which service document to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveService {
    /// The manager contract.
    pub manager: ServiceManager,
    /// Configuration of the manager's chain.
    pub chain: Json<ChainConfig>,
    /// Fetch this URI instead of the one that the manager names now.
    pub uri: Option<String>,
}

/// A service document as fetched: any byte may be hostile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedService {
    /// The URI that was fetched.
    pub uri: String,
    /// The bytes, at most 1 MiB.
    #[serde(with = "serde_bytes")]
    pub document: Vec<u8>,
}
