//! What the supervisor asks of aggregator-svc for the HTTP API: services, keys, documents, chains and jobs.

use serde::{Deserialize, Serialize};
use wavs_types::{ChainConfig, ChainKey, EventId, ServiceDigest, ServiceId, ServiceManager, WorkflowId};

use crate::error::WireError;
use crate::json::Json;

/// Longest wait of one `injection` call, in milliseconds; a longer one is cut to it.
pub const MAX_INJECTION_WAIT_MS: u32 = 20_000;
/// Most rows of one `jobs` answer; a larger `max` is cut to it.
pub const MAX_JOB_ROWS: u32 = 500;

/// Most rows of one export or import: well within a frame.
pub const MAX_HISTORY_ROWS: u32 = 5_000;

#[tarpc::service]
pub trait Registry {
    /// Resolve, validate, prepare and wire a service. The answer means that its triggers and its signer are live.
    async fn add_service(request: AddService) -> Result<ServiceSummary, WireError>;

    /// Remove a service. Unknown managers are not an error.
    async fn remove_service(manager: ServiceManager, purge: bool) -> Result<(), WireError>;

    /// Read the service URI again and update if the document changed.
    async fn refresh_service(service_id: ServiceId) -> Result<ServiceSummary, WireError>;

    /// Pause a service for this operator alone, or resume it (no mode), also from the quarantine of its components.
    async fn pause_service(
        service_id: ServiceId,
        mode: Option<PauseMode>,
        reason: String,
    ) -> Result<ServiceSummary, WireError>;

    /// All registered services, ascending by id.
    async fn services() -> Result<Vec<ServiceSummary>, WireError>;

    /// One service with its document.
    async fn service(service_id: ServiceId) -> Result<ServiceView, WireError>;

    /// The signing key of a registered service: index and address, never the key.
    async fn signer(service_id: ServiceId) -> Result<Signer, WireError>;

    /// Store a service document without registering it; answers its digest. Bounded, oldest out first.
    async fn put_document(document: Document) -> Result<ServiceDigest, WireError>;

    /// A stored document in canonical form with unknown members kept.
    async fn document(digest: ServiceDigest) -> Result<Document, WireError>;

    /// Add a chain that the configuration does not have. Durable.
    async fn add_chain(chain: ChainKey, config: Json<ChainConfig>) -> Result<(), WireError>;

    /// All chains, from the configuration and from the API.
    async fn chains() -> Result<Vec<(ChainKey, Json<ChainConfig>)>, WireError>;

    /// The jobs of an injection; waits up to `wait_ms` until all are signed or terminal.
    async fn injection(id: u128, wait_ms: u32) -> Result<InjectionProgress, WireError>;

    /// Jobs, newest first.
    async fn jobs(query: JobQuery) -> Result<Vec<JobView>, WireError>;

    /// The keys of all services that ever had one, ascending by index.
    async fn signers() -> Result<Vec<SignerView>, WireError>;

    /// Give a service a new key; what the former one signed stays valid and is not signed again.
    async fn rotate_signer(service_id: ServiceId) -> Result<Signer, WireError>;

    /// Sign with keys that have weight on chain but no history here: of one service, or of all. Answers those concerned.
    async fn accept_empty_history(service_id: Option<ServiceId>) -> Result<Vec<ServiceId>, WireError>;

    /// What was ever signed, by signer and event, after a row; at most [`MAX_HISTORY_ROWS`].
    async fn export_history(after: Option<HistoryCursor>, max: u32) -> Result<Vec<HistoryRow>, WireError>;

    /// Take the history of another ledger over, all rows or none. Answers how many are new.
    async fn import_history(rows: Vec<HistoryRow>) -> Result<u32, WireError>;

    /// The posting account and the endpoints of each chain, ascending by chain. Answered from what is known, without asking a chain.
    async fn chain_accounts() -> Result<Vec<ChainAccount>, WireError>;
}

