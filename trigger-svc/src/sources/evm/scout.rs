//! Looking at the endpoints that are not in use: whether the preferred one is back, and whether the one in use has fallen
//! behind.
//!
//! One other endpoint is asked for its head from time to time. The answer ends the session; the next one reads on from the
//! stored position, so a switch loses nothing.

use std::time::Duration;

use wavs_types::EvmChainConfig;

use super::endpoints::Candidate;
use super::session::SessionError;
use super::state::SharedState;
use crate::chain_rpc::ChainRpc;

/// An endpoint that is further behind another one than this is left.
const MAX_BEHIND: u64 = 5;

/// Looks until there is a reason to leave the endpoint in use; for ever when there is no other one.
pub(super) async fn scout(
    candidates: &[Candidate],
    config: &EvmChainConfig,
    state: &SharedState,
    pause: Duration,
) -> SessionError {
    for candidate in candidates.iter().cycle() {
        tokio::time::sleep(pause).await;
        let Ok(rpc) = ChainRpc::connect_ws(&candidate.url, config).await else {
            continue;
        };
        let Ok(other) = rpc.head().await else { continue };
        let mut state = state.lock();
        state.looked_at(candidate.index, other, rpc.latency_us());
        // A session that is still catching up must not be judged, nor left.
        let Some(head) = state.head.filter(|_| state.connected) else {
            continue;
        };
        if candidate.preferred && other + MAX_BEHIND >= head {
            return SessionError::Preferred(candidate.index);
        }
        if other > head + MAX_BEHIND {
            return SessionError::Behind { head, other };
        }
    }
    std::future::pending().await
}
