//! What the supervisor asks of trigger-svc for the HTTP API.

use serde::{Deserialize, Serialize};
use wavs_types::{ChainKey, TriggerAction};

use crate::error::WireError;
use crate::json::Json;

/// Most copies in one injection.
pub const MAX_INJECTED: u32 = 10_000;

#[tarpc::service]
pub trait TriggerAdmin {
    /// Put copies of a trigger into the spool, past all matching. The answer means that they are on disk.
    /// A repeat with the same id changes nothing.
    async fn inject(request: Inject) -> Result<(), WireError>;

    /// The live sources, as the JSON object of `GET /dev/trigger-streams`.
    async fn streams() -> Result<Json<serde_json::Value>, WireError>;

    /// Probe every chain of the current watch set through its endpoints.
    async fn chain_health() -> Result<Vec<ChainHealth>, WireError>;
}

/// Copies of one trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inject {
    /// Drawn by the caller; names the injection in `Registry::injection`.
    pub id: u128,
    /// The action, which need not fit the service's own trigger.
    pub action: Json<TriggerAction>,
    /// How many copies, 1 to [`MAX_INJECTED`].
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
