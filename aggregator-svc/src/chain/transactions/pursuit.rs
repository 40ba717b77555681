//! Follows one nonce of the posting account until a transaction of it is final.
//!
//! All versions of the nonce are known and stored before they are sent. A round is: send the newest version, look for a receipt
//! until the deadline, then find out what stands in the way and outbid, cancel or wait. Nothing here reserves a nonce.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use tokio::sync::{OwnedSemaphorePermit, watch};
use wavs_types::EventId;

use super::answer::Answer;
use super::fees::{Bid, Caps, FeeQuote, worst_cost};
use super::lane::Lane;
use super::pace::Pace;
use super::raw::Draft;
use super::replay;
use super::rows::{self, Kind, Purpose, Row, State};
use super::tracked::{MinedTx, Outcome, Progress};
use super::{Inner, SubmitError};
use crate::chain::error::ChainError;
use crate::chain::evm::{EvmChain, Rpc};
use crate::chain::landed::{self, LandedQuery, LandedTx};
use crate::chain::wire::Receipt;
use wavs_store::Durability;

/// Replacements at a quarter more each; afterwards only a risen market brings another one.
const BUMPS: u32 = 6;
/// Longest time between two rounds of a transaction that cannot be outbid.
const ROUND_MAX: Duration = Duration::from_secs(600);
/// Default receipt deadline: six blocks, at least half a minute.
const DEADLINE: (u32, Duration) = (6, Duration::from_secs(30));
/// Pause after a fault of the way to the chain.
const FAULT_PAUSE: Duration = Duration::from_secs(1);
/// Looks, and the pause between them, before a nonce without receipt of ours is given up.
const TAKEN_LOOKS: u32 = 4;
const TAKEN_PAUSE: Duration = Duration::from_millis(300);
/// Older versions are looked for in every so manieth look.
const OLD_VERSIONS_EVERY: u32 = 4;

/// One nonce under way.
pub(super) struct Pursuit {
    pub(super) inner: Arc<Inner>,
    pub(super) lane: Arc<Lane>,
    /// All versions, oldest first; never empty.
    pub(super) versions: Vec<Row>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// Whether an earlier process stored the versions, so that anything may have happened to them since.
    pub(super) resumed: bool,
}

/// How a round ended.
enum Round {
    /// One of the versions is in a block.
    Mined(Receipt),
    /// The nonce went to a foreign transaction.
    Taken,
    /// Nothing happened until the deadline.
    Deadline,
    /// What held it back is gone: send it again as it is.
    Again,
    /// A higher bid is needed at once.
    TooLow,
    /// No node takes it, ever.
    Refused(String),
}

impl Pursuit {
    /// Runs until the end or the stop of the process.
    pub(super) async fn run(mut self) {
        let stop = self.inner.shutdown.clone();
        let outcome = tokio::select! {
            () = stop.cancelled() => Outcome::Interrupted,
            outcome = self.pursue() => outcome,
        };
        let target = self.newest().target.clone();
        self.progress.send_replace(Progress::Ended(outcome));
        self.inner.forget(&target);
    }

    async fn pursue(&mut self) -> Outcome {
        loop {
            let mined = match self.versions.iter().find(|row| row.state == State::Mined) {
                // Mined before a restart: only its depth is left to wait for.
                Some(row) => Ok(MinedTx {
                    hash: row.hash,
                    block_number: row.block_number,
                    block_hash: row.block_hash,
                    cost: row.cost,
                }),
                None => self.until_mined().await,
            };
            let mined = match mined {
                Ok(mined) => mined,
                Err(outcome) => return outcome,
            };
            self.room = None;
            self.progress.send_replace(Progress::Mined(mined.clone()));
            if let Some(outcome) = self.until_final(mined).await {
                return outcome;
            }
            tracing::warn!(
                target_key = self.newest().target,
                "a reorganisation removed the transaction; it is sent again"
            );
            for row in &mut self.versions {
                row.state = State::Stored;
            }
            let hash = self.newest().hash;
            self.progress.send_replace(Progress::Pending { hash });
        }
    }