/// A service to register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddService {
    /// Where the document comes from.
    pub source: AddSource,
    /// Pin this derivation index (a move from another node); it must be above 0 and free.
    pub hd_index: Option<u32>,
}

/// Where a service document comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddSource {
    /// From the URI that the manager names on its chain.
    Manager(ServiceManager),
    /// From the stored documents, without reading the chain.
    Document(ServiceDigest),
}

/// What becomes of the triggers of a service that this operator paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PauseMode {
    /// They are stored as skipped and counted.
    Drop,
    /// They wait for the service to be resumed, up to a bound; beyond it they are dropped.
    Hold,
}

impl PauseMode {
    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Hold => "hold",
        }
    }

    /// The mode of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Drop, Self::Hold].into_iter().find(|mode| mode.as_str() == name)
    }
}

/// A service without its document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// Its id.
    pub service_id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its manager.
    pub manager: ServiceManager,
    /// `pending`, `active`, `paused`, `updating`, `degraded`, `failed` or `deleting`.
    pub state: String,
    /// Why it is in that state, where there is something to say.
    pub reason: Option<String>,
    /// Whether this operator paused it, and how.
    pub paused: Option<PauseMode>,
    /// Digest of the document.
    pub digest: ServiceDigest,
    /// The URI that the document came from; absent for one registered by digest.
    pub uri: Option<String>,
    /// Derivation index of its signing key.
    pub hd_index: u32,
    /// Address of its signing key.
    pub signer: [u8; 20],
    /// Number of workflows.
    pub workflows: u32,
    /// What was accepted with a warning: pointer and text.
    pub warnings: Vec<(String, String)>,
    /// Last change, in milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
}

/// A service with its document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// All but the document.
    pub summary: ServiceSummary,
    /// Canonical form with unknown members kept.
    pub document: Document,
    /// The bytes as fetched.
    pub raw: Document,
}

/// JSON text of a service document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Document(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// The public side of a service's signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// `i` of `m/44'/60'/0'/0/i`.
    pub hd_index: u32,
    /// The address.
    pub address: [u8; 20],
}

/// The key of a service, with what is known of it on chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerView {
    /// The service.
    pub service_id: ServiceId,
    /// Its name while it is registered.
    pub name: Option<String>,
    /// `i` of `m/44'/60'/0'/0/i`.
    pub hd_index: u32,
    /// The address.
    pub address: [u8; 20],
    /// `pending`, `active` or `retired`.
    pub state: String,
    /// Whether all that the key signed is known here: `unchecked`, `complete` or `missing`.
    pub history: String,
    /// Why nothing is signed with it, where that is so.
    pub refusal: Option<String>,
    /// What the service manager says.
    pub registration: Option<RegistrationView>,
    /// Why the service manager could not be asked.
    pub error: Option<String>,
    /// When it was asked, in milliseconds since the Unix epoch.
    pub checked_at_ms: Option<u64>,
    /// What the managers of the chains say that its results go to, as far as they were met since the process started.
    pub mirrors: Vec<MirrorView>,
    /// Index and address of the keys that it had before.
    pub former: Vec<(u32, [u8; 20])>,
}

/// A signing key as the service manager of a target chain sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorView {
    /// The target chain.
    pub chain: ChainKey,
    /// The manager there.
    pub manager: [u8; 20],
    /// What it says.
    pub registration: Option<RegistrationView>,
    /// Why it could not be asked.
    pub error: Option<String>,
}

/// A signing key as its service manager sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationView {
    /// `registered`, `unregistered`, `zero_weight` or `has_code`.
    pub status: String,
    /// Who registered it.
    pub operator: Option<[u8; 20]>,
    /// The operator's weight, decimal.
    pub weight: String,
}

/// What was signed for an event by one of our keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Address of the key.
    pub signer: [u8; 20],
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope.
    pub digest: [u8; 32],
    /// 65 bytes `r || s || v`.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
    /// Microseconds since the Unix epoch.
    pub signed_at_us: u64,
}

