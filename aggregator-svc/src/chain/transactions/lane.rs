//! One posting account on one chain: the next nonce as far as the chain tells, room for transactions in flight, and funds.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy::primitives::U256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use wavs_types::ChainKey;

use super::courier::Courier;
use super::fees::Caps;
use super::funds::{AccountState, Funds, cost_seen, cost_unseen};
use super::inclusion::Inclusion;
use super::rows::Account;
use crate::chain::endpoint::Fault;
use crate::chain::error::ChainError;
use crate::chain::evm::EvmChain;

/// Transactions of one account that are in no block yet. Further submissions wait for room.
///
/// Nodes promise room for 16 per account; those that enforce it answer so, and the [`Courier`] keeps to it from then on. Most
/// take more while their pool is not full, and a burst of events needs that: with 16 it would take a block per 16 events.
const IN_FLIGHT: usize = 256;
/// Time between two looks at balance and count.
const LOOK: Duration = Duration::from_secs(60);
/// The same while the account cannot pay, or while the chain does not answer.
const LOOK_SOON: Duration = Duration::from_secs(2);

/// State shared by all transactions of one account on one chain.
pub(super) struct Lane {
    pub(super) account: Account,
    /// The key under which the chain is configured.
    pub(super) chain: ChainKey,
    pub(super) courier: Arc<Courier>,
    pub(super) inclusion: Arc<Inclusion>,
    room: Arc<Semaphore>,
    /// Wei that a waiting transaction lacks the balance for; zero while the account is funded.
    needed: watch::Sender<U256>,
    /// Counted up when something changed that people are told.
    news: Arc<watch::Sender<u64>>,
    purse: Mutex<Purse>,
    pending: AtomicU32,
    gap: AtomicU32,
    /// The count up to which foreign transactions of the account were reported.
    reported: AtomicU64,
}

#[derive(Default)]
struct Purse {
    balance: Option<U256>,
    usual_cost: Option<U256>,
    /// Whether the usual cost is that of mined transactions.
    paid_before: bool,
    alert: Option<U256>,
}

impl Lane {
    pub(super) fn new(account: Account, chain: ChainKey, news: Arc<watch::Sender<u64>>) -> Self {
        Self {
            account,
            chain,
            courier: Arc::default(),
            inclusion: Arc::default(),
            room: Arc::new(Semaphore::new(IN_FLIGHT)),
            needed: watch::channel(U256::ZERO).0,
            news,
            purse: Mutex::default(),
            pending: AtomicU32::new(0),
            gap: AtomicU32::new(0),
            reported: AtomicU64::new(0),
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
        match self.inclusion.count() {
            Some(count) => Ok(count),
            None => self.look(chain).await,
        }
    }

    /// Asks the chain for count, balance and price.
    pub(super) async fn look(&self, chain: &EvmChain) -> Result<u64, ChainError> {
        let address = self.account.address;
        let (count, balance, price) = chain
            .on_one("eth_getTransactionCount", |rpc| async move {
                let price = async {
                    match rpc.gas_price().await {
                        Err(fault @ Fault::Transport(_)) => Err(fault),
                        answer => Ok(answer.ok()),
                    }
                };
                futures::try_join!(rpc.count(address, "latest"), rpc.balance(address), price)
            })
            .await?;
        {
            let mut purse = self.purse();
            purse.balance = Some(balance);
            purse.alert = Caps::of(&chain.config).alert;
            if !purse.paid_before {
                purse.usual_cost = price.map(cost_unseen).or(purse.usual_cost);
            }
        }
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
        chain.metrics.funds(chain.key.as_str(), self.funds().level());
        // A chain that was set back (a development chain started anew) may have a lower count than before.
        self.inclusion.set(count);
        self.tell();
        Ok(count)
    }

    /// Learns that a nonce is in a block, and what its transaction cost.
    pub(super) fn taken(&self, nonce: u64, cost: U256) {
        self.inclusion.raise(nonce + 1);
        let mut purse = self.purse();
        let before = purse.usual_cost.filter(|_| purse.paid_before);
        purse.usual_cost = Some(cost_seen(before, cost));
        purse.paid_before = true;
    }

    /// The balance at the last look.
    pub(super) fn balance(&self) -> Option<U256> {
        self.purse().balance
    }

    /// What the account lacks; `None` while it is funded.
    pub(super) fn lacking(&self) -> Option<U256> {
        let needed = *self.needed.borrow();
        (!needed.is_zero()).then_some(needed)
    }

    /// Records that the account cannot pay `needed`.
    pub(super) fn unfunded(&self, chain: &EvmChain, needed: U256) {
        let needed = needed.max(U256::ONE);
        let modified = self.needed.send_if_modified(|old| {
            if old.is_zero() {
                tracing::error!(chain = %chain.key, account = %self.account.address, needed_wei = %needed, "the posting account cannot pay for its transactions; send funds to it");
            }
            let changed = *old != needed;
            *old = needed;
            changed
        });
        if modified {
            chain.metrics.funds(chain.key.as_str(), Funds::Unfunded.level());
            self.tell();
        }
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
            let mut answered = false;
            if let Some(chain) = chain() {
                match self.look(&chain).await {
                    Ok(count) => {
                        answered = true;
                        each(chain, count).await;
                    }
                    Err(error) => tracing::debug!(%error, "posting account could not be looked at"),
                }
            }
            let soon = self.lacking().is_some() || !answered;
            let pause = if soon { LOOK_SOON } else { LOOK };
            changes.mark_unchanged();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                // Funds are lacking now: the pause is the shorter one from here on.
                _ = changes.changed() => {
                    if stop.run_until_cancelled(tokio::time::sleep(LOOK_SOON)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// One more transaction is in no block yet, or one less.
    pub(super) fn count_pending(&self, more: bool) {
        if more {
            self.pending.fetch_add(1, Ordering::Relaxed);
        } else {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Records how many nonces below own pending transactions nobody uses.
    pub(super) fn saw_gap(&self, missing: usize) {
        self.gap
            .store(u32::try_from(missing).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many of the first `count` nonces went to transactions that are not in the ledger, whose next nonce would be `own`, beyond
    /// those that were told before.
    pub(super) fn foreign(&self, count: u64, own: u64) -> u64 {
        let reported = self.reported.fetch_max(count, Ordering::Relaxed).max(own);
        count.saturating_sub(reported)
    }

    /// How the account is.
    pub(super) fn state(&self, chain: &ChainKey) -> AccountState {
        let funds = self.funds();
        let purse = self.purse();
        AccountState {
            chain: chain.clone(),
            account: self.account.address,
            balance: purse.balance,
            usual_cost: purse.usual_cost,
            funds,
            pending: self.pending.load(Ordering::Relaxed),
            nonce_gap: self.gap.load(Ordering::Relaxed),
        }
    }

    fn funds(&self) -> Funds {
        let waits = self.lacking().is_some();
        let purse = self.purse();
        Funds::judge(purse.balance, purse.usual_cost, purse.alert, waits)
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    fn purse(&self) -> MutexGuard<'_, Purse> {
        self.purse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