    /// Rounds until a block has the nonce. `Err` is any end but a success of the call.
    async fn until_mined(&mut self) -> Result<MinedTx, Outcome> {
        let mut bumps = 0;
        let mut rounds = u32::from(self.resumed);
        let mut elsewhere = self.landed_meanwhile().await;
        let pending = self.inner.chains.metrics().pending(self.newest().chain.as_str());
        pending.add(1);
        let result = loop {
            let Some(chain) = self.chain().await else {
                break Err(Outcome::Interrupted);
            };
            let round = self.round(&chain, rounds).await;
            rounds += 1;
            match round {
                Round::Mined(receipt) => break self.settle(&chain, receipt, elsewhere.take()).await,
                Round::Taken => {
                    let landed = self.landed(&chain).await;
                    break Err(self
                        .drop_all(
                            "its nonce went to another transaction of the account",
                            landed.or(elsewhere),
                        )
                        .await);
                }
                Round::Refused(text) => {
                    tracing::error!(chain = %chain.key, fault = text, "no node takes the transaction; its nonce is freed by a cancel");
                    if self.newest().kind == Kind::Cancel || !self.replace(&chain, Kind::Cancel).await {
                        tokio::time::sleep(ROUND_MAX.min(FAULT_PAUSE * (1 << rounds.min(9)))).await;
                    }
                }
                Round::Again => {}
                Round::TooLow => {
                    let market = bumps < BUMPS || self.market_is_above(&chain).await;
                    if market && self.replace(&chain, self.newest().kind).await {
                        bumps += 1;
                    } else {
                        tokio::time::sleep(deadline(&chain)).await;
                    }
                }
                Round::Deadline => {
                    if elsewhere.is_none() && self.newest().kind == Kind::Call {
                        elsewhere = self.landed(&chain).await;
                    }
                    let kind = if elsewhere.is_some() {
                        Kind::Cancel
                    } else {
                        self.newest().kind
                    };
                    let market = bumps < BUMPS || self.market_is_above(&chain).await;
                    if market && self.replace(&chain, kind).await {
                        bumps += 1;
                    }
                }
            }
        };
        pending.add(-1);
        result
    }

    /// Sends the newest version and waits for a receipt of any version.
    async fn round(&self, chain: &Arc<EvmChain>, rounds: u32) -> Round {
        // After a restart, and after every deadline, a look precedes the repetition.
        if rounds > 0
            && let Ok(Some(receipt)) = self.look(chain, true).await
        {
            return Round::Mined(receipt);
        }
        match self.broadcast(chain).await {
            Answer::Accepted => {}
            Answer::Ambiguous(fault) => {
                tracing::debug!(chain = %chain.key, fault, "broadcast is ambiguous; looking for the transaction");
            }
            Answer::Underpriced | Answer::FeeTooLow => return Round::TooLow,
            Answer::Refused(text) => return Round::Refused(text),
            Answer::Unfunded(_) => {
                let newest = self.newest();
                let gas = Draft::of(&newest.raw).map_or(0, |draft| draft.gas);
                self.lane.unfunded(chain, worst_cost(gas, newest.bid));
                self.lane.funded().await;
                return Round::Again;
            }
            Answer::NonceTooLow if self.is_taken(chain).await => return self.taken(chain).await,
            Answer::NonceTooLow => {}
        }
        self.wait_for_receipt(chain, rounds).await
    }

    async fn wait_for_receipt(&self, chain: &Arc<EvmChain>, rounds: u32) -> Round {
        let started = Instant::now();
        let deadline = deadline(chain)
            .saturating_mul(1 << rounds.saturating_sub(BUMPS).min(8))
            .min(ROUND_MAX);
        let mut pace = Pace::new(chain.usual_inclusion());
        let mut looks = 0;
        while started.elapsed() < deadline {
            looks += 1;
            let pause = match self.look(chain, looks % OLD_VERSIONS_EVERY == 0).await {
                Ok(Some(receipt)) => {
                    if rounds == 0 {
                        chain.saw_inclusion(started.elapsed());
                    }
                    return Round::Mined(receipt);
                }
                Ok(None) => pace.next(),
                Err(_) => FAULT_PAUSE,
            };
            tokio::time::sleep(pause).await;
        }
        if self.is_taken(chain).await {
            self.taken(chain).await
        } else {
            Round::Deadline
        }
    }

    /// The receipt of the newest version, or of any.
    async fn look(&self, chain: &Arc<EvmChain>, all: bool) -> Result<Option<Receipt>, ChainError> {
        for row in self.versions.iter().rev().take(if all { usize::MAX } else { 1 }) {
            let hash = row.hash;
            let receipt = chain
                .on_one(
                    "eth_getTransactionReceipt",
                    |rpc| async move { rpc.receipt(hash).await },
                )
                .await?;
            if receipt.is_some() {
                return Ok(receipt);
            }
        }
        Ok(None)
    }

