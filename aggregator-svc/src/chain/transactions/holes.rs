//! Compares the nonces of an account with the chain: nobody else should use them, and one below our pending ones that nobody uses
//! would hold them all back.

use std::sync::Arc;

use wavs_store::Durability;

use super::fees::{Caps, FeeQuote};
use super::lane::Lane;
use super::raw::{Draft, TRANSFER_GAS};
use super::rows::{self, Kind, Purpose};
use super::{Inner, SubmitError};
use crate::chain::evm::{EvmChain, Rpc};

/// Most gaps that are filled on their own. More means that the ledger is not that of this account: an operator must look.
const FILLED_MAX: usize = 16;

/// Looks at the account at once and from time to time until the process stops.
pub(super) async fn watch(inner: Arc<Inner>, lane: Arc<Lane>) {
    let chain = || inner.chains.evm(&lane.chain).ok();
    let check = |chain: Arc<EvmChain>, count: u64| {
        let (inner, lane) = (Arc::clone(&inner), Arc::clone(&lane));
        async move {
            if let Err(error) = compare(&inner, &lane, &chain, count).await {
                tracing::error!(%error, "the nonces of the posting account could not be compared with the chain");
            }
        }
    };
    lane.watch(chain, &inner.shutdown, check).await;
}

/// Compares the chain's count with the ledger: reports nonces that somebody else used, and fills gaps below our newest pending
/// nonce with cancels.
async fn compare(inner: &Arc<Inner>, lane: &Arc<Lane>, chain: &Arc<EvmChain>, count: u64) -> Result<(), SubmitError> {
    let account = lane.account;
    let read = move |tx: &rusqlite::Transaction<'_>| {
        Ok::<_, SubmitError>((rows::unfinished_nonces(tx, account)?, rows::highest_nonce(tx, account)?))
    };
    let (nonces, highest) = inner.writer.write(Durability::Process, read).await?;
    // An account whose history is not in the ledger is adopted as it is.
    if let Some(highest) = highest {
        let foreign = lane.foreign(count, highest + 1);
        if foreign > 0 {
            report_foreign(lane, chain, foreign);
        }
    }
    let gaps = gaps(count, &nonces);
    lane.saw_gap(gaps.len());
    chain.metrics.nonce_gap(chain.key.as_str(), gaps.len());
    if gaps.len() > FILLED_MAX {
        tracing::error!(chain = %chain.key, account = %account.address, gaps = gaps.len(), "too many nonces are missing below pending transactions; check that the endpoint serves the chain that the ledger was written for");
        return Ok(());
    }
    for nonce in gaps {
        let Some(signer) = inner.signer.clone() else {
            return Ok(());
        };
        let read = |rpc: Rpc| async move {
            let head = rpc.head().await?;
            FeeQuote::read(chain, &rpc, &head).await
        };
        let quote = chain.on_one("eth_feeHistory", read).await?;
        let bid = quote
            .bid(None, Caps::of(&chain.config).fee)
            .ok_or(SubmitError::FeeAboveCap)?;
        let draft = Draft {
            chain_id: account.chain_id,
            nonce,
            to: account.address,
            input: Default::default(),
            gas: TRANSFER_GAS,
            bid,
        };
        let target = format!("gap:{}:{nonce}", account.chain_id);
        let purpose = Purpose {
            chain: chain.key.clone(),
            target,
            kind: Kind::Cancel,
            judged_at: 0,
        };
        let store = move |tx: &rusqlite::Transaction<'_>| {
            let signed = draft.sign(signer.as_ref())?;
            Ok::<_, SubmitError>(rows::insert(tx, account, &purpose, &draft, &signed)?)
        };
        let row = inner.writer.write(Durability::Power, store).await?;
        tracing::warn!(chain = %chain.key, nonce, "a missing nonce is filled with an empty transaction");
        inner.pursue(Arc::clone(lane), vec![row], None, false);
    }
    Ok(())
}

/// Somebody else posts from the account: their nonces are adopted, but two that share an account waste each other's transactions.
pub(super) fn report_foreign(lane: &Lane, chain: &EvmChain, nonces: u64) {
    chain.metrics.foreign(chain.key.as_str(), nonces);
    tracing::error!(chain = %chain.key, account = %lane.account.address, nonces, "the posting account is used by somebody else; give this node an account of its own");
}

/// Nonces from `count` below the highest of `nonces` that are not among them.
fn gaps(count: u64, nonces: &[u64]) -> Vec<u64> {
    let mut gaps = Vec::new();
    let mut expected = count;
    for nonce in nonces.iter().filter(|nonce| **nonce >= count) {
        gaps.extend((expected..*nonce).take(FILLED_MAX + 1));
        expected = nonce + 1;
        if gaps.len() > FILLED_MAX {
            break;
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_found() {
        assert!(gaps(5, &[]).is_empty());
        assert!(gaps(5, &[3, 4]).is_empty());
        assert!(gaps(5, &[5, 6, 7]).is_empty());
        assert_eq!(gaps(5, &[6, 9]), [5, 7, 8]);
        assert_eq!(gaps(0, &[u64::MAX - 1]).len(), FILLED_MAX + 1);
    }
}
