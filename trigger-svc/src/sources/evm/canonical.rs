//! Noticing reorganisations.
//!
//! Some providers announce a removed log, others only send other heads. A head that does not follow its predecessor, and
//! every new connection, are reasons to look for the last common block among those that are remembered, and to compare
//! the blocks of the occurrences above it with the chain as it is now.

use std::collections::BTreeMap;

use wavs_types::{B256, ChainKey};

use crate::chain_rpc::{BlockHead, ChainError, ChainRpc};

/// The last head, to recognise whether the next one follows it.
#[derive(Debug, Default)]
pub(super) struct HeadChain {
    last: Option<(u64, B256)>,
}

impl HeadChain {
    /// Whether `head` is the last one that was taken.
    pub(super) fn is_last(&self, head: BlockHead) -> bool {
        self.last == Some((head.number, head.hash))
    }

    /// Takes the next head; false when it does not follow the last one, so that blocks may have been replaced.
    pub(super) fn follows(&mut self, head: BlockHead) -> bool {
        let follows = self
            .last
            .is_none_or(|(number, hash)| hash == head.hash || (head.number == number + 1 && head.parent_hash == hash));
        self.last = Some((head.number, head.hash));
        follows
    }
}

/// The newest of `remembered` (newest first) that the chain still has.
pub(super) async fn common_block(rpc: &ChainRpc, remembered: &[(u64, B256)]) -> Result<Option<u64>, ChainError> {
    for (height, hash) in remembered {
        let there = rpc.block((*height).into()).await?;
        if there.is_some_and(|block| block.hash == *hash) {
            return Ok(Some(*height));
        }
    }
    Ok(None)
}

/// The block hash inside the source key of a log; `None` for occurrences that are not bound to a block hash.
pub(super) fn block_of(source_key: &str, chain: &ChainKey) -> Option<B256> {
    let rest = source_key.strip_prefix(chain.as_str())?.strip_prefix('/')?;
    rest.split('/').next()?.parse().ok()
}

/// The source keys whose block is not, or no longer, in the chain. Each height is asked for once.
pub(super) async fn orphans(
    rpc: &ChainRpc,
    chain: &ChainKey,
    recorded: Vec<(u64, String)>,
) -> Result<Vec<String>, ChainError> {
    let mut canonical: BTreeMap<u64, Option<B256>> = BTreeMap::new();
    let mut orphans = Vec::new();
    for (height, source_key) in recorded {
        let Some(block) = block_of(&source_key, chain) else {
            continue;
        };
        if let std::collections::btree_map::Entry::Vacant(entry) = canonical.entry(height) {
            let found = rpc.block(height.into()).await?;
            entry.insert(found.map(|block| block.hash));
        }
        if canonical.get(&height).copied().flatten() != Some(block) {
            orphans.push(source_key);
        }
    }
    Ok(orphans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u64, hash: u8, parent: u8) -> BlockHead {
        BlockHead {
            number,
            hash: B256::repeat_byte(hash),
            parent_hash: B256::repeat_byte(parent),
            timestamp: 0,
        }
    }

    #[test]
    fn only_a_child_of_the_last_head_follows_it() {
        let mut heads = HeadChain::default();
        assert!(heads.follows(head(7, 1, 0)), "nothing is known yet");
        assert!(heads.follows(head(8, 2, 1)));
        assert!(heads.follows(head(8, 2, 1)), "the same once more");
        assert!(!heads.follows(head(8, 3, 1)), "a sibling");
        assert!(!heads.follows(head(9, 4, 2)), "a child of the replaced block");
        assert!(!heads.follows(head(11, 6, 5)), "heads were skipped");
        assert!(heads.follows(head(12, 7, 6)));
    }

    #[test]
    fn the_block_is_read_from_the_key_of_a_log_alone() {
        let chain: ChainKey = "evm:1".parse().unwrap();
        let block = B256::repeat_byte(0xab);
        assert_eq!(block_of(&format!("evm:1/{block}/3"), &chain), Some(block));
        assert_eq!(block_of("evm:1/block/30", &chain), None);
        assert_eq!(block_of(&format!("evm:10/{block}/3"), &chain), None);
    }
}
