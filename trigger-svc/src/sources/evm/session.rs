//! One connection to one endpoint, from the first request to its end.
//!
//! Subscribe first, read the blocks since the position second, then follow the notifications: nothing falls between, and
//! what comes twice is recognised by its source key. Logs of a subscription fire at once where the horizon is the head;
//! everywhere else, and again a little later also there, blocks are read with `eth_getLogs`: a subscription is fast, but a
//! server that drops a notification tells nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tracing::{debug, error, info, warn};
use wavs_ipc::contract::trigger_admin::EndpointState;
use wavs_types::{B256, ChainKey};

use super::canonical::{self, HeadChain};
use super::headers::Headers;
use super::horizon::Horizon;
use super::occurrence::MinedLog;
use super::scan::{self, Ranges};
use super::state::SharedState;
use super::subscriptions::{Notification, Subscriptions};
use crate::chain_rpc::{BlockHead, ChainError, ChainRpc};
use crate::metrics::Metrics;
use crate::sources::block_interval::BlockIntervals;
use crate::spool::{Occurrence, Position, Progress, Spool, SpoolError};
use crate::watch::{EvmView, LogFilter};

/// How far the position stays behind the head while following notifications: a log may arrive a little after the head of
/// its block.
const SETTLED_LAG: u64 = 3;
/// Most notifications in one commit; the rest follows in the next.
const MAX_COMMIT: usize = 256;
/// Blocks that a subscription may cover before they are read as well; a new connection reads no more than these again.
const MAX_UNREAD_BLOCKS: u64 = 256;
/// How long they may be left unread.
const MAX_UNREAD_TIME: Duration = Duration::from_secs(60);
/// Requests for logs that may pass their deadline one after the other until the endpoint is left.
const MAX_TIMEOUTS: u32 = 3;
/// Blocks that wait to be remembered with the next commit; beyond it the oldest are forgotten, which costs a longer way
/// back when the chain is reorganised.
const MAX_NEW_BLOCKS: usize = 1_024;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("going back to a better endpoint")]
    Preferred(usize),
    #[error("at block {head}, while another endpoint knows block {other}")]
    Behind { head: u64, other: u64 },
    #[error("the chain is no longer watched")]
    Unwatched,
}

impl SessionError {
    /// What the endpoint is after it.
    pub(super) fn endpoint_state(&self) -> EndpointState {
        match self {
            Self::Chain(ChainError::WrongChain { .. }) => EndpointState::WrongChain,
            Self::Spool(_) | Self::Preferred(_) => EndpointState::Idle,
            _ => EndpointState::Backoff,
        }
    }
}

/// What a session is made of.
pub(super) struct Connection<'a> {
    pub chain: &'a ChainKey,
    pub rpc: ChainRpc,
    pub spool: &'a Spool,
    pub state: &'a SharedState,
    pub metrics: &'a Metrics,
    pub views: watch::Receiver<Option<Arc<EvmView>>>,
    pub headers: Headers,
    pub intervals: BlockIntervals,
    /// How many blocks at a time the endpoints take, as learned so far.
    pub span: &'a AtomicU64,
}

/// One connection to one endpoint.
pub(super) struct Session<'a> {
    connection: Connection<'a>,
    view: Arc<EvmView>,
    horizon: Horizon,
    heads: HeadChain,
    head: u64,
    /// Absent until the chain has one.
    position: Option<Position>,
    /// Blocks that are to be remembered with the next commit.
    blocks: Vec<(u64, B256)>,
    read_at: Instant,
}

impl<'a> Session<'a> {
    /// Takes what is wanted now.
    pub(super) fn new(mut connection: Connection<'a>) -> Result<Self, SessionError> {
        let view = current(&mut connection.views)?;
        Ok(Self {
            horizon: Horizon::new(&view.config),
            connection,
            view,
            heads: HeadChain::default(),
            head: 0,
            position: None,
            blocks: Vec::new(),
            read_at: Instant::now(),
        })
    }

