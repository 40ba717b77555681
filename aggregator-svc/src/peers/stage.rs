//! Whose turn it is to post: each operator waits for its stage, so that an event costs about one transaction.
//!
//! The schedule is a matter of cost, not of safety: a node that knows no other operators, or whose clock is off, posts at
//! another time and the handler takes the first.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wavs_store::{Durability, StoreError};
use wavs_types::EvmAddress;

use super::order::{self, Posting};
use crate::clock;
use crate::ledger::operators;
use crate::ledger::targets::TargetRow;
use crate::pipeline::core::Core;

/// Shortest time between two stages where the configuration names none; slower chains have two of their block times.
const SHORTEST: Duration = Duration::from_secs(2);

/// When this node may post a target that has quorum.
pub enum Turn {
    /// Now, in this stage; they count from 0.
    Now(u32),
    /// After a rest; others are before it.
    Later(Duration, u32),
}

/// Whether it is this node's turn.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn turn(core: &Core, target: &TargetRow) -> Result<Turn, StoreError> {
    if !core.peers.enabled() {
        return Ok(Turn::Now(0));
    }
    let Some(entry) = core.directory.get(&target.service_id) else {
        return Ok(Turn::Now(0));
    };
    let operators = core.peers.operators.of(&target.service_id);
    let own = entry.pin.1;
    let handler = target.handler.parse::<EvmAddress>();
    let posting = Posting {
        event_id: &target.event_id,
        digest: &target.digest,
        chain: &target.chain,
        handler: handler
            .as_ref()
            .map_or(target.handler.as_bytes(), |address| address.as_slice()),
    };
    let key = match core.settings.schedule_keys.get(&target.service_id) {
        Some(key) => key.expose_secret().as_bytes().to_vec(),
        None => Sha256::digest(target.service_id.as_bytes()).to_vec(),
    };
    let posts = |posts_on: &Option<Vec<_>>| posts_on.as_ref().is_none_or(|chains| chains.contains(&target.chain));
    let others = operators.iter().map(|(signer, posts_on)| (*signer, posts(posts_on)));
    let rank = order::rank(&key, posting, &own, others);
    // Nodes of generation 1 post at once, all of them: let theirs land before ours is tried.
    let shift = u32::from(core.peers.operators.has_bridged(&target.service_id));
    let stage = order::stage(rank, &core.settings.stages) + shift;
    let id = target.id;
    let now_ms = clock::now_ms();
    let since_ms = core
        .ledger
        .write(Durability::Process, move |tx| operators::quorum_since(tx, id, now_ms))
        .await?;
    let configured = core
        .directory
        .chains()
        .get(&target.chain)
        .and_then(|chain| chain.config.stage_secs());
    let between = between(configured, core.chains.block_time(&target.chain));
    let due_ms = since_ms.saturating_add(u64::try_from((between * stage).as_millis()).unwrap_or(u64::MAX));
    match due_ms.checked_sub(now_ms) {
        None | Some(0) => Ok(Turn::Now(stage)),
        Some(left) => Ok(Turn::Later(Duration::from_millis(left), stage)),
    }
}

/// Time between two stages of a chain whose `stage_secs` and time between blocks these are.
fn between(stage_secs: Option<u64>, block_time: Duration) -> Duration {
    stage_secs.map_or_else(|| (block_time * 2).max(SHORTEST), Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_the_blocks_unless_the_configuration_says_otherwise() {
        let seconds = Duration::from_secs;
        assert_eq!(between(None, seconds(12)), seconds(24));
        assert_eq!(between(None, Duration::from_millis(250)), SHORTEST);
        assert_eq!(between(Some(1), seconds(12)), seconds(1));
        assert_eq!(between(Some(0), seconds(12)), Duration::ZERO);
    }
}