    /// Settles a nonce that the chain has counted past. Counts and receipts may come from nodes that are a moment apart, so
    /// a missing receipt is looked for several times before the nonce is given up.
    async fn taken(&self, chain: &Arc<EvmChain>) -> Round {
        for _ in 0..TAKEN_LOOKS {
            match self.look(chain, true).await {
                Ok(Some(receipt)) => return Round::Mined(receipt),
                Ok(None) => tokio::time::sleep(TAKEN_PAUSE).await,
                Err(_) => return Round::Deadline,
            }
        }
        if let Err(error) = self.lane.look(chain).await {
            tracing::debug!(%error, "posting account could not be looked at");
        }
        Round::Taken
    }

    /// Whether the chain has counted past this nonce.
    async fn is_taken(&self, chain: &Arc<EvmChain>) -> bool {
        let (account, nonce) = (self.lane.account.address, self.newest().nonce);
        let count = chain
            .on_one("eth_getTransactionCount", |rpc| async move {
                rpc.count(account, "latest").await
            })
            .await;
        count.is_ok_and(|count| count > nonce)
    }

    /// Sends the newest version to all endpoints. The best one's answer is waited for; others only when it is not clear.
    async fn broadcast(&self, chain: &Arc<EvmChain>) -> Answer {
        let endpoints = match chain.all().await {
            Ok(endpoints) => endpoints,
            Err(error) => return Answer::Ambiguous(error.to_string()),
        };
        let raw = self.newest().raw.clone();
        let send = |rpc: Rpc| {
            let raw = raw.clone();
            tokio::spawn(async move { Answer::of(rpc.send_raw(&raw).await) })
        };
        let mut answer = Answer::Ambiguous("no endpoint".to_owned());
        let sent: Vec<_> = endpoints.into_iter().map(send).collect();
        for task in sent {
            // Tasks that are not waited for end with their request timeout.
            if let Ok(next) = task.await {
                answer = answer.better(next);
            }
            if matches!(answer, Answer::Accepted) {
                break;
            }
        }
        answer
    }

    /// Stores another version of the nonce that outbids the newest one.
    async fn replace(&mut self, chain: &Arc<EvmChain>, kind: Kind) -> bool {
        let newest = self.newest().clone();
        let Some(draft) = Draft::of(&newest.raw) else {
            return false;
        };
        let Some(bid) = self.outbid(chain, newest.bid, draft.gas).await else {
            tracing::warn!(chain = %chain.key, nonce = newest.nonce, "the transaction is not mined and the fee cap leaves no room for a higher bid");
            return false;
        };
        let account = self.lane.account;
        let mut draft = if kind == Kind::Cancel {
            draft.cancel(account.address)
        } else {
            draft
        };
        draft.bid = bid;
        let Some(signer) = self.inner.signer.clone() else {
            return false;
        };
        let purpose = Purpose {
            chain: newest.chain,
            target: newest.target,
            kind,
            judged_at: newest.judged_at,
        };
        let stored = self
            .inner
            .writer
            .write(Durability::Power, move |tx| {
                let signed = draft.sign(signer.as_ref())?;
                Ok::<_, SubmitError>(rows::insert(tx, account, &purpose, &draft, &signed)?)
            })
            .await;
        match stored {
            Ok(row) => {
                tracing::info!(chain = %chain.key, nonce = row.nonce, hash = %row.hash, max_fee = row.bid.max_fee, "transaction is replaced with a higher bid");
                chain.metrics.replaced(chain.key.as_str());
                self.progress.send_replace(Progress::Pending { hash: row.hash });
                self.versions.push(row);
                true
            }
            Err(error) => {
                tracing::error!(%error, "a replacement could not be stored");
                false
            }
        }
    }

    async fn quote(&self, chain: &Arc<EvmChain>) -> Option<FeeQuote> {
        chain.fees.forget();
        let read = |rpc: Rpc| async move {
            let head = rpc.head().await?;
            FeeQuote::read(chain, &rpc, &head).await
        };
        chain.on_one("eth_feeHistory", read).await.ok()
    }

    async fn outbid(&self, chain: &Arc<EvmChain>, old: Bid, gas: u64) -> Option<Bid> {
        self.quote(chain)
            .await?
            .outbid(old, Caps::of(&chain.config).fee_for(gas))
    }

    async fn market_is_above(&self, chain: &Arc<EvmChain>) -> bool {
        self.quote(chain)
            .await
            .is_some_and(|quote| quote.is_above(self.newest().bid))
    }

