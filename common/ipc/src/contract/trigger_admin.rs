//! What the supervisor asks of trigger-svc for the HTTP API.

use serde::{Deserialize, Serialize};
use wavs_types::{ChainKey, TriggerConfig, TriggerData};

use crate::error::WireError;
use crate::json::Json;

/// Most triggers in one injection.
pub const MAX_INJECTED: u32 = 10_000;

#[tarpc::service]
pub trait TriggerAdmin {
    /// Put triggers into the spool, past all matching. The answer means that they are on disk.
    /// A repeat with the same id changes nothing.
    async fn inject(request: Inject) -> Result<(), WireError>;

    /// The live sources, as the JSON object of `GET /dev/trigger-streams`.
    async fn streams() -> Result<Json<serde_json::Value>, WireError>;

    /// Probe every chain of the current watch set through its endpoints.
    async fn chain_health() -> Result<Vec<ChainHealth>, WireError>;

    /// How every chain of the current watch set is followed, ascending by key. Cheap: answered from memory.
    async fn chains() -> Result<Vec<ChainStatus>, WireError>;
}

/// Triggers of one workflow, past all matching: `count` copies for each of `data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inject {
    /// Drawn by the caller; names the injection in `Registry::injection`.
    pub id: u128,
    /// Whose triggers they are. The trigger in it need not be the service's own.
    pub config: Json<TriggerConfig>,
    /// What happened, which need not fit the trigger.
    pub data: Vec<Json<TriggerData>>,
    /// Copies of each, from 1. All together are at most [`MAX_INJECTED`].
    pub count: u32,
}

/// Whether at least one endpoint of a chain is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHealth {
    /// The chain.
    pub chain: ChainKey,
    /// `None` when healthy, else why not.
    pub error: Option<String>,
    /// The highest block seen.
    pub head: Option<u64>,
}

/// How a chain is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainStatus {
    /// The chain.
    pub chain: ChainKey,
    /// Whether a source follows it: some route or manager needs it.
    pub followed: bool,
    /// Whether the source has a connection and is past its first scan.
    pub connected: bool,
    /// What counts as the newest block that fires: `latest`, `latest-<confirmations>`, `safe` or `finalized`.
    pub finality: String,
    /// The highest block seen.
    pub head: Option<u64>,
    /// The last block that was looked at completely.
    pub processed: Option<u64>,
    /// Blocks that may fire and were not looked at yet.
    pub lag: Option<u64>,
    /// For how long there have been such blocks, in seconds; 0 without any.
    pub lag_seconds: Option<u64>,
    /// When something on it fired last, in milliseconds since the Unix epoch.
    pub last_event_at_ms: Option<u64>,
    /// Connections that were lost or could not be made, since the process started.
    pub reconnects: u64,
    /// Block ranges that were given up, oldest first.
    pub gaps: Vec<ChainGap>,
    /// Why there is no connection, or what ended the last one.
    pub last_error: Option<String>,
    /// Its endpoints, in order of preference.
    pub endpoints: Vec<EndpointStatus>,
}

/// Blocks that were not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainGap {
    /// The first one.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// Why.
    pub reason: String,
}

/// One endpoint of a chain, as its source knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// The address without keys.
    pub url: String,
    /// What it is doing.
    pub state: EndpointState,
    /// How long its last answer took, in microseconds.
    pub latency_us: Option<u64>,
    /// The highest block that it reported.
    pub head: Option<u64>,
    /// What it did wrong last.
    pub last_error: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub last_error_at_ms: Option<u64>,
    /// Connections to it that were lost or could not be made.
    pub failures: u64,
}

/// What an endpoint is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointState {
    /// It stands by.
    Idle,
    /// It is being connected to.
    Connecting,
    /// The chain is followed through it.
    Active,
    /// It failed and is left alone for a while.
    Backoff,
    /// It serves another chain; it is asked again from time to time.
    WrongChain,
}

impl ChainStatus {
    /// A chain that nothing follows.
    #[must_use]
    pub fn idle(chain: ChainKey, finality: impl Into<String>, urls: impl Iterator<Item = String>) -> Self {
        Self {
            chain,
            followed: false,
            connected: false,
            finality: finality.into(),
            head: None,
            processed: None,
            lag: None,
            lag_seconds: None,
            last_event_at_ms: None,
            reconnects: 0,
            gaps: Vec::new(),
            last_error: None,
            endpoints: urls.map(EndpointStatus::idle).collect(),
        }
    }
}

impl EndpointStatus {
    /// An endpoint that nothing was asked of; `url` is shown as it is.
    #[must_use]
    pub fn idle(url: String) -> Self {
        Self {
            url,
            state: EndpointState::Idle,
            latency_us: None,
            head: None,
            last_error: None,
            last_error_at_ms: None,
            failures: 0,
        }
    }
}
