//! How the pursuit of a nonce ends: what a receipt means, the wait for depth, and what the ledger keeps of it.

use std::sync::Arc;

use wavs_store::{Durability, fault};

use super::SubmitError;
use super::depth::Reached;
use super::pace::Pace;
use super::pursuit::Pursuit;
use super::replay;
use super::rows::{self, Kind, Row, State};
use super::tracked::{MinedTx, Outcome, Progress};
use crate::chain::evm::EvmChain;
use crate::chain::landed::LandedTx;
use crate::chain::wire::Receipt;

impl Pursuit {
    /// Records a receipt.
    pub(super) async fn settle(
        &mut self,
        chain: &Arc<EvmChain>,
        receipt: Receipt,
        otherwise: Option<Outcome>,
    ) -> Result<MinedTx, Outcome> {
        self.lane.taken(self.newest().nonce, receipt.cost());
        let Some(row) = self
            .versions
            .iter()
            .find(|row| row.hash == receipt.transaction_hash)
            .cloned()
        else {
            return Err(self.drop_all("the chain answered with a foreign receipt", None).await);
        };
        let mined = MinedTx {
            hash: row.hash,
            block_number: receipt.block_number.to(),
            block_hash: receipt.block_hash,
            cost: receipt.cost(),
        };
        let gwei = gwei(&mined);
        if row.kind == Kind::Cancel {
            self.store(&row, &receipt, State::Final, None).await;
            let reason = "it was not mined in time and its nonce was freed".to_owned();
            return Err(otherwise.unwrap_or(Outcome::Lost(reason)));
        }
        if receipt.succeeded() {
            chain.metrics.confirmed(chain.key.as_str(), gwei);
            self.store(&row, &receipt, State::Mined, None).await;
            for version in &mut self.versions {
                version.state = if version.id == row.id {
                    State::Mined
                } else {
                    State::Replaced
                };
            }
            return Ok(mined);
        }
        let revert = replay::reason(chain, self.lane.account.address, &row, mined.block_number).await;
        chain.metrics.reverted(chain.key.as_str(), revert.label(), gwei);
        self.store(&row, &receipt, State::Reverted, Some(revert.to_string()))
            .await;
        Err(Outcome::Reverted { tx: mined, revert })
    }

    /// Waits for depth, and looks whether the transaction is still in its block then and after every reorganisation. `None` when it
    /// is in no block any more.
    pub(super) async fn until_final(&mut self, mut mined: MinedTx) -> Option<Outcome> {
        let key = self.newest().chain.clone();
        loop {
            let reached = self
                .inner
                .depth(&key)
                .reached(
                    &self.inner.chains,
                    &key,
                    (mined.block_number, mined.block_hash),
                    &self.inner.shutdown,
                )
                .await;
            let (chain, receipt) = loop {
                let Some(chain) = self.chain().await else {
                    return Some(Outcome::Interrupted);
                };
                match self.look(&chain, true).await {
                    Ok(receipt) => break (chain, receipt),
                    Err(_) => tokio::time::sleep(Pace::FAULT).await,
                }
            };
            let Some(receipt) = receipt else {
                self.reopen().await;
                // The nonce is free again, whatever was counted before.
                if let Err(error) = self.lane.look(&chain).await {
                    tracing::debug!(%error, "posting account could not be looked at");
                }
                return None;
            };
            if receipt.block_hash == mined.block_hash && receipt.transaction_hash == mined.hash {
                if reached == Reached::Reorganised {
                    continue;
                }
                let id = self
                    .versions
                    .iter()
                    .find(|row| row.hash == mined.hash)
                    .map(|row| row.id);
                self.write(move |tx| id.map_or(Ok(()), |id| rows::set_state(tx, id, State::Final, None)))
                    .await;
                return Some(Outcome::Mined(mined));
            }
            match self.settle(&chain, receipt, None).await {
                Ok(moved) => mined = moved,
                Err(outcome) => return Some(outcome),
            }
            self.progress.send_replace(Progress::Mined(mined.clone()));
        }
    }

    async fn store(&self, row: &Row, receipt: &Receipt, state: State, reason: Option<String>) {
        let versions: Vec<_> = self.versions.iter().map(|row| row.id).collect();
        let (id, receipt) = (row.id, receipt.clone());
        self.write(move |tx| rows::mined(tx, &versions, id, &receipt, state, reason.as_deref()))
            .await;
    }

    async fn reopen(&self) {
        let versions: Vec<_> = self.versions.iter().map(|row| row.id).collect();
        self.write(move |tx| {
            versions.iter().try_for_each(|id| {
                rows::set_state(tx, *id, State::Stored, None)?;
                fault::point("tx.reopened");
                Ok(())
            })
        })
        .await;
    }

    /// Gives all versions up.
    pub(super) async fn drop_all(&self, reason: &str, landed: Option<LandedTx>) -> Outcome {
        tracing::warn!(target_key = self.newest().target, reason, "transaction is given up");
        let versions: Vec<_> = self.versions.iter().map(|row| row.id).collect();
        let text = reason.to_owned();
        self.write(move |tx| {
            versions.iter().try_for_each(|id| {
                rows::set_state(tx, *id, State::Dropped, Some(&text))?;
                fault::point("tx.dropped");
                Ok(())
            })
        })
        .await;
        landed.map_or_else(|| Outcome::Lost(reason.to_owned()), Outcome::LandedElsewhere)
    }

    /// Bookkeeping that can be found out again from the chain, so a failure is only logged.
    async fn write(&self, change: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()> + Send + 'static) {
        let result = self
            .inner
            .writer
            .write(Durability::Process, move |tx| Ok::<_, SubmitError>(change(tx)?))
            .await;
        if let Err(error) = result {
            tracing::error!(%error, "state of a transaction could not be stored; it is found out again after a restart");
        }
    }
}

fn gwei(mined: &MinedTx) -> u64 {
    u64::try_from(mined.cost / alloy::primitives::U256::from(1_000_000_000_u64)).unwrap_or(u64::MAX)
}
