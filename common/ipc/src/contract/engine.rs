//! The work of engine-svc for aggregator-svc: run guests, and have their components ready.
//!
//! A job carries all that its run needs, so engine-svc keeps no service state but the component store, guest key-value
//! data and guest files. A death of the process during a run is ambiguous to the caller, who counts it per job.

use serde::{Deserialize, Serialize};
use wavs_types::{
    ChainConfig, ChainKey, ComponentDigest, ComponentSource, EventId, Service, ServiceDigest, ServiceId, TriggerAction,
    WorkflowId,
};

use super::job::{GuestError, Response, RunId, RunMode, Usage};
use crate::error::WireError;
use crate::json::Json;

#[tarpc::service]
pub trait Engine {
    /// Run the operator component of a workflow. What the guest did wrong is inside the outcome.
    /// `Busy` (Backoff) when no slot is free, `Component` (Backoff) when the component is not ready.
    async fn run_operator(job: OperatorJob) -> Result<OperatorOutcome, WireError>;

    /// Run one export of the aggregator component of a workflow; errors as for `run_operator`.
    async fn run_aggregator(job: AggregatorJob) -> Result<AggregatorOutcome, WireError>;

    /// Fetch, verify, check against a world and compile. Idempotent; one fetch and one compilation at a time per digest.
    async fn prefetch(request: Prefetch) -> Result<(), WireError>;
}

/// What is common to runs in both worlds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunContext {
    /// Names the run.
    pub run: RunId,
    /// How it behaves.
    pub mode: RunMode,
    /// The service.
    pub service_id: ServiceId,
    /// Digest of `service`, by which engine-svc may remember the parsed document.
    pub service_digest: ServiceDigest,
    /// The document as of the start of this run.
    pub service: Json<Service>,
    /// The workflow inside it.
    pub workflow_id: WorkflowId,
    /// The chains that the host functions may show to the guest.
    pub chains: Vec<(ChainKey, Json<ChainConfig>)>,
    /// The variables that the component declares, is granted, and that are set.
    pub env: Vec<(String, String)>,
}

/// One run of an operator component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorJob {
    /// What the run needs to know.
    pub context: RunContext,
    /// The trigger definition and its data.
    pub action: Json<TriggerAction>,
}

/// The end of a run in the operator world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorOutcome {
    /// The responses, whose number, salts and sizes are checked already.
    pub result: Result<Vec<Response>, GuestError>,
    /// What it cost.
    pub usage: Usage,
}

/// One run of an aggregator component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatorJob {
    /// What the run needs to know.
    pub context: RunContext,
    /// The trigger definition and its data.
    pub action: Json<TriggerAction>,
    /// The operator response that was signed.
    pub response: Response,
    /// What `get-event-id` returns.
    pub event_id: EventId,
    /// Which export to call.
    pub call: AggregatorCall,
}

/// The exports of the aggregator world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AggregatorCall {
    /// `process-input`.
    ProcessInput,
    /// `handle-timer-callback`.
    Timer,
    /// `handle-submit-callback` with the transaction or the reason why there is none.
    Submitted(Result<TxHash, String>),
}

/// A transaction, as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxHash {
    /// 32 raw bytes.
    Evm([u8; 32]),
    /// Text.
    Cosmos(String),
}

/// The end of a run in the aggregator world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatorOutcome {
    /// The actions, checked as a list; empty after `handle-submit-callback`.
    pub result: Result<Vec<Action>, GuestError>,
    /// What it cost.
    pub usage: Usage,
}

/// What an aggregator component asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Call back after a delay.
    Timer {
        /// Whole seconds.
        delay_secs: u64,
    },
    /// Submit the envelope to a handler on an EVM chain.
    SubmitEvm {
        /// The chain.
        chain: ChainKey,
        /// The handler contract.
        address: [u8; 20],
        /// A fee hint in wei per gas.
        gas_price: Option<u128>,
    },
    /// Submit the envelope to a handler on a Cosmos chain.
    SubmitCosmos {
        /// The chain.
        chain: ChainKey,
        /// The handler contract, bech32.
        address: String,
        /// A fee hint in the chain's smallest unit.
        gas_price: Option<u128>,
    },
}

/// Have a component ready for a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefetch {
    /// Where it comes from and its digest.
    pub source: Json<ComponentSource>,
    /// The exports and imports that it is checked against.
    pub world: World,
    /// Whether runs will be metered, which needs differently compiled code.
    pub metered: bool,
    /// Whether runs will be deterministic, which needs differently compiled code too.
    pub deterministic: bool,
}

/// The two component worlds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum World {
    /// `wavs:operator/wavs-world`.
    Operator,
    /// `wavs:aggregator/aggregator-world`.
    Aggregator,
}

/// A component in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredComponent {
    /// SHA-256 of its bytes.
    pub digest: ComponentDigest,
    /// Its size in bytes.
    pub bytes: u64,
}