    /// After a restart: whether the event was delivered by somebody else while this process was down. Then sending again would only
    /// burn gas, so a cancel takes the nonce.
    async fn landed_meanwhile(&mut self) -> Option<LandedTx> {
        if !self.resumed || self.newest().kind == Kind::Cancel {
            return None;
        }
        let chain = self.chain().await?;
        if !matches!(self.look(&chain, true).await, Ok(None)) {
            return None;
        }
        let landed = self.landed(&chain).await?;
        self.replace(&chain, Kind::Cancel).await;
        Some(landed)
    }

    /// Whether somebody else's transaction delivered the event meanwhile.
    async fn landed(&self, chain: &Arc<EvmChain>) -> Option<LandedTx> {
        let call = self.versions.iter().find(|row| row.kind == Kind::Call)?;
        let draft = Draft::of(&call.raw)?;
        let (event_id, _) = landed::envelope_of(&draft.input)?;
        let query = LandedQuery {
            chain: call.chain.clone(),
            handler: draft.to,
            event_id: EventId::new(event_id),
            since_block: call.judged_at,
        };
        let found = landed::find(chain, &query).await.ok().flatten();
        found.filter(|landed| self.versions.iter().all(|row| row.hash != landed.hash))
    }

    /// Records a receipt.
    async fn settle(
        &mut self,
        chain: &Arc<EvmChain>,
        receipt: Receipt,
        elsewhere: Option<LandedTx>,
    ) -> Result<MinedTx, Outcome> {
        self.lane.taken(self.newest().nonce);
        let Some(row) = self
            .versions
            .iter()
            .find(|row| row.hash == receipt.transaction_hash)
            .cloned()
        else {
            return Err(self
                .drop_all("the chain answered with a foreign receipt", elsewhere)
                .await);
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
            let reason = "no node took the transaction and its nonce was freed".to_owned();
            return Err(elsewhere.map_or(Outcome::Lost(reason), Outcome::LandedElsewhere));
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

    /// Waits for depth and compares the block then. `None` when the transaction is in no block any more.
    async fn until_final(&mut self, mut mined: MinedTx) -> Option<Outcome> {
        loop {
            let Some(chain) = self.chain().await else {
                return Some(Outcome::Interrupted);
            };
            self.inner
                .depth(&chain)
                .reached(&chain, mined.block_number, &self.inner.shutdown)
                .await;
            let receipt = loop {
                match self.look(&chain, true).await {
                    Ok(receipt) => break receipt,
                    Err(_) => tokio::time::sleep(FAULT_PAUSE).await,
                }
            };
            let Some(receipt) = receipt else {
                self.reopen().await;
                return None;
            };
            if receipt.block_hash == mined.block_hash && receipt.transaction_hash == mined.hash {
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
            versions
                .iter()
                .try_for_each(|id| rows::set_state(tx, *id, State::Stored, None))
        })
        .await;
    }

    /// Gives all versions up.
    async fn drop_all(&self, reason: &str, landed: Option<LandedTx>) -> Outcome {
        tracing::warn!(target_key = self.newest().target, reason, "transaction is given up");
        let versions: Vec<_> = self.versions.iter().map(|row| row.id).collect();
        let text = reason.to_owned();
        self.write(move |tx| {
            versions
                .iter()
                .try_for_each(|id| rows::set_state(tx, *id, State::Dropped, Some(&text)))
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

    /// The chain, waited for while it is not configured. `None` when the process stops.
    async fn chain(&self) -> Option<Arc<EvmChain>> {
        loop {
            match self.inner.chains.evm(&self.newest().chain) {
                Ok(chain) => return Some(chain),
                Err(error) => tracing::debug!(%error, "a stored transaction waits for its chain"),
            }
            tokio::select! {
                () = self.inner.shutdown.cancelled() => return None,
                () = tokio::time::sleep(ROUND_MAX.min(FAULT_PAUSE * 30)) => {}
            }
        }
    }

    fn newest(&self) -> &Row {
        // Pursuits are made from at least one row and rows are only added.
        &self.versions[self.versions.len() - 1]
    }
}

fn deadline(chain: &EvmChain) -> Duration {
    match chain.config.receipt_deadline_secs {
        Some(secs) => Duration::from_secs(secs.max(1)),
        None => (chain.block_time() * DEADLINE.0).max(DEADLINE.1),
    }
}

fn gwei(mined: &MinedTx) -> u64 {
    u64::try_from(mined.cost / alloy::primitives::U256::from(1_000_000_000_u64)).unwrap_or(u64::MAX)
}

/// The hash by which the progress of `versions` starts.
pub(super) fn first_hash(versions: &[Row]) -> B256 {
    versions.last().map(|row| row.hash).unwrap_or_default()
}
