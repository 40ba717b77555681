//! Waits for blocks to be deep enough, with one poller per chain for all waiters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wavs_types::SubmitConfirmations;

use crate::chain::evm::EvmChain;

/// Shortest and longest pause between two looks at the head.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Follows the height below which blocks count as final. The poller runs only while somebody waits.
#[derive(Default)]
pub(super) struct Depth {
    height: Mutex<Option<watch::Sender<u64>>>,
}

impl Depth {
    /// Waits until `block` is final as `submit_confirmations` of the chain defines it.
    pub(super) async fn reached(self: &Arc<Self>, chain: &Arc<EvmChain>, block: u64, stop: &CancellationToken) {
        let mut height = self.subscribe(chain, stop);
        if height.wait_for(|height| *height >= block).await.is_err() {
            // The poller ended because the process stops.
            stop.cancelled().await;
        }
    }

    fn subscribe(self: &Arc<Self>, chain: &Arc<EvmChain>, stop: &CancellationToken) -> watch::Receiver<u64> {
        let mut slot = self.height.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = slot.as_ref() {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(0);
        *slot = Some(sender);
        drop(slot);
        let (depth, chain, stop) = (Arc::clone(self), Arc::clone(chain), stop.clone());
        tokio::spawn(async move {
            let mut pause = PAUSE.0;
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                let found = final_height(&chain).await;
                let mut slot = depth.height.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(sender) = slot.as_ref() else { break };
                if sender.receiver_count() == 0 {
                    *slot = None;
                    return;
                }
                let moved =
                    found.is_some_and(|height| sender.send_if_modified(|old| std::mem::replace(old, height) != height));
                // A chain that stands still, as development chains do without transactions, is asked less and less.
                pause = if moved { chain.block_time() } else { pause * 2 }.clamp(PAUSE.0, PAUSE.1);
            }
            *depth.height.lock().unwrap_or_else(PoisonError::into_inner) = None;
        });
        receiver
    }
}

/// The newest block that counts as final.
async fn final_height(chain: &EvmChain) -> Option<u64> {
    let height = match chain.config.submit_confirmations {
        SubmitConfirmations::Depth(depth) => chain
            .head()
            .await
            .map(|head| head.number.to::<u64>().checked_sub(depth.saturating_sub(1))),
        SubmitConfirmations::Tag(_) => {
            chain
                .on_one("eth_getBlockByNumber", |rpc| async move { rpc.finalized().await })
                .await
        }
    };
    height
        .inspect_err(|error| tracing::debug!(%error, "head could not be read"))
        .ok()
        .flatten()
}