/// A place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryCursor {
    /// Address of the key.
    pub signer: [u8; 20],
    /// The event.
    pub event_id: EventId,
}

/// How far an injection is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InjectionProgress {
    /// Jobs taken over from trigger-svc.
    pub received: u32,
    /// Jobs that are signed or terminal.
    pub done: u32,
    /// Jobs among them that failed.
    pub failed: u32,
    /// Reason of the first failure.
    pub first_error: Option<String>,
}

/// Which jobs to list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobQuery {
    /// Only this job.
    pub job: Option<u128>,
    /// Only this service.
    pub service_id: Option<ServiceId>,
    /// Only this workflow.
    pub workflow_id: Option<WorkflowId>,
    /// Only jobs in this state.
    pub state: Option<String>,
    /// Only jobs with this event id.
    pub event_id: Option<EventId>,
    /// Only jobs of this kind of trigger.
    pub trigger_kind: Option<String>,
    /// Only jobs made at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Only jobs made before this time, in milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// Only jobs older than this one.
    pub before: Option<u128>,
    /// At most so many, up to [`MAX_JOB_ROWS`].
    pub max: u32,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// ULID of the job.
    pub job: u128,
    /// The service.
    pub service_id: ServiceId,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Digest of the document under which it runs.
    pub service_digest: ServiceDigest,
    /// Metric label of the trigger kind.
    pub trigger_kind: String,
    /// Identity of the occurrence.
    pub source_key: String,
    /// Attempts of the operator component so far.
    pub attempts: u32,
    /// The least advanced state of its events.
    pub state: String,
    /// Why it failed or was skipped.
    pub error: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
    /// What it led to.
    pub events: Vec<EventView>,
    /// Each step: name and microseconds since the Unix epoch.
    pub timeline: Vec<(String, u64)>,
}

/// One signed response and its way to the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// The event id.
    pub event_id: EventId,
    /// Its state.
    pub state: String,
    /// Digest of the envelope.
    pub digest: [u8; 32],
    /// Why it ended other than well.
    pub error: Option<String>,
    /// One entry per target: chain, handler as text, state, transaction as text.
    pub targets: Vec<TargetView>,
}

/// One handler that an event is submitted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// The chain.
    pub chain: ChainKey,
    /// The handler contract.
    pub handler: String,
    /// Its state.
    pub state: String,
    /// The transaction that landed or is under way.
    pub tx: Option<String>,
    /// Why it ended other than well.
    pub error: Option<String>,
}

/// The posting account on one chain, and the endpoints by which it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainAccount {
    /// The chain.
    pub chain: ChainKey,
    /// Address of the account; absent without a posting key.
    pub account: Option<[u8; 20]>,
    /// Wei in decimal, a minute old at most while the chain answers; absent until it has answered once.
    pub balance: Option<String>,
    /// What a transaction usually costs there, in wei in decimal; absent until it can be told.
    pub typical_cost: Option<String>,
    /// `unknown`, `ok`, `low`, `critical` or `unfunded`.
    pub funds: String,
    /// Transactions that are in no block yet.
    pub pending: u32,
    /// Nonces below own pending transactions that nobody uses.
    pub nonce_gap: u32,
    /// In order of preference.
    pub endpoints: Vec<ChainEndpoint>,
}

/// An RPC endpoint as aggregator-svc sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEndpoint {
    /// Scheme, host and port; never a path, a query or credentials.
    pub endpoint: String,
    /// `unused`, `ok`, `failing`, `wrong_chain_id` or `went_back`.
    pub state: String,
    /// Faults since the last answer.
    pub faults: u32,
    /// The last fault.
    pub last_fault: Option<String>,
    /// Smoothed time of an answer in microseconds.
    pub latency_us: Option<u64>,
    /// The newest block it showed.
    pub head: Option<u64>,
}
