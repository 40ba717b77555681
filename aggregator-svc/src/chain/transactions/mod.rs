//! The transaction manager: from a call that would succeed to a final transaction, exactly once per nonce.
//!
//! The nonce is reserved, the transaction signed and its raw bytes stored in one commit that survives loss of power; only
//! then is it sent. From there a [`pursuit`] per nonce follows it. After a restart the stored rows are all that is needed to go on.
//! Which targets are to be submitted and when is not decided here.

mod accounts;
mod answer;
mod courier;
mod depth;
mod ending;
mod error;
mod fees;
mod funds;
mod holes;
mod inclusion;
mod lane;
mod pace;
mod pursuit;
mod raw;
mod replay;
mod rows;
mod schema;
mod signer;
mod tracked;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use alloy::primitives::Address;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use wavs_store::{Durability, Writer};
use wavs_types::ChainKey;

pub use error::SubmitError;
pub(super) use fees::{FeeCache, FeeQuote};
pub use funds::{AccountState, Funds};
pub use schema::TX_SCHEMA;
pub use signer::{PostingSigner, SignRefused};
pub use tracked::{MinedTx, Outcome, Tracked};

use self::depth::Depth;
use self::fees::{Caps, worst_cost};
use self::lane::Lane;
use self::pursuit::{Pursuit, first_hash};
use self::raw::Draft;
use self::rows::{Account, Kind, Purpose, Row, State};
use self::tracked::Progress;
use super::chains::Chains;
use super::error::ChainError;
use super::quorum::{ReadyCall, Simulation};

/// A call that waited longer than this many blocks for room is judged anew before it is sent.
const STALE_BLOCKS: u32 = 20;

/// A change of the caller that rides in the commit of the reservation. An error undoes both.
pub type Along = Box<dyn FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()> + Send>;

/// A call to submit.
pub struct SubmitRequest {
    /// Identity of the target; stable over restarts. At most one transaction per target is under way.
    pub target: String,
    /// What to call, as judged.
    pub ready: ReadyCall,
    /// A wished price per gas in wei; it only raises the bid, up to the cap.
    pub gas_price_hint: Option<u128>,
    /// The caller's own state change, committed with the reservation and before anything is sent.
    pub along: Option<Along>,
}

/// Submits and follows transactions of the posting account. Clones share everything.
#[derive(Clone)]
pub struct Transactions {
    inner: Arc<Inner>,
}

struct Inner {
    chains: Chains,
    writer: Writer,
    signer: Option<Arc<dyn PostingSigner>>,
    shutdown: CancellationToken,
    /// Counted up when an account changed in a way that people are told.
    news: Arc<watch::Sender<u64>>,
    state: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// One per chain id; there is one posting account.
    lanes: HashMap<u64, Arc<Lane>>,
    /// The chain ids of configured chains, as far as they are known.
    chain_ids: BTreeMap<ChainKey, u64>,
    /// Submissions under way, by target.
    tracks: HashMap<String, Tracked>,
    depths: BTreeMap<ChainKey, Arc<Depth>>,
}

/// What the reservation found.
enum Reserved {
    /// A new transaction.
    New(Box<Row>),
    /// The target has one already.
    Existing(Vec<Row>),
}

