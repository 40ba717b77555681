//! Finds out whether an event reached its handler already, whoever sent the transaction.
//!
//! Candidates come from the handler's logs and, for handlers that log nothing, from the transactions of the newest blocks. A
//! candidate counts when its receipt is a success and it either calls the handler with an envelope of this event or made
//! the handler log the event id as a topic (a relayed call).

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::sol_types::SolValue;
use wavs_types::{ChainKey, EventId};

use super::contracts::decode_handler_call;
use super::endpoint::Fault;
use super::error::ChainError;
use super::evm::{EvmChain, Rpc};
use super::wire::TxInfo;

/// Blocks whose transactions are read one by one. Older landings are found by their logs only.
const BLOCKS_READ: u64 = 32;
/// Blocks whose logs are read; an event that waited longer is found by the handler's own refusal.
const BLOCKS_LOGGED: u64 = 20_000;
/// Candidates looked at in one scan, newest first; the rest is left to the handler's own refusal.
const CANDIDATES: usize = 256;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandedQuery {
    /// The target chain.
    pub chain: ChainKey,
    /// The handler there.
    pub handler: Address,
    /// The event.
    pub event_id: EventId,
    /// Blocks up to this one are known not to hold it.
    pub since_block: u64,
}

/// A transaction that delivered an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandedTx {
    /// Its hash.
    pub hash: B256,
    /// Its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Digest of the envelope that it delivered; unknown for a relayed call.
    pub digest: Option<B256>,
}

/// Scans the chain from the block after `since_block` to the head.
pub(super) async fn find(chain: &EvmChain, query: &LandedQuery) -> Result<Option<LandedTx>, ChainError> {
    let head = chain.head().await?.number.to::<u64>();
    if head <= query.since_block {
        return Ok(None);
    }
    chain
        .on_one("eth_getLogs", |rpc| async move { scan(chain, &rpc, query, head).await })
        .await
}

/// Looks at one transaction that is said to have delivered the event.
pub(super) async fn find_in(chain: &EvmChain, query: &LandedQuery, tx: B256) -> Result<Option<LandedTx>, ChainError> {
    let look = |rpc: Rpc| async move {
        let Some(digest) = rpc.transaction(tx).await?.and_then(|tx| delivered(&tx, query)) else {
            return Ok(None);
        };
        succeeded(&rpc, tx, Some(digest)).await
    };
    chain.on_one("eth_getTransactionByHash", look).await
}

async fn scan(chain: &EvmChain, rpc: &Rpc, query: &LandedQuery, head: u64) -> Result<Option<LandedTx>, Fault> {
    let mut seen = BTreeSet::new();
    let first = query.since_block + 1;
    for number in (first.max(head.saturating_sub(BLOCKS_READ - 1))..=head).rev() {
        let Some(block) = rpc.block_with_transactions(number).await? else {
            continue;
        };
        for tx in block.transactions.iter().filter(|tx| tx.to == Some(query.handler)) {
            seen.insert(tx.hash);
            if let Some(digest) = delivered(tx, query)
                && let Some(landed) = succeeded(rpc, tx.hash, Some(digest)).await?
            {
                return Ok(Some(landed));
            }
        }
    }
    let range = chain.config.max_getlogs_range.max(1);
    let mut to = head;
    let oldest = first.max(head.saturating_sub(BLOCKS_LOGGED));
    let mut looked_at = 0;
    while to >= oldest {
        let from = oldest.max(to.saturating_sub(range - 1));
        for log in rpc.logs(query.handler, from, to).await?.into_iter().rev() {
            let Some(hash) = log.transaction_hash else { continue };
            if log.topics.iter().skip(1).any(|topic| is_event(topic, &query.event_id)) {
                let digest = rpc.transaction(hash).await?.and_then(|tx| delivered(&tx, query));
                if let Some(landed) = succeeded(rpc, hash, digest).await? {
                    return Ok(Some(landed));
                }
            } else if seen.insert(hash) && looked_at < CANDIDATES {
                looked_at += 1;
                let Some(digest) = rpc.transaction(hash).await?.and_then(|tx| delivered(&tx, query)) else {
                    continue;
                };
                if let Some(landed) = succeeded(rpc, hash, Some(digest)).await? {
                    return Ok(Some(landed));
                }
            }
        }
        to = match from.checked_sub(1) {
            Some(to) => to,
            None => break,
        };
    }
    Ok(None)
}

/// The digest of the envelope, when the transaction hands this event to this handler.
fn delivered(tx: &TxInfo, query: &LandedQuery) -> Option<B256> {
    if tx.to != Some(query.handler) {
        return None;
    }
    envelope_of(&tx.input)
        .filter(|(event, _)| event == query.event_id.as_bytes())
        .map(|(_, digest)| digest)
}

/// Event id and digest of the envelope in handler call data.
pub(super) fn envelope_of(input: &Bytes) -> Option<([u8; 20], B256)> {
    let call = decode_handler_call(input)?;
    Some((call.envelope.eventId.0, keccak256(call.envelope.abi_encode())))
}

/// Indexed `bytes20` values stand at the front of their topic.
fn is_event(topic: &B256, event: &EventId) -> bool {
    topic[..20] == event.as_bytes()[..] && topic[20..].iter().all(|byte| *byte == 0)
}

async fn succeeded(rpc: &Rpc, hash: B256, digest: Option<B256>) -> Result<Option<LandedTx>, Fault> {
    let receipt = rpc.receipt(hash).await?.filter(super::wire::Receipt::succeeded);
    Ok(receipt.map(|receipt| LandedTx {
        hash,
        block_number: receipt.block_number.to(),
        block_hash: receipt.block_hash,
        digest,
    }))
}
