//! Notices of landings: what others say is looked up on chain before it has any effect.

use wavs_store::{Durability, StoreError};
use wavs_types::{B256, EvmAddress};

use crate::chain::{LandedQuery, LandedTx};
use crate::ledger::operators;
use crate::ledger::targets::TargetRow;
use crate::pipeline::core::Core;

/// Notices that are looked up per attempt, so that false ones cost little.
const LOOKED_UP: usize = 4;

/// A landing of the target that another operator told of and that is on chain.
///
/// # Errors
/// When the ledger cannot be used. A chain that cannot be read, and a false notice, are no landing.
pub async fn confirmed(core: &Core, target: &TargetRow, handler: EvmAddress) -> Result<Option<LandedTx>, StoreError> {
    if !core.peers.enabled() {
        return Ok(None);
    }
    let row = target.clone();
    let notices = core
        .ledger
        .read(move |conn| operators::notices(conn, &row.event_id, &row.chain, &row.handler))
        .await?;
    for notice in notices.into_iter().take(LOOKED_UP) {
        let Ok(hash) = notice.tx.parse::<B256>() else { continue };
        let query = LandedQuery {
            chain: target.chain.clone(),
            handler,
            event_id: target.event_id,
            since_block: 0,
        };
        match core.chains.landed_in(&query, hash).await {
            Ok(Some(landed)) => return Ok(Some(landed)),
            Ok(None) => {
                tracing::info!(event_id = %target.event_id, tx = notice.tx, "a landed notice is not on this node's chain yet, or false");
                // It is told again if it was early: p2p-svc keeps it, and the scan of the chain finds it anyway.
                let (event_id, tx) = (target.event_id, notice.tx);
                core.ledger
                    .write(Durability::Process, move |ledger| {
                        operators::drop_notice(ledger, &event_id, &tx)
                    })
                    .await?;
            }
            Err(error) => tracing::debug!(%error, "a landed notice cannot be looked up now"),
        }
    }
    Ok(None)
}