impl Transactions {
    /// Loads all unfinished transactions of the posting account and follows them.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn start(
        chains: Chains,
        writer: Writer,
        signer: Option<Arc<dyn PostingSigner>>,
        shutdown: CancellationToken,
    ) -> Result<Self, SubmitError> {
        let inner = Inner {
            chains,
            writer,
            signer,
            shutdown,
            news: Arc::new(watch::Sender::new(0)),
            state: Mutex::default(),
        };
        let this = Self { inner: Arc::new(inner) };
        if let Some(address) = this.address() {
            let read = move |tx: &rusqlite::Transaction<'_>| Ok::<_, SubmitError>(rows::unfinished(tx, address)?);
            let unfinished = this.inner.writer.write(Durability::Process, read).await?;
            for versions in unfinished.chunk_by(|a, b| a.chain == b.chain && a.nonce == b.nonce) {
                this.inner.resume(versions.to_vec());
            }
            tokio::spawn(accounts::open(Arc::clone(&this.inner), address));
        }
        Ok(this)
    }

    /// The posting account; absent without a posting key.
    pub fn address(&self) -> Option<Address> {
        self.inner.signer.as_ref().map(|signer| signer.address())
    }

    /// The posting account on every chain that is known so far, ascending by chain.
    pub fn accounts(&self) -> Vec<AccountState> {
        let shared = self.inner.shared();
        let state = |(key, id): (&ChainKey, &u64)| shared.lanes.get(id).map(|lane| lane.state(key));
        shared.chain_ids.iter().filter_map(state).collect()
    }

    /// Counted up when one of [`Transactions::accounts`] changed in a way that people should be told.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }

    /// Reserves a nonce, signs, stores, then sends and follows in the background. A target that has a transaction under way or
    /// mined is followed instead; `along` is dropped then.
    ///
    /// # Errors
    /// Nothing was reserved or sent when this fails; [`SubmitError::retry`] says when to try again.
    pub async fn submit(&self, request: SubmitRequest) -> Result<Tracked, SubmitError> {
        let signer = self.inner.signer.clone().ok_or(SubmitError::NoPostingKey)?;
        if let Some(tracked) = self.inner.tracked(&request.target) {
            return Ok(tracked);
        }
        let ready = request.ready;
        let Simulation::Passed { gas } = ready.simulation else {
            return Err(SubmitError::NotSimulated);
        };
        let chain = self.inner.chains.evm(&ready.chain)?;
        let chain_id = chain.pool.chain_id().await?;
        let lane = self.inner.lane(
            Account {
                chain_id,
                address: signer.address(),
            },
            &ready.chain,
        );
        let caps = Caps::of(&chain.config);
        let gas_limit = caps.gas_limit(gas).ok_or(SubmitError::GasAboveCap {
            estimate: gas,
            cap: caps.gas,
        })?;
        let hint = request.gas_price_hint;
        let bid = match (
            ready.fees.bid(hint, caps.fee_for(gas_limit)),
            ready.fees.bid(hint, caps.fee),
        ) {
            (Some(bid), _) => bid,
            (None, Some(bid)) => {
                let cost = worst_cost(gas_limit, bid);
                let cap = caps.per_tx.unwrap_or(cost);
                return Err(SubmitError::CostAboveCap { cost, cap });
            }
            (None, None) => return Err(SubmitError::FeeAboveCap),
        };
        let cost = worst_cost(gas_limit, bid);
        let asked = Instant::now();
        let room = lane.enter().await;
        if asked.elapsed() > chain.block_time() * STALE_BLOCKS {
            return Err(SubmitError::Stale);
        }
        let floor = lane.floor(&chain).await?;
        if lane.balance().is_some_and(|balance| balance < cost) {
            lane.unfunded(&chain, cost);
        }
        if let Some(needed) = lane.lacking() {
            let balance = lane.balance().unwrap_or_default();
            return Err(SubmitError::Unfunded {
                account: lane.account.address,
                balance,
                needed,
            });
        }
        let account = lane.account;
        let target = request.target.clone();
        let purpose = Purpose {
            chain: ready.chain,
            target,
            kind: Kind::Call,
            judged_at: ready.judged_at,
        };
        let along = request.along;
        let reserve = move |tx: &rusqlite::Transaction<'_>| {
            let existing = rows::newest_of_target(tx, &purpose.target)?;
            if existing
                .iter()
                .any(|row| matches!(row.state, State::Stored | State::Mined | State::Final))
            {
                return Ok(Reserved::Existing(existing));
            }
            if let Some(cap) = caps.per_day {
                let spent = rows::spent_today(tx, account)?;
                if spent.saturating_add(cost) > cap {
                    return Err(SubmitError::DayAboveCap { spent, cap });
                }
            }
            let nonce = rows::next_nonce(tx, account, floor)?;
            let draft = Draft {
                chain_id,
                nonce,
                to: ready.handler,
                input: ready.input,
                gas: gas_limit,
                bid,
            };
            let signed = draft.sign(signer.as_ref())?;
            let row = rows::insert(tx, account, &purpose, &draft, &signed)?;
            if let Some(along) = along {
                along(tx)?;
            }
            Ok(Reserved::New(Box::new(row)))
        };
        match self.inner.writer.write(Durability::Power, reserve).await? {
            Reserved::New(row) => {
                chain.metrics.submitted(chain.key.as_str());
                Ok(self.inner.pursue(lane, vec![*row], room, false))
            }
            Reserved::Existing(versions) => self.follow_rows(versions).ok_or(SubmitError::Stale),
        }
    }

    /// Follows the newest transaction of a target; `None` when the target never had one.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn follow(&self, target: &str) -> Result<Option<Tracked>, SubmitError> {
        if let Some(tracked) = self.inner.tracked(target) {
            return Ok(Some(tracked));
        }
        let key = target.to_owned();
        let read = move |tx: &rusqlite::Transaction<'_>| Ok::<_, SubmitError>(rows::newest_of_target(tx, &key)?);
        let versions = self.inner.writer.write(Durability::Process, read).await?;
        Ok(self.follow_rows(versions))
    }

    fn follow_rows(&self, versions: Vec<Row>) -> Option<Tracked> {
        let last = versions.last()?.clone();
        // An unfinished row has a pursuit unless it ended between the two looks; then its end is in the row by now.
        if let Some(tracked) = self.inner.tracked(&last.target) {
            return Some(tracked);
        }
        if versions
            .iter()
            .any(|row| matches!(row.state, State::Stored | State::Mined))
        {
            return self.address().map(|_| self.inner.resume(versions));
        }
        Some(Tracked::ended(ended(&versions)))
    }
}

