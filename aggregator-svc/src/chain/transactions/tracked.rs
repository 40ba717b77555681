//! The handle of a submission: how it goes and how it ended.

use alloy::primitives::{B256, U256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::chain::landed::LandedTx;
use crate::chain::revert::Revert;

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinedTx {
    /// Its hash.
    pub hash: B256,
    /// Its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Fee paid, in wei.
    pub cost: U256,
}

/// How a submission ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in a block and had its effect.
    Mined(MinedTx),
    /// It is in a block without effect.
    Reverted {
        /// The transaction.
        tx: MinedTx,
        /// Why, as found by a replay at the block before.
        revert: Revert,
    },
    /// Another transaction delivered the event; ours was cancelled or lost.
    LandedElsewhere(LandedTx),
    /// Nothing of ours can get into a block any more: judge again and submit again.
    Lost(String),
    /// No node takes such a transaction; its nonce was freed at our expense.
    Refused(String),
    /// The process is stopping; the stored transaction is followed again after the restart.
    Interrupted,
}

/// Where a submission is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// In no block yet.
    Pending { hash: B256 },
    /// Ended, but a reorganisation may still undo it.
    Mined(MinedTx),
    /// Ended for good.
    Ended(Outcome),
}

/// Follows one submission. Clones follow the same.
#[derive(Debug, Clone)]
pub struct Tracked {
    progress: watch::Receiver<Progress>,
    unwanted: CancellationToken,
}

impl Tracked {
    pub(super) fn new(progress: watch::Receiver<Progress>, unwanted: CancellationToken) -> Self {
        Self { progress, unwanted }
    }

    /// One that has ended already.
    pub(super) fn ended(outcome: Outcome) -> Self {
        Self::new(watch::channel(Progress::Ended(outcome)).1, CancellationToken::new())
    }

    /// The hash of the newest version of the transaction; absent when nothing of ours is in a block or can get into one.
    pub fn hash(&self) -> Option<B256> {
        match &*self.progress.borrow() {
            Progress::Pending { hash } => Some(*hash),
            Progress::Mined(tx) | Progress::Ended(Outcome::Mined(tx) | Outcome::Reverted { tx, .. }) => Some(tx.hash),
            Progress::Ended(_) => None,
        }
    }

    /// The result is not wanted any more: unless the transaction is in a block by then, an empty one takes its nonce. The outcome
    /// tells which of them it was.
    pub fn give_up(&self) {
        self.unwanted.cancel();
    }

    /// Waits until the transaction is in a block or never will be.
    pub async fn outcome(&mut self) -> Outcome {
        self.until(|progress| !matches!(progress, Progress::Pending { .. }))
            .await
    }

    /// Waits until nothing can change any more: [`Outcome::Mined`] then means final.
    pub async fn finality(&mut self) -> Outcome {
        self.until(|progress| matches!(progress, Progress::Ended(_))).await
    }

    /// Waits for any news.
    #[cfg(test)]
    pub(in crate::chain) async fn changed(&mut self) {
        let _ = self.progress.changed().await;
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(&*self.progress.borrow(), Progress::Ended(_))
    }

    async fn until(&mut self, reached: impl FnMut(&Progress) -> bool) -> Outcome {
        match self.progress.wait_for(reached).await.as_deref() {
            Ok(Progress::Mined(tx)) => Outcome::Mined(tx.clone()),
            Ok(Progress::Ended(outcome)) => outcome.clone(),
            // The sender is gone only when the process stops; `Pending` never passes the filters above.
            Ok(Progress::Pending { .. }) | Err(_) => Outcome::Interrupted,
        }
    }
}
