//! How many of an account's transactions are in blocks: one question for all that wait, asked only while somebody does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use alloy::primitives::Address;
use tokio::sync::watch;
use wavs_types::ChainKey;

use super::pace::Pace;
use crate::chain::chains::Chains;
use crate::chain::evm::Rpc;

/// Follows the count of one account.
pub(super) struct Inclusion {
    /// Nonces below this are in blocks; absent until the chain was asked.
    count: watch::Sender<Option<u64>>,
    poll: Mutex<Poll>,
}

#[derive(Default)]
struct Poll {
    waiting: usize,
    running: bool,
    /// When somebody began to wait; looks are dense after that.
    newest: Option<Instant>,
}

impl Default for Inclusion {
    fn default() -> Self {
        Self {
            count: watch::Sender::new(None),
            poll: Mutex::default(),
        }
    }
}

impl Inclusion {
    /// The count as last seen.
    pub(super) fn count(&self) -> Option<u64> {
        *self.count.borrow()
    }

    /// The chain told the count.
    pub(super) fn set(&self, count: u64) {
        self.count.send_if_modified(|old| old.replace(count) != Some(count));
    }

    /// A receipt told that the count is at least this.
    pub(super) fn raise(&self, count: u64) {
        self.count.send_if_modified(|old| {
            let more = *old < Some(count);
            if more {
                *old = Some(count);
            }
            more
        });
    }

    /// Waits until the count is known to be at least `floor`, without asking the chain.
    pub(super) async fn wait_for(&self, floor: u64) {
        // The sender lives as long as `self`.
        let _ = self
            .count
            .subscribe()
            .wait_for(|count| count.unwrap_or(0) >= floor)
            .await;
    }

    /// Waits until `nonce` is in a block, asking the chain.
    pub(super) async fn of(self: &Arc<Self>, chains: &Chains, key: &ChainKey, account: Address, nonce: u64) {
        let mut count = self.count.subscribe();
        let _waiting = self.wait(chains, key, account);
        let _ = count.wait_for(|count| *count > Some(nonce)).await;
    }

    fn wait(self: &Arc<Self>, chains: &Chains, key: &ChainKey, account: Address) -> Waiting {
        let mut poll = self.lock();
        poll.waiting += 1;
        poll.newest = Some(Instant::now());
        if !std::mem::replace(&mut poll.running, true) {
            tokio::spawn(Arc::clone(self).poll(chains.clone(), key.clone(), account));
        }
        Waiting(Arc::clone(self))
    }

    async fn poll(self: Arc<Self>, chains: Chains, key: ChainKey, account: Address) {
        let mut newest = None;
        let mut pace = Pace::new(None);
        loop {
            let chain = chains.evm(&key);
            {
                let mut poll = self.lock();
                if poll.waiting == 0 {
                    poll.running = false;
                    return;
                }
                if poll.newest != newest {
                    newest = poll.newest;
                    pace = Pace::new(chain.as_ref().ok().and_then(|chain| chain.usual_inclusion()));
                }
            }
            tokio::time::sleep(pace.next()).await;
            let count = async {
                let ask = |rpc: Rpc| async move { rpc.count(account, "latest").await };
                chain?.on_one("eth_getTransactionCount", ask).await
            };
            match count.await {
                // Never lower: endpoints may be a block apart. A chain that was set back is noticed by the lane's own look.
                Ok(count) => self.raise(count),
                Err(error) => {
                    tracing::debug!(%error, "count of the posting account could not be read");
                    tokio::time::sleep(Pace::FAULT).await;
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Poll> {
        self.poll.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for as long as this lives.
struct Waiting(Arc<Inclusion>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