impl Inner {
    /// Goes on with stored versions of one nonce.
    fn resume(self: &Arc<Self>, versions: Vec<Row>) -> Tracked {
        let Some(first) = versions.first() else {
            return Tracked::ended(Outcome::Lost("nothing is stored".to_owned()));
        };
        let lane = self.lane(first.account, &first.chain);
        let room = lane.enter_resumed();
        self.pursue(lane, versions, room, true)
    }

    fn pursue(
        self: &Arc<Self>,
        lane: Arc<Lane>,
        versions: Vec<Row>,
        room: Option<OwnedSemaphorePermit>,
        resumed: bool,
    ) -> Tracked {
        let (progress, receiver) = watch::channel(Progress::Pending {
            hash: first_hash(&versions),
        });
        let unwanted = CancellationToken::new();
        let tracked = Tracked::new(receiver, unwanted.clone());
        if let Some(row) = versions.last() {
            self.shared().tracks.insert(row.target.clone(), tracked.clone());
        }
        tokio::spawn(
            Pursuit {
                inner: Arc::clone(self),
                lane,
                versions,
                progress,
                unwanted,
                room,
                resumed,
            }
            .run(),
        );
        tracked
    }

    /// The lane of an account; made, with its watcher, at first use.
    fn lane(self: &Arc<Self>, account: Account, chain: &ChainKey) -> Arc<Lane> {
        let mut shared = self.shared();
        shared.chain_ids.insert(chain.clone(), account.chain_id);
        if let Some(lane) = shared.lanes.get(&account.chain_id) {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Lane::new(account, chain.clone(), Arc::clone(&self.news)));
        shared.lanes.insert(account.chain_id, Arc::clone(&lane));
        drop(shared);
        tokio::spawn(holes::watch(Arc::clone(self), Arc::clone(&lane)));
        lane
    }

    fn depth(&self, chain: &ChainKey) -> Arc<Depth> {
        Arc::clone(self.shared().depths.entry(chain.clone()).or_default())
    }

    fn tracked(&self, target: &str) -> Option<Tracked> {
        self.shared()
            .tracks
            .get(target)
            .filter(|tracked| !tracked.has_ended())
            .cloned()
    }

    fn forget(&self, target: &str) {
        let mut shared = self.shared();
        if shared.tracks.get(target).is_some_and(Tracked::has_ended) {
            shared.tracks.remove(target);
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How stored versions of one nonce ended.
fn ended(versions: &[Row]) -> Outcome {
    let last = versions
        .iter()
        .find(|row| matches!(row.state, State::Final | State::Reverted))
        .or(versions.last());
    let Some(row) = last else {
        return Outcome::Lost("nothing is stored".to_owned());
    };
    let tx = MinedTx {
        hash: row.hash,
        block_number: row.block_number,
        block_hash: row.block_hash,
        cost: row.cost,
    };
    let reason = row
        .reason
        .clone()
        .unwrap_or_else(|| "the transaction was given up".to_owned());
    match (row.state, row.kind) {
        (State::Final, Kind::Call) => Outcome::Mined(tx),
        (State::Reverted, _) => {
            let revert = super::revert::Revert {
                data: Default::default(),
                message: Some(reason),
            };
            Outcome::Reverted { tx, revert }
        }
        _ => Outcome::Lost(reason),
    }
}

impl From<ChainError> for SubmitError {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}
