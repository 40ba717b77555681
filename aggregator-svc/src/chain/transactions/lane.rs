//! One posting account on one chain: the next nonce as far as the chain tells, room for transactions in flight, and funds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy::primitives::U256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::rows::Account;
use crate::chain::error::ChainError;
use crate::chain::evm::EvmChain;

/// Transactions of one account that are in no block yet. Further submissions wait for room.
const IN_FLIGHT: usize = 16;
/// Time between two looks at balance and count.
const LOOK: Duration = Duration::from_secs(60);
/// The same while the account cannot pay.
const LOOK_UNFUNDED: Duration = Duration::from_secs(2);

/// State shared by all transactions of one account on one chain.
pub(super) struct Lane {
    pub(super) account: Account,
    room: Arc<Semaphore>,
    /// Nonces below this are taken in blocks; absent until the chain was asked.
    count: Mutex<Option<u64>>,
    /// Wei that a waiting transaction lacks the balance for; zero while the account is funded.
    needed: watch::Sender<U256>,
    balance: Mutex<Option<U256>>,
}

impl Lane {
    pub(super) fn new(account: Account) -> Self {
        Self {
            account,
            room: Arc::new(Semaphore::new(IN_FLIGHT)),
            count: Mutex::new(None),
            needed: watch::channel(U256::ZERO).0,
            balance: Mutex::new(None),
        }
    }

    /// Waits for room for one more transaction.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    /// Room for a transaction that exists already and must be followed whatever the number.
    pub(super) fn enter_resumed(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// The number of transactions in blocks; asks the chain the first time only.
    pub(super) async fn floor(&self, chain: &EvmChain) -> Result<u64, ChainError> {
        if let Some(count) = *self.lock_count() {
            return Ok(count);
        }
        self.look(chain).await
    }

    /// Asks the chain for count and balance.
    pub(super) async fn look(&self, chain: &EvmChain) -> Result<u64, ChainError> {
        let address = self.account.address;
        let (count, balance) = chain
            .on_one("eth_getTransactionCount", |rpc| async move {
                futures::try_join!(rpc.count(address, "latest"), rpc.balance(address))
            })
            .await?;
        *self.balance.lock().unwrap_or_else(PoisonError::into_inner) = Some(balance);
        let gwei = i64::try_from(balance / U256::from(1_000_000_000_u64)).unwrap_or(i64::MAX);
        chain.metrics.balance(chain.key.as_str(), gwei);
        self.needed.send_if_modified(|needed| {
            let funded = !needed.is_zero() && balance >= *needed;
            if funded {
                tracing::info!(chain = %chain.key, account = %address, "posting account is funded again");
                *needed = U256::ZERO;
            }
            funded
        });
        // A chain that was set back (a development chain started anew) may have a lower count than before.
        *self.lock_count() = Some(count);
        Ok(count)
    }

    /// Learns that a nonce is in a block.
    pub(super) fn taken(&self, nonce: u64) {
        let mut count = self.lock_count();
        *count = (*count).max(Some(nonce + 1));
    }

    /// The balance at the last look.
    pub(super) fn balance(&self) -> Option<U256> {
        *self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the account lacks; `None` while it is funded.
    pub(super) fn lacking(&self) -> Option<U256> {
        let needed = *self.needed.borrow();
        (!needed.is_zero()).then_some(needed)
    }

    /// Records that the account cannot pay `needed`.
    pub(super) fn unfunded(&self, chain: &EvmChain, needed: U256) {
        self.needed.send_if_modified(|old| {
            if old.is_zero() {
                tracing::error!(chain = %chain.key, account = %self.account.address, needed_wei = %needed, "the posting account cannot pay for its transactions; send funds to it");
            }
            let changed = *old != needed;
            *old = needed;
            changed
        });
    }

    /// Waits until the account can pay.
    pub(super) async fn funded(&self) {
        // The sender lives as long as the lane, so an error cannot occur while this waits.
        let _ = self.needed.subscribe().wait_for(U256::is_zero).await;
    }

    /// Looks at count and balance from time to time, sooner while funds are lacking; `each` runs after every look.
    pub(super) async fn watch<F, Fut>(
        &self,
        chain: impl Fn() -> Option<Arc<EvmChain>>,
        stop: &CancellationToken,
        each: F,
    ) where
        F: Fn(Arc<EvmChain>, u64) -> Fut,
        Fut: Future<Output = ()>,
    {
        let mut changes = self.needed.subscribe();
        loop {
            let pause = if self.lacking().is_some() { LOOK_UNFUNDED } else { LOOK };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changes.changed() => continue,
                () = tokio::time::sleep(pause) => {}
            }
            let Some(chain) = chain() else { return };
            match self.look(&chain).await {
                Ok(count) => each(chain, count).await,
                Err(error) => tracing::debug!(%error, "posting account could not be looked at"),
            }
        }
    }

    fn lock_count(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
