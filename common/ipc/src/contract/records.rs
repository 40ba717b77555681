//! What aggregator-svc has on record about the work, for the HTTP API: runs of guests, dead letters, quorums, transactions, the
//! history of services and their counters; and the two decisions about a dead letter, to try it again or to drop it.

use serde::{Deserialize, Serialize};
use wavs_types::{ChainKey, ComponentDigest, EventId, ServiceDigest, ServiceId, WorkflowId};

use super::registry::JobView;
use crate::error::WireError;

/// Most rows of one answer; a larger `max` is cut to it.
pub const MAX_ROWS: u32 = 500;

#[tarpc::service]
pub trait Records {
    /// Runs of guests, newest first.
    async fn executions(query: ExecutionQuery) -> Result<Vec<ExecutionView>, WireError>;

    /// Jobs that ended as `failed` or `expired` and were not dropped, newest first.
    async fn dead_letters(query: DeadLetterQuery) -> Result<Vec<DeadLetter>, WireError>;

    /// Resume dead letters at the stage where they failed, oldest first. `NotFound` if a job is named that is no dead letter,
    /// `Conflict` if it is one of a service that is not registered. Answers how many are resumed.
    async fn retry_dead_letters(request: RetryDeadLetters) -> Result<u32, WireError>;

    /// Take a job off the dead letters for good; the job itself stays until its retention. `NotFound` if it is not among them.
    async fn drop_dead_letter(job: u128) -> Result<(), WireError>;

    /// Events that collect signatures or did so recently, newest first.
    async fn quorums(query: QuorumQuery) -> Result<Vec<QuorumView>, WireError>;

    /// Transactions of this node, newest first.
    async fn transactions(query: TransactionQuery) -> Result<Vec<TransactionView>, WireError>;

    /// What happened to a service, newest first; also of one that was removed.
    async fn history(service_id: ServiceId, before: Option<u64>, max: u32) -> Result<Vec<HistoryEntry>, WireError>;

    /// What a registered service has done since it was registered.
    async fn progress(service_id: ServiceId) -> Result<ServiceProgress, WireError>;
}

/// The two kinds of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GuestKind {
    /// Runs for a trigger.
    Operator,
    /// Decides about a signed response.
    Aggregator,
}

impl GuestKind {
    /// The name in the API, metrics and the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Aggregator => "aggregator",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Operator, Self::Aggregator]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecutionQuery {
    /// Only of this job, those of the aggregator component for its events included.
    pub job: Option<u128>,
    /// Only of this service.
    pub service_id: Option<ServiceId>,
    /// Only of this kind.
    pub kind: Option<GuestKind>,
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Only runs before this one.
    pub before: Option<u64>,
    /// At most so many, up to [`MAX_ROWS`].
    pub max: u32,
}

/// One run of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionView {
    /// Position in the record; ascending.
    pub id: u64,
    /// The service.
    pub service_id: ServiceId,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// What ran.
    pub component: ComponentDigest,
    /// Which world it ran in.
    pub kind: GuestKind,
    /// The export that was called.
    pub call: String,
    /// The job, for an operator component.
    pub job: Option<u128>,
    /// The event, for an aggregator component.
    pub event_id: Option<EventId>,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// `ok`, `guest_fault`, `limit`, `component_fault`, `host_fault`, `ambiguous` or `refused`.
    pub outcome: String,
    /// What went wrong.
    pub error: Option<String>,
    /// When the result came, in microseconds since the Unix epoch.
    pub ended_at_us: u64,
    /// From the call to its result, in microseconds, waiting for a slot included.
    pub waited_us: u64,
    /// The run itself, in microseconds; absent when engine-svc could not tell.
    pub duration_us: Option<u64>,
    /// Fuel burnt; absent when the run was not metered.
    pub fuel: Option<u64>,
    /// Peak of the linear memories, in bytes; absent when engine-svc could not tell.
    pub memory_peak: Option<u64>,
    /// Responses or actions that it returned.
    pub responses: u32,
    /// Bytes of the responses' payloads.
    pub response_bytes: u64,
}

/// Where in the pipeline a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// The operator component did not give a result.
    Execute,
    /// Its result could not be signed.
    Sign,
    /// The aggregator component did not give its actions.
    Aggregate,
    /// Not enough weight signed in time.
    Collect,
    /// Its transaction did not land.
    Submit,
}

impl Stage {
    /// All stages, in the order of the pipeline.
    pub const ALL: [Self; 5] = [Self::Execute, Self::Sign, Self::Aggregate, Self::Collect, Self::Submit];

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Sign => "sign",
            Self::Aggregate => "aggregate",
            Self::Collect => "collect",
            Self::Submit => "submit",
        }
    }

    /// The stage of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

/// Which dead letters to list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeadLetterQuery {
    /// Only this job.
    pub job: Option<u128>,
    /// Only of this service.
    pub service_id: Option<ServiceId>,
    /// Only of this stage.
    pub stage: Option<Stage>,
    /// Only those that ended at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Only jobs older than this one.
    pub before: Option<u128>,
    /// At most so many, up to [`MAX_ROWS`].
    pub max: u32,
}

/// A job that ended without doing what it was for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The job as it is.
    pub job: JobView,
    /// Where it ended.
    pub stage: Stage,
    /// The reason: an error class, or the name of what ran out.
    pub reason: String,
    /// What happened.
    pub detail: String,
    /// Attempts that ended with the death of engine-svc.
    pub deaths: u32,
    /// Bytes of the trigger.
    pub size: u64,
}

/// Which dead letters to try again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RetryDeadLetters {
    /// Only this job.
    pub job: Option<u128>,
    /// Only of this service.
    pub service_id: Option<ServiceId>,
    /// Only of this stage.
    pub stage: Option<Stage>,
    /// At most so many, up to [`MAX_ROWS`].
    pub max: u32,
}

