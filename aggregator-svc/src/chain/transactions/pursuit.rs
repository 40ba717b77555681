//! Follows one nonce of the posting account until a transaction of it is final.
//!
//! All versions of the nonce are known and stored before they are sent. A round is: send the newest version, look for a receipt
//! until the deadline, then find out what stands in the way and outbid, cancel or wait. Nothing here reserves a nonce.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use wavs_types::EventId;

use super::answer::Answer;
use super::fees::{Bid, Caps, FeeQuote, worst_cost};
use super::lane::Lane;
use super::pace::Pace;
use super::raw::Draft;
use super::rows::{self, Kind, Purpose, Row, State};
use super::tracked::{MinedTx, Outcome, Progress};
use super::{Inner, SubmitError, holes};
use crate::chain::error::ChainError;
use crate::chain::evm::{EvmChain, Rpc};
use crate::chain::landed::{self, LandedQuery, LandedTx};
use crate::chain::wire::Receipt;
use wavs_store::{Durability, fault};

/// Replacements at a quarter more each; afterwards only a risen market brings another one.
const BUMPS: u32 = 6;
/// Longest time between two rounds of a transaction that cannot be outbid.
const ROUND_MAX: Duration = Duration::from_secs(600);
/// Default receipt deadline: six blocks, at least half a minute.
const DEADLINE: (u32, Duration) = (6, Duration::from_secs(30));
/// Looks before a nonce without receipt of ours is given up, and the first pause between them, which grows with each.
const TAKEN_LOOKS: u32 = 8;
const TAKEN_PAUSE: Duration = Duration::from_millis(100);

