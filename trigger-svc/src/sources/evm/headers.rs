//! Block timestamps, for logs that come without one.
//!
//! The timestamp is part of the event id, so all operators must use the same one: the header's. A value that the provider
//! put into the log is taken as it is, unless it is 0, which some providers send for "unknown".

use std::num::NonZeroUsize;

use alloy::providers::Provider;
use lru::LruCache;
use wavs_types::{B256, BlockTimestamp};

use super::occurrence::MinedLog;
use crate::chain_rpc::{BlockHead, ChainError, ChainRpc};

/// Headers that are remembered; beyond it the least used one is asked for again.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

/// Timestamps by block hash.
#[derive(Debug)]
pub(super) struct Headers {
    timestamps: LruCache<B256, u64>,
    policy: BlockTimestamp,
}

impl Headers {
    pub(super) fn new(policy: BlockTimestamp) -> Self {
        Self {
            timestamps: LruCache::new(CAPACITY),
            policy,
        }
    }

    /// The timestamp that goes into the payload of `log`, in seconds.
    pub(super) async fn timestamp(&mut self, rpc: &ChainRpc, log: &MinedLog) -> Result<Option<u64>, ChainError> {
        match self.policy {
            BlockTimestamp::None => return Ok(None),
            BlockTimestamp::Provider => return Ok(log.block_timestamp),
            BlockTimestamp::Header => {}
        }
        if let Some(seconds) = log.block_timestamp.filter(|seconds| *seconds != 0) {
            return Ok(Some(seconds));
        }
        if let Some(seconds) = self.timestamps.get(&log.block_hash) {
            return Ok(Some(*seconds));
        }
        let request = rpc
            .provider()
            .raw_request("eth_getBlockByHash".into(), (log.block_hash, false));
        let block: Option<BlockHead> = rpc.ask("eth_getBlockByHash", request).await?;
        // Without the header the event id would be another one than that of the other operators.
        let Some(block) = block else {
            return Err(ChainError::NoBlock {
                endpoint: rpc.endpoint().to_owned(),
                block: log.block_hash.to_string(),
            });
        };
        self.timestamps.put(log.block_hash, block.timestamp);
        Ok(Some(block.timestamp))
    }
}