/// Which events to list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuorumQuery {
    /// Only of this service.
    pub service_id: Option<ServiceId>,
    /// `open`, `burned`, or the name of a state.
    pub state: Option<String>,
    /// Only events before this one.
    pub before: Option<u64>,
    /// At most so many, up to [`MAX_ROWS`].
    pub max: u32,
}

/// An event with who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumView {
    /// Position in the record; ascending.
    pub id: u64,
    /// The service.
    pub service_id: ServiceId,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// The event.
    pub event_id: EventId,
    /// Its state.
    pub state: String,
    /// Why it ended other than well, or what it waits for.
    pub error: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
    /// When it ends in vain, in milliseconds since the Unix epoch.
    pub deadline_ms: u64,
    /// The envelopes that were signed for it.
    pub buckets: Vec<BucketView>,
    /// Where it is submitted to.
    pub targets: Vec<QuorumTarget>,
}

/// One envelope that was signed for an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketView {
    /// Digest of the envelope.
    pub digest: [u8; 32],
    /// Whether this node signed it.
    pub own: bool,
    /// Who signed it, with the status of each signature.
    pub signers: Vec<([u8; 20], String)>,
}

/// One handler that an event is submitted to, with the weight for it as last read from its manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumTarget {
    /// The chain.
    pub chain: ChainKey,
    /// The handler contract.
    pub handler: String,
    /// Its state.
    pub state: String,
    /// Weight of the counted signatures, decimal.
    pub weight: Option<String>,
    /// Weight that the manager asks for, decimal.
    pub threshold: Option<String>,
    /// The transaction that landed or is under way.
    pub tx: Option<String>,
    /// Why it waits or ended other than well.
    pub error: Option<String>,
}

/// Which transactions to list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TransactionQuery {
    /// Only on this chain.
    pub chain: Option<ChainKey>,
    /// Only in this state.
    pub state: Option<String>,
    /// Only transactions before this one.
    pub before: Option<u64>,
    /// At most so many, up to [`MAX_ROWS`].
    pub max: u32,
}

/// One signed transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionView {
    /// Position in the record; ascending.
    pub id: u64,
    /// The chain.
    pub chain: ChainKey,
    /// Who pays.
    pub account: [u8; 20],
    /// Nonce of the account.
    pub nonce: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// `call` delivers an event, `cancel` only uses up a nonce.
    pub kind: String,
    /// The event that it delivers.
    pub event_id: Option<EventId>,
    /// The handler that it calls.
    pub handler: Option<String>,
    /// `stored`, `mined`, `final`, `reverted`, `replaced` or `dropped`.
    pub state: String,
    /// Highest fee per gas in wei, decimal.
    pub max_fee: String,
    /// Priority fee per gas in wei, decimal; absent on chains with legacy fees.
    pub priority_fee: Option<String>,
    /// Gas limit.
    pub gas: u64,
    /// What it cost in wei, decimal, once it is in a block.
    pub cost: Option<String>,
    /// Versions with the same nonce that came before it.
    pub replacements: u32,
    /// The block that it is in.
    pub block: Option<u64>,
    /// Why it reverted or was dropped.
    pub reason: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// One entry of the history of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Position in the record; ascending.
    pub id: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// `added`, `updated`, `update-failed`, `paused`, `resumed`, `component-quarantined`, `deleted` or `dead-letter-dropped`.
    pub what: String,
    /// Who or what asked for it: `api`, `chain`, `periodic-check`, `restart` or `pipeline`.
    pub actor: Option<String>,
    /// The URI that the document came from.
    pub uri: Option<String>,
    /// The document before.
    pub old_digest: Option<ServiceDigest>,
    /// The document after.
    pub new_digest: Option<ServiceDigest>,
    /// Why.
    pub cause: String,
}

/// What a service has done since it was registered, and what waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceProgress {
    /// By workflow, ascending. The numbers never go down, also not over restarts.
    pub workflows: Vec<WorkflowProgress>,
    /// Jobs that wait for a run.
    pub pending: u64,
    /// Runs under way.
    pub running: u64,
    /// Jobs that wait because the service is held, or has too many open events.
    pub held: u64,
    /// The newest entry about a document.
    pub last_update: Option<HistoryEntry>,
}

/// What a workflow has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowProgress {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its counters.
    pub counters: Counters,
    /// Times in microseconds since the Unix epoch; absent if it never happened.
    pub last_trigger_us: Option<u64>,
    /// The end of its last run.
    pub last_execution_us: Option<u64>,
    /// When its last result became final.
    pub last_final_us: Option<u64>,
    /// Its last failure.
    pub last_error: Option<LastError>,
}

/// The counters of one workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Triggers that became jobs.
    pub triggers: u64,
    /// Those among them that were not run because the service was paused.
    pub triggers_dropped: u64,
    /// Runs of both kinds of components that gave a result.
    pub executions_ok: u64,
    /// Runs that did not.
    pub executions_failed: u64,
    /// Jobs and events without anything to do.
    pub no_output: u64,
    /// Events that this node signed.
    pub signed: u64,
    /// Targets that a transaction of this node was stored for.
    pub submitted: u64,
    /// Events whose transaction is as deep as the chain asks for.
    pub finals: u64,
    /// Events that another operator's transaction landed.
    pub landed: u64,
    /// Transactions of this node that reverted.
    pub reverted: u64,
    /// Jobs and events that failed or expired; one that fails again after a retry counts again.
    pub failed: u64,
}

/// The last failure of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// Where; absent when it is neither a run nor a submission.
    pub stage: String,
    /// Reason and detail.
    pub error: String,
    /// The job.
    pub job: Option<u128>,
}
