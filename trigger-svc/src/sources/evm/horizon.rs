//! Which blocks may fire: those at or below the horizon, which the configuration puts at the head, some blocks behind it,
//! or at what the chain calls safe or finalized.

use alloy::eips::BlockNumberOrTag;
use wavs_types::{EvmChainConfig, Finality};

use crate::chain_rpc::{ChainError, ChainRpc};

/// Where the horizon lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Horizon {
    /// At the head: what a block holds fires at once.
    Head,
    /// So many blocks behind the head.
    Behind(u64),
    /// At the block that the chain gives this tag. An endpoint that does not know the tag is no use: falling back to the
    /// head would fire what may still vanish.
    Tag(BlockNumberOrTag),
}

impl Horizon {
    /// What the chain's `finality` and `confirmations` ask for.
    pub(super) fn new(config: &EvmChainConfig) -> Self {
        match (config.finality, config.confirmations) {
            (Finality::Latest, 0) => Self::Head,
            (Finality::Latest, confirmations) => Self::Behind(confirmations),
            (Finality::Safe, _) => Self::Tag(BlockNumberOrTag::Safe),
            (Finality::Finalized, _) => Self::Tag(BlockNumberOrTag::Finalized),
        }
    }

    /// The newest block that may fire while the chain is at `head`; `None` while the chain is too young to have one.
    ///
    /// # Errors
    /// When the endpoint does not answer or does not know the tag.
    pub(super) async fn at(self, rpc: &ChainRpc, head: u64) -> Result<Option<u64>, ChainError> {
        match self {
            Self::Head => Ok(Some(head)),
            Self::Behind(confirmations) => Ok(head.checked_sub(confirmations)),
            // An endpoint may be ahead of the head that it announced.
            Self::Tag(tag) => Ok(Some(rpc.tagged_block(tag).await?.number.min(head))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_count_only_from_the_head() {
        let horizon = |finality: &str| {
            let config =
                format!(r#"{{"chain_id":"1","ws_endpoints":["ws://x"],"confirmations":3,"finality":"{finality}"}}"#);
            Horizon::new(&serde_json::from_str(&config).unwrap())
        };
        assert_eq!(horizon("latest"), Horizon::Behind(3));
        assert_eq!(horizon("safe"), Horizon::Tag(BlockNumberOrTag::Safe));
        assert_eq!(horizon("finalized"), Horizon::Tag(BlockNumberOrTag::Finalized));
        assert_eq!(Horizon::new(&EvmChainConfig::default()), Horizon::Head);
    }
}
