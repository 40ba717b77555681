//! Wire structs that the contracts of engine-svc and aggregator-svc share.

use serde::{Deserialize, Serialize};
use wavs_types::WasmResponse;

/// One response of an operator component, with its bytes as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// What the component returned.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// Carried into the envelope.
    pub ordering: Option<u64>,
    /// Replaces the trigger data in the event id; present but empty is not absent.
    #[serde(with = "serde_bytes")]
    pub event_id_salt: Option<Vec<u8>>,
}

impl From<WasmResponse> for Response {
    fn from(response: WasmResponse) -> Self {
        Self {
            payload: response.payload.to_vec(),
            ordering: response.ordering,
            event_id_salt: response.event_id_salt.map(|salt| salt.to_vec()),
        }
    }
}

impl From<Response> for WasmResponse {
    fn from(response: Response) -> Self {
        Self {
            payload: response.payload.into(),
            ordering: response.ordering,
            event_id_salt: response.event_id_salt.map(Into::into),
        }
    }
}

/// Names one run, so that a repeat of the same attempt is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunId {
    /// The job of aggregator-svc's ledger.
    pub job: u128,
    /// Counted up by the ledger before each call.
    pub attempt: u32,
}

/// How the operator wants the runs of a service to behave, beyond what its document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunMode {
    /// Equal input gives equal output: clocks and randomness follow from the event, and fuel is the limit that counts.
    pub deterministic: bool,
    /// Key-value writes are kept back, and committed once with the successful run.
    pub transactional: bool,
}

/// What one run cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Instantiation and call, in microseconds, without waiting for a slot.
    pub duration_us: u64,
    /// Fuel burnt; absent when the run was not metered.
    pub fuel: Option<u64>,
    /// Peak of the linear memories, in bytes.
    pub memory_peak: u64,
}

/// What the guest did wrong: a result of the run, not a failure of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestError {
    /// Its class.
    pub class: GuestErrorClass,
    /// For people: names the limit, its value and who set it, or carries the guest's own text (at most 8 KiB).
    pub detail: String,
}

/// Classes of guest errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GuestErrorClass {
    /// The export returned an error, the guest trapped, or its result breaks a rule.
    Fault,
    /// A limit was over-run.
    Limit,
}

impl GuestErrorClass {
    /// The reason inside `failed(…)`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "guest_fault",
            Self::Limit => "limit",
        }
    }
}