/// One nonce under way.
pub(super) struct Pursuit {
    pub(super) inner: Arc<Inner>,
    pub(super) lane: Arc<Lane>,
    /// All versions, oldest first; never empty.
    pub(super) versions: Vec<Row>,
    pub(super) progress: watch::Sender<Progress>,
    /// Cancelled when nobody wants the result any more.
    pub(super) unwanted: CancellationToken,
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
        let pending = self.inner.chains.metrics().pending(self.newest().chain.as_str());
        pending.add(1);
        self.lane.count_pending(true);
        let result = self.rounds().await;
        self.lane.count_pending(false);
        pending.add(-1);
        result
    }

    async fn rounds(&mut self) -> Result<MinedTx, Outcome> {
        let mut bumps = 0;
        // Rounds in which it was this nonce's turn and nothing could be done: they get longer.
        let mut idle = 0;
        let mut repeated = self.resumed;
        let mut refused = None;
        let mut elsewhere = self.landed_meanwhile().await;
        loop {
            let Some(chain) = self.chain().await else {
                return Err(Outcome::Interrupted);
            };
            let round = self.round(&chain, repeated, idle).await;
            repeated = true;
            match round {
                Round::Mined(receipt) => {
                    let why = elsewhere
                        .map(Outcome::LandedElsewhere)
                        .or(refused.map(Outcome::Refused));
                    return self.settle(&chain, receipt, why).await;
                }
                Round::Taken => {
                    let landed = self.landed(&chain).await.or(elsewhere);
                    holes::report_foreign(&self.lane, &chain, 1);
                    let reason = "its nonce went to another transaction of the account";
                    return Err(self.drop_all(reason, landed).await);
                }
                Round::Refused(text) => {
                    tracing::error!(chain = %chain.key, fault = text, "no node takes the transaction; its nonce is freed by a cancel");
                    let can_cancel = self.newest().kind == Kind::Call;
                    refused.get_or_insert(text);
                    if !can_cancel || !self.replace(&chain, Kind::Cancel).await {
                        idle += 1;
                        tokio::time::sleep(ROUND_MAX.min(Pace::FAULT * (1 << idle.min(9)))).await;
                    }
                }
                Round::Again => {}
                Round::TooLow => {
                    // Nothing is bid for what another operator has delivered.
                    if elsewhere.is_none() && self.newest().kind == Kind::Call {
                        elsewhere = self.landed(&chain).await;
                    }
                    let kind = self.wanted(elsewhere.is_some());
                    let worth = kind != self.newest().kind || bumps < BUMPS || self.market_is_above(&chain).await;
                    if worth && self.replace(&chain, kind).await {
                        bumps += 1;
                    } else {
                        tokio::time::sleep(deadline(&chain)).await;
                    }
                }
                Round::Deadline => {
                    // While an earlier nonce is stuck a higher bid for this one helps only if all of them are below the market.
                    let its_turn = self
                        .lane
                        .inclusion
                        .count()
                        .is_none_or(|count| count >= self.newest().nonce);
                    if elsewhere.is_none() && self.newest().kind == Kind::Call && its_turn {
                        elsewhere = self.landed(&chain).await;
                    }
                    let kind = self.wanted(elsewhere.is_some());
                    let better =
                        kind != self.newest().kind || its_turn && bumps < BUMPS || self.market_is_above(&chain).await;
                    if better && self.replace(&chain, kind).await {
                        bumps += 1;
                        idle = 0;
                    } else if its_turn {
                        idle += 1;
                    }
                }
            }
        }
    }

    /// What the next version is for.
    fn wanted(&self, landed: bool) -> Kind {
        if landed || self.unwanted.is_cancelled() {
            Kind::Cancel
        } else {
            self.newest().kind
        }
    }

    /// Sends the newest version and waits for a receipt of any version.
    async fn round(&self, chain: &Arc<EvmChain>, repeated: bool, idle: u32) -> Round {
        // After a restart, and after every deadline, a look precedes the repetition.
        if repeated && let Ok(Some(receipt)) = self.look(chain, true).await {
            return Round::Mined(receipt);
        }
        let newest = self.newest();
        let sent = self
            .lane
            .courier
            .send(chain, &self.lane.inclusion, newest.nonce, newest.raw.clone());
        match sent.await {
            Answer::Accepted => {}
            Answer::Ambiguous(fault) | Answer::Full(fault) => {
                tracing::debug!(chain = %chain.key, fault, "broadcast is ambiguous; looking for the transaction");
            }
            Answer::Underpriced | Answer::FeeTooLow => return Round::TooLow,
            Answer::Refused(text) => return Round::Refused(text),
            Answer::Unfunded(_) => {
                let gas = Draft::of(&newest.raw).map_or(0, |draft| draft.gas);
                self.lane.unfunded(chain, worst_cost(gas, newest.bid));
                self.lane.funded().await;
                return Round::Again;
            }
            Answer::NonceTooLow if self.is_taken(chain).await => return self.taken(chain).await,
            Answer::NonceTooLow => {}
        }
        self.wait_for_receipt(chain, repeated, idle).await
    }

    async fn wait_for_receipt(&self, chain: &Arc<EvmChain>, repeated: bool, idle: u32) -> Round {
        let started = Instant::now();
        // Where blocks come at once it is in one already.
        if let Ok(Some(receipt)) = self.look(chain, false).await {
            return Round::Mined(receipt);
        }
        let limit = deadline(chain).saturating_mul(1 << idle.min(8)).min(ROUND_MAX);
        let (account, newest) = (self.lane.account.address, self.newest());
        let included = self
            .lane
            .inclusion
            .of(&self.inner.chains, &newest.chain, account, newest.nonce);
        let unwanted = newest.kind == Kind::Call;
        tokio::select! {
            () = included => {}
            () = tokio::time::sleep(limit.saturating_sub(started.elapsed())) => {
                if !self.is_taken(chain).await {
                    return Round::Deadline;
                }
            }
            () = self.unwanted.cancelled(), if unwanted => return Round::Deadline,
        }
        let round = self.taken(chain).await;
        if matches!(round, Round::Mined(_)) && !repeated {
            chain.saw_inclusion(started.elapsed());
        }
        round
    }

    /// The receipt of the newest version, or of any.
    pub(super) async fn look(&self, chain: &Arc<EvmChain>, all: bool) -> Result<Option<Receipt>, ChainError> {
        for row in self.versions.iter().rev().take(if all { usize::MAX } else { 1 }) {
            let receipt = chain.receipt(row.hash).await?;
            if receipt.is_some() {
                return Ok(receipt);
            }
        }
        Ok(None)
    }

    /// Settles a nonce that the chain has counted past. Counts and receipts may come from nodes that are a moment apart, so
    /// a missing receipt is looked for several times before the nonce is given up.
    async fn taken(&self, chain: &Arc<EvmChain>) -> Round {
        for look in 0..TAKEN_LOOKS {
            match self.look(chain, true).await {
                Ok(Some(receipt)) => return Round::Mined(receipt),
                Ok(None) => tokio::time::sleep(TAKEN_PAUSE * look).await,
                Err(_) => return Round::Deadline,
            }
        }
        match self.lane.look(chain).await {
            Ok(count) if count > self.newest().nonce => Round::Taken,
            // A reorganisation took the count back, or endpoints disagree.
            Ok(_) => Round::Again,
            Err(_) => Round::Deadline,
        }
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
        let newest_kind = newest.kind;
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
                let row = rows::insert(tx, account, &purpose, &draft, &signed)?;
                fault::point("tx.outbid");
                Ok::<_, SubmitError>(row)
            })
            .await;
        match stored {
            Ok(row) => {
                tracing::info!(chain = %chain.key, nonce = row.nonce, hash = %row.hash, max_fee = row.bid.max_fee, "transaction is replaced with a higher bid");
                if kind == Kind::Cancel && newest_kind == Kind::Call {
                    chain.metrics.cancelled(chain.key.as_str());
                } else {
                    chain.metrics.replaced(chain.key.as_str());
                }
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

    /// The chain, waited for while it is not configured. `None` when the process stops.
    pub(super) async fn chain(&self) -> Option<Arc<EvmChain>> {
        loop {
            match self.inner.chains.evm(&self.newest().chain) {
                Ok(chain) => return Some(chain),
                Err(error) => tracing::debug!(%error, "a stored transaction waits for its chain"),
            }
            tokio::select! {
                () = self.inner.shutdown.cancelled() => return None,
                () = tokio::time::sleep(ROUND_MAX.min(Pace::FAULT * 30)) => {}
            }
        }
    }

    pub(super) fn newest(&self) -> &Row {
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

/// The hash by which the progress of `versions` starts.
pub(super) fn first_hash(versions: &[Row]) -> B256 {
    versions.last().map(|row| row.hash).unwrap_or_default()
}
