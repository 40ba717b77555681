//! Waits for blocks to be deep enough, with one poller per chain for all waiters, which also notices reorganisations.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy::primitives::B256;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wavs_types::{ChainKey, SubmitConfirmations};

use crate::chain::chains::Chains;
use crate::chain::error::ChainError;
use crate::chain::evm::EvmChain;

/// Shortest and longest pause between two looks at the head.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Follows the height below which blocks count as final. The poller runs only while somebody waits.
#[derive(Default)]
pub(super) struct Depth {
    seen: Mutex<Option<watch::Sender<Seen>>>,
    /// The newest block that anybody saw; when its height has another hash the chain was reorganised.
    tip: Mutex<Option<Block>>,
}

/// Height and hash of a block.
pub(super) type Block = (u64, B256);

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// A block of that height is final.
    Final,
    /// The chain was reorganised meanwhile: the block may be another one now.
    Reorganised,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    /// Blocks up to this one are final.
    height: Option<u64>,
    /// How many reorganisations were noticed.
    reorgs: u64,
}

impl Depth {
    /// Waits until `block` is final as `submit_confirmations` of the chain defines it, or until the chain was reorganised.
    pub(super) async fn reached(
        self: &Arc<Self>,
        chains: &Chains,
        key: &ChainKey,
        block: Block,
        stop: &CancellationToken,
    ) -> Reached {
        self.saw(block);
        let mut seen = self.subscribe(chains, key, stop);
        let before = seen.borrow().reorgs;
        let reached = seen
            .wait_for(|seen| seen.reorgs != before || seen.height >= Some(block.0))
            .await
            .map(|seen| seen.reorgs != before);
        match reached {
            Ok(true) => Reached::Reorganised,
            Ok(false) => Reached::Final,
            Err(_) => {
                // The poller ended because the process stops.
                stop.cancelled().await;
                Reached::Reorganised
            }
        }
    }

    fn subscribe(self: &Arc<Self>, chains: &Chains, key: &ChainKey, stop: &CancellationToken) -> watch::Receiver<Seen> {
        let mut slot = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = slot.as_ref() {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(Seen::default());
        *slot = Some(sender);
        drop(slot);
        tokio::spawn(Arc::clone(self).poll(chains.clone(), key.clone(), stop.clone()));
        receiver
    }

    async fn poll(self: Arc<Self>, chains: Chains, key: ChainKey, stop: CancellationToken) {
        let mut pause = PAUSE.0;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            let mut block_time = PAUSE.1;
            let mut looked = None;
            if let Ok(chain) = chains.evm(&key) {
                looked = self
                    .look(&chain)
                    .await
                    .inspect_err(|error| tracing::debug!(%error, "head could not be read"))
                    .ok();
                block_time = chain.block_time();
            }
            let mut slot = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(sender) = slot.as_ref() else { break };
            if sender.receiver_count() == 0 {
                *slot = None;
                return;
            }
            let moved = looked.is_some_and(|(height, reorganised)| {
                if reorganised {
                    tracing::warn!(chain = %key, "the chain was reorganised; mined transactions are looked for again");
                }
                sender.send_if_modified(|old| {
                    let new = Seen {
                        height,
                        reorgs: old.reorgs + u64::from(reorganised),
                    };
                    std::mem::replace(old, new) != new
                })
            });
            // A chain that stands still, as development chains do without transactions, is asked less and less.
            pause = if moved { block_time } else { pause * 2 }.clamp(PAUSE.0, PAUSE.1);
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The height up to which blocks are final, and whether the newest block that anybody saw is in the chain no more.
    async fn look(&self, chain: &EvmChain) -> Result<(Option<u64>, bool), ChainError> {
        let tip = *self.lock_tip();
        let head = chain.head().await?;
        let number = head.number.to::<u64>();
        let height = match chain.config.submit_confirmations {
            SubmitConfirmations::Depth(depth) => number.checked_sub(depth.saturating_sub(1)),
            SubmitConfirmations::Tag(_) => {
                chain
                    .on_one("eth_getBlockByNumber", |rpc| async move { rpc.finalized().await })
                    .await?
            }
        };
        let reorganised = match tip {
            Some((seen, hash)) if seen == number => hash != head.hash,
            Some((seen, hash)) => {
                let block = chain
                    .on_one("eth_getBlockByNumber", |rpc| async move { rpc.block(seen).await })
                    .await?;
                // An endpoint that is behind does not know the block yet, which is no reorganisation.
                block.is_some_and(|block| block.hash != hash)
            }
            None => false,
        };
        if reorganised {
            *self.lock_tip() = None;
        }
        self.saw((number, head.hash));
        Ok((height, reorganised))
    }

    fn saw(&self, block: Block) {
        let mut tip = self.lock_tip();
        if tip.is_none_or(|(number, _)| number < block.0) {
            *tip = Some(block);
        }
    }

    fn lock_tip(&self) -> MutexGuard<'_, Option<Block>> {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
