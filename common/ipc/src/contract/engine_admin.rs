//! What the supervisor asks of engine-svc for the HTTP API.

use serde::{Deserialize, Serialize};
use wavs_types::{ComponentDigest, ServiceId, WorkflowId};

use super::engine::StoredComponent;
use crate::error::WireError;

#[tarpc::service]
pub trait EngineAdmin {
    /// Take over the file `upload` (a plain name inside the upload directory), check that it is a component and store it
    /// under its digest. The file is gone afterwards, whatever the answer.
    async fn store_component(upload: String) -> Result<StoredComponent, WireError>;

    /// All stored components, ascending by digest.
    async fn components() -> Result<Vec<StoredComponent>, WireError>;

    /// Remove a component from the store; a missing one is no error. Whether something uses it is the caller's business.
    async fn remove_component(digest: ComponentDigest) -> Result<(), WireError>;

    /// Erase what the guests of a service stored: key-value data, counters and files.
    async fn erase_service(service_id: ServiceId) -> Result<(), WireError>;

    /// The value of a key as the guest stored it.
    async fn read_kv(service_id: ServiceId, bucket: String, key: String) -> Result<Option<KvValue>, WireError>;

    /// Log lines of guests after `after`, oldest first, at most `max`.
    async fn guest_logs(service_id: ServiceId, after: u64, max: u32) -> Result<Vec<GuestLogLine>, WireError>;
}

/// A value of the guest key-value store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KvValue(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// One line that a guest wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLogLine {
    /// Position in the ring of its service.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// `stdout`, `stderr`, or the level of a `log` call.
    pub stream: String,
    /// Escaped and cut to the line limit.
    pub line: String,
}