    /// Follows notifications until something fails.
    pub(super) async fn follow(mut self) -> Result<std::convert::Infallible, SessionError> {
        let state = self.connection.state.clone();
        let mut subscriptions = Subscriptions::open(&self.connection.rpc, state).await?;
        subscriptions
            .reconcile(&self.connection.rpc, &self.view.filters())
            .await?;
        self.begin().await?;
        self.connected();

        let ping = Duration::from_secs(self.view.config.ping_interval_secs.max(1));
        let mut heartbeat = interval(ping);
        let mut last_head = Instant::now();
        loop {
            tokio::select! {
                changed = self.connection.views.changed() => {
                    changed.map_err(|_| SessionError::Unwatched)?;
                    self.change_view().await?;
                    subscriptions.reconcile(&self.connection.rpc, &self.view.filters()).await?;
                    self.catch_up().await?;
                }
                first = subscriptions.next() => {
                    let batch = self.gather(first, &mut subscriptions)?;
                    if !batch.heads.is_empty() {
                        last_head = Instant::now();
                    }
                    self.take(batch).await?;
                }
                _ = heartbeat.tick() => {
                    self.probe(&mut last_head).await?;
                    self.read_what_is_due().await?;
                }
            }
        }
    }

    /// Polls the chain until something fails.
    pub(super) async fn poll(mut self) -> Result<std::convert::Infallible, SessionError> {
        self.begin().await?;
        self.connected();
        let mut ticks = interval(Duration::from_millis(self.view.config.poll_interval_ms.max(100)));
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let newest = self.connection.rpc.newest_block().await?;
                    // Without a new block only what is safe or finalized can have moved.
                    if self.heads.is_last(newest) && !matches!(self.horizon, Horizon::Tag(_)) {
                        self.read_what_is_due().await?;
                    } else {
                        self.catch_up_to(newest).await?;
                    }
                }
                changed = self.connection.views.changed() => {
                    changed.map_err(|_| SessionError::Unwatched)?;
                    self.change_view().await?;
                    self.catch_up().await?;
                }
            }
        }
    }

    fn connected(&self) {
        let Connection {
            chain,
            rpc,
            state,
            metrics,
            ..
        } = &self.connection;
        state.lock().connected();
        metrics.connected(chain, true);
        info!(%chain, endpoint = rpc.endpoint(), "following the chain");
    }

    /// The blocks that were missed, after a comparison with the chain as it was known.
    async fn begin(&mut self) -> Result<(), SessionError> {
        let Connection { intervals, spool, .. } = &mut self.connection;
        intervals.load(&self.view.intervals, None, spool).await?;
        self.realign().await?;
        self.catch_up().await
    }

    /// Takes a changed view. Block intervals without a known registration height begin above the head.
    async fn change_view(&mut self) -> Result<(), SessionError> {
        self.view = current(&mut self.connection.views)?;
        let Connection { intervals, spool, .. } = &mut self.connection;
        intervals.load(&self.view.intervals, Some(self.head), spool).await?;
        Ok(())
    }

    /// What is ready already, so that it goes into one commit.
    fn gather(&mut self, first: Notification, subscriptions: &mut Subscriptions) -> Result<Batch, SessionError> {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(notification) = next {
            match notification {
                Notification::Head(head) => {
                    if !self.heads.follows(head) {
                        batch.take_break(&mut self.blocks);
                    }
                    batch.heads.push((head.number, head.hash));
                    self.note_head(head.number);
                }
                Notification::Log(log) => batch.logs.push(*log),
                Notification::Lagged => batch.lagged = true,
                Notification::Unusable => self.connection.metrics.dropped("unusable_log"),
                Notification::Closed => return Err(self.connection.rpc.closed().into()),
            }
            let full = batch.logs.len() >= MAX_COMMIT;
            next = if full {
                None
            } else {
                futures::FutureExt::now_or_never(subscriptions.next())
            };
        }
        Ok(batch)
    }

    async fn take(&mut self, batch: Batch) -> Result<(), SessionError> {
        let Batch {
            mut logs,
            heads,
            broken,
            lagged,
        } = batch;
        if broken {
            self.realign().await?;
        }
        let moved = !heads.is_empty();
        for (number, hash) in heads {
            self.remember(number, hash);
        }
        if self.horizon != Horizon::Head {
            // They fire when their block is at the horizon, where it is read; but what left the chain must be told.
            logs.retain(|log| log.removed);
        }
        if lagged || broken {
            self.record(logs, None).await?;
            if lagged {
                warn!(chain = %self.connection.chain, "notifications were lost; reading the blocks since the last read one");
                self.connection.metrics.dropped("lagged");
            }
            return self.catch_up().await;
        }
        if self.horizon == Horizon::Head {
            let settled = self.head.saturating_sub(SETTLED_LAG);
            self.record(logs, Some(settled)).await?;
            self.read_what_is_due().await?;
            return self.count_blocks(self.head).await;
        }
        self.record(logs, None).await?;
        if moved {
            self.reach().await?;
        }
        Ok(())
    }

    fn note_head(&mut self, number: u64) {
        self.head = number;
        let Connection {
            chain,
            rpc,
            state,
            metrics,
            ..
        } = &self.connection;
        state.lock().reached(number, rpc.latency_us());
        metrics.head(chain, number, self.position.map(|position| position.height));
    }

    fn remember(&mut self, number: u64, hash: B256) {
        if self.blocks.len() == MAX_NEW_BLOCKS {
            self.blocks.remove(0);
        }
        self.blocks.push((number, hash));
    }

    /// Fires the block intervals up to the horizon.
    async fn count_blocks(&mut self, horizon: u64) -> Result<(), SessionError> {
        let Connection {
            intervals,
            spool,
            metrics,
            state,
            ..
        } = &mut self.connection;
        let fired = intervals.reach(horizon, spool, metrics).await?;
        let mut state = state.lock();
        state.horizon = Some(horizon);
        state.intervals = intervals.status();
        if fired {
            state.last_event_at_ms = Some(crate::clock::now_ms());
        }
        Ok(())
    }

    /// Reads everything up to the horizon, from the stored position on: it is moved back for new routes.
    async fn catch_up(&mut self) -> Result<(), SessionError> {
        let newest = self.connection.rpc.newest_block().await?;
        self.catch_up_to(newest).await
    }

    async fn catch_up_to(&mut self, newest: BlockHead) -> Result<(), SessionError> {
        if !self.heads.follows(newest) {
            self.realign().await?;
        }
        self.note_head(newest.number);
        // Its hash was asked for before the logs: a block that is replaced in between is noticed later.
        self.remember(newest.number, newest.hash);
        self.position = self.connection.spool.position(self.connection.chain).await?;
        self.reach().await
    }

    /// Reads up to the horizon. The first use of a chain starts at its head, also when it is too young to have a horizon.
    async fn reach(&mut self) -> Result<(), SessionError> {
        let position = match self.position {
            Some(position) => position,
            None => {
                let Connection { chain, spool, .. } = &self.connection;
                spool.start_at(chain, self.head).await?;
                let start = Position {
                    height: self.head,
                    scanned: self.head,
                };
                self.move_to(start);
                start
            }
        };
        let Some(horizon) = self.horizon.at(&self.connection.rpc, self.head).await? else {
            return Ok(());
        };
        self.read_missed(position, horizon).await?;
        self.count_blocks(horizon).await
    }

    async fn read_missed(&mut self, position: Position, horizon: u64) -> Result<(), SessionError> {
        let bound = self.view.config.max_backfill_blocks;
        let mut first = position.scanned + 1;
        // The last few blocks before a restart were seen, though not yet counted as such.
        if horizon.saturating_sub(position.height) > bound.saturating_add(SETTLED_LAG) {
            let (from, to) = (position.height + 1, horizon - bound);
            let reason = format!("further back than max_backfill_blocks = {bound}");
            let chain = self.connection.chain;
            error!(%chain, from, to, "skipping blocks: {reason}; what they hold does not fire");
            self.connection.metrics.gap(chain, to - from + 1);
            self.connection.state.lock().gap(from, to, reason);
            first = to + 1;
        }
        // The newest blocks are read again later: some endpoints tell a head before they know its logs.
        let lag = if self.horizon == Horizon::Head { SETTLED_LAG } else { 0 };
        self.read(first, horizon, horizon.saturating_sub(lag)).await
    }

    /// Reads what subscriptions alone have covered, when that is much or long ago.
    async fn read_what_is_due(&mut self) -> Result<(), SessionError> {
        let Some(position) = self.position.filter(|_| self.horizon == Horizon::Head) else {
            return Ok(());
        };
        let unread = position.height.saturating_sub(position.scanned);
        if unread >= MAX_UNREAD_BLOCKS || (unread > 0 && self.read_at.elapsed() >= MAX_UNREAD_TIME) {
            self.read(position.scanned + 1, position.height, position.height)
                .await?;
        }
        Ok(())
    }

    /// Compares the chain with the blocks that are remembered of it. Where it was reorganised, what left it is reported and
    /// the position moved back to the last common block.
    async fn realign(&mut self) -> Result<(), SessionError> {
        let Connection {
            chain,
            rpc,
            spool,
            state,
            metrics,
            ..
        } = &self.connection;
        let Some(position) = spool.position(chain).await? else {
            return Ok(());
        };
        let mut remembered: Vec<_> = self.blocks.iter().rev().copied().collect();
        remembered.extend(spool.blocks(chain).await?);
        let common = canonical::common_block(rpc, &remembered).await?;
        let fork = match (common, remembered.last()) {
            (Some(height), _) => height,
            (None, None) => position.scanned.saturating_sub(self.view.config.reorg_window),
            (None, Some((oldest, _))) => {
                error!(
                    %chain, oldest,
                    "no remembered block is in the chain any more: the reorganisation is deeper than reorg_window, or it is another chain; reading again from the oldest one"
                );
                oldest.saturating_sub(1).min(rpc.newest_block().await?.number)
            }
        };
        let recorded = spool.recorded_since(chain, fork + 1).await?;
        let orphans = canonical::orphans(rpc, chain, recorded).await?;
        let intact = remembered.first().is_none_or(|(newest, _)| common == Some(*newest));
        if intact && orphans.is_empty() {
            return Ok(());
        }
        warn!(%chain, occurrences = orphans.len(), above = fork, "the chain was reorganised; reporting what left it");
        metrics.reorganised(chain);
        spool.rewind(chain, fork, orphans).await?;
        self.blocks.retain(|(height, _)| *height <= fork);
        self.position = spool.position(chain).await?;
        let mut state = state.lock();
        state.cursor = state.cursor.map(|cursor| cursor.min(fork));
        Ok(())
    }

    /// Reads a range of blocks for all filters and moves the position over it. Those above `sure` count as passed, not as
    /// read.
    async fn read(&mut self, first: u64, last: u64, sure: u64) -> Result<(), SessionError> {
        let Connection {
            chain,
            rpc,
            span,
            metrics,
            ..
        } = &self.connection;
        let (rpc, chain, span, metrics) = (rpc.clone(), *chain, *span, *metrics);
        let filters: BTreeSet<LogFilter> = self.view.filters();
        let mut ranges = Ranges::new(
            first,
            last,
            span.load(Ordering::Relaxed),
            self.view.config.max_getlogs_range,
        );
        let mut timeouts = 0;
        while let Some((from, to)) = ranges.current() {
            match scan::logs(&rpc, filters.iter(), from, to).await {
                Ok(logs) => {
                    debug!(%chain, from, to, logs = logs.len(), "read");
                    metrics.backfilled(chain, to - from + 1);
                    let height = self.position.map_or(to, |position| position.height.max(to));
                    let scanned = self.position.map_or(to, |position| position.scanned.max(to.min(sure)));
                    let position = Position { height, scanned };
                    self.commit(logs, Some(position)).await?;
                    ranges.read();
                    timeouts = 0;
                }
                Err(error) => {
                    timeouts += u32::from(matches!(error, ChainError::TimedOut { .. }));
                    let less = error.asks_for_less().filter(|_| timeouts < MAX_TIMEOUTS);
                    let smaller = less.is_some_and(|less| ranges.refused(less.proposed));
                    span.store(ranges.span(), Ordering::Relaxed);
                    if !smaller {
                        return Err(error.into());
                    }
                    debug!(%chain, from, to, %error, "range refused; trying a smaller one");
                }
            }
        }
        span.store(ranges.span(), Ordering::Relaxed);
        self.read_at = Instant::now();
        Ok(())
    }

    /// Commits what live logs mean; `settled` is the block up to which the subscription is complete.
    async fn record(&mut self, logs: Vec<MinedLog>, settled: Option<u64>) -> Result<(), SessionError> {
        let moved = self.position.zip(settled).and_then(|(position, settled)| {
            (settled > position.height).then_some(Position {
                height: settled,
                ..position
            })
        });
        self.commit(logs, moved).await
    }

    async fn commit(&mut self, logs: Vec<MinedLog>, position: Option<Position>) -> Result<(), SessionError> {
        let mut occurrences = Vec::with_capacity(logs.len());
        for log in logs {
            let timestamp = if log.removed {
                None
            } else {
                self.connection.headers.timestamp(&self.connection.rpc, &log).await?
            };
            let Connection { chain, metrics, .. } = &self.connection;
            occurrences.extend(Occurrence::of_log(chain, &log, &self.view, timestamp, metrics));
        }
        if occurrences.is_empty() && position.is_none() {
            return Ok(());
        }
        let fired = !occurrences.is_empty();
        let progress = position.map(|position| Progress {
            position,
            generation: self.view.generation,
            blocks: std::mem::take(&mut self.blocks),
            window: self.view.config.reorg_window,
        });
        let Connection {
            chain, spool, state, ..
        } = &self.connection;
        spool.record(chain, occurrences, progress).await?;
        if fired {
            state.lock().last_event_at_ms = Some(crate::clock::now_ms());
        }
        if let Some(position) = position {
            self.move_to(position);
        }
        Ok(())
    }

    fn move_to(&mut self, position: Position) {
        self.position = Some(position);
        let Connection {
            chain, state, metrics, ..
        } = &self.connection;
        state.lock().passed(position.height);
        metrics.head(chain, self.head, Some(position.height));
    }

    /// Notices a half-open connection (no answer in time) and a subscription that fell silent while the chain moves on.
    /// A chain that merely idles keeps its connection.
    async fn probe(&self, last_head: &mut Instant) -> Result<(), SessionError> {
        let rpc = &self.connection.rpc;
        let limit = Duration::from_secs(self.view.config.pong_timeout_secs.max(1));
        let number = rpc
            .ask_within(limit, "eth_blockNumber", async {
                alloy::providers::Provider::get_block_number(rpc.provider()).await
            })
            .await?;
        if number <= self.head {
            *last_head = Instant::now();
            return Ok(());
        }
        let silence = last_head.elapsed();
        if silence > Duration::from_secs(self.view.config.head_timeout_secs) {
            return Err(ChainError::Stalled {
                endpoint: rpc.endpoint().to_owned(),
                silence,
            }
            .into());
        }
        Ok(())
    }
}

/// Notifications that go into one commit.
#[derive(Default)]
struct Batch {
    logs: Vec<MinedLog>,
    /// Since the last break.
    heads: Vec<(u64, B256)>,
    /// A head does not follow the one before it.
    broken: bool,
    /// Notifications were lost.
    lagged: bool,
}

impl Batch {
    /// The next head does not follow: those before the first break belong to the chain as it was, those between two breaks
    /// to none that is known.
    fn take_break(&mut self, known: &mut Vec<(u64, B256)>) {
        let before = std::mem::take(&mut self.heads);
        if !self.broken {
            known.extend(before);
        }
        self.broken = true;
    }
}

fn current(views: &mut watch::Receiver<Option<Arc<EvmView>>>) -> Result<Arc<EvmView>, SessionError> {
    views.borrow_and_update().clone().ok_or(SessionError::Unwatched)
}
