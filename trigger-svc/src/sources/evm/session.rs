//! One connection to one endpoint, from the first request to its end.
//!
//! Subscribe first, scan the blocks since the cursor second, then follow the notifications: nothing falls between, and
//! what comes twice is recognised by its source key. The cursor advances over scanned blocks and, some blocks behind the
//! head, over those that an uninterrupted subscription has passed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tracing::{debug, info, warn};
use wavs_ipc::contract::trigger_admin::EndpointState;
use wavs_types::ChainKey;

use super::canonical::{self, HeadChain};
use super::headers::Headers;
use super::occurrence::MinedLog;
use super::scan::{self, Ranges};
use super::state::SharedState;
use super::subscriptions::{Notification, Subscriptions};
use crate::chain_rpc::{ChainError, ChainRpc};
use crate::metrics::Metrics;
use crate::sources::block_interval::BlockIntervals;
use crate::spool::{Occurrence, Spool, SpoolError};
use crate::watch::{EvmView, LogFilter};

/// How far the cursor stays behind the head while following notifications: a log may arrive a little after the head of
/// its block, and reading a few blocks again after a restart costs nothing but a lookup.
const SETTLED_LAG: u64 = 3;
/// Most notifications in one commit; the rest follows in the next.
const MAX_COMMIT: usize = 256;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the chain is no longer watched")]
    Unwatched,
}

impl SessionError {
    /// What the endpoint is after it.
    pub(super) fn endpoint_state(&self) -> EndpointState {
        match self {
            Self::Chain(ChainError::WrongChain { .. }) => EndpointState::WrongChain,
            _ => EndpointState::Backoff,
        }
    }
}

/// One connection to one endpoint.
pub(super) struct Session<'a> {
    pub chain: &'a ChainKey,
    pub rpc: ChainRpc,
    pub spool: &'a Spool,
    pub state: &'a SharedState,
    pub metrics: &'a Metrics,
    pub views: watch::Receiver<Option<Arc<EvmView>>>,
    pub headers: Headers,
    pub intervals: BlockIntervals,
}

impl Session<'_> {
    /// Follows notifications until something fails.
    pub(super) async fn follow(mut self) -> Result<std::convert::Infallible, SessionError> {
        let mut subscriptions = Subscriptions::open(&self.rpc, self.state.clone()).await?;
        let mut view = self.view()?;
        subscriptions.reconcile(&self.rpc, &view.filters()).await?;
        self.intervals.load(&view.intervals, None, self.spool).await?;
        self.catch_up(&view).await?;
        self.state.lock().connected();
        info!(chain = %self.chain, endpoint = self.rpc.endpoint(), "following the chain");

        let ping = Duration::from_secs(view.config.ping_interval_secs.max(1));
        let mut heartbeat = interval(ping);
        let mut last_head = Instant::now();
        let mut heads = HeadChain::default();
        loop {
            tokio::select! {
                changed = self.views.changed() => {
                    changed.map_err(|_| SessionError::Unwatched)?;
                    view = self.view()?;
                    self.take_intervals(&view).await?;
                    let added = subscriptions.reconcile(&self.rpc, &view.filters()).await?;
                    self.scan_added(&view, &added).await?;
                }
                first = subscriptions.next() => {
                    let mut logs = Vec::new();
                    let mut lagged = false;
                    let mut reorganised = false;
                    let mut next = Some(first);
                    while let Some(notification) = next {
                        match notification {
                            Notification::Head(head) => {
                                last_head = Instant::now();
                                reorganised |= !heads.follows(head);
                                self.note_head(head.number);
                            }
                            Notification::Log(log) => logs.push(*log),
                            Notification::Lagged => lagged = true,
                            Notification::Unusable => self.metrics.dropped("unusable_log"),
                            Notification::Closed => return Err(self.rpc.closed().into()),
                        }
                        // What is ready already goes into the same commit.
                        let full = logs.len() >= MAX_COMMIT;
                        next = if full { None } else { futures::FutureExt::now_or_never(subscriptions.next()) };
                    }
                    if reorganised {
                        self.drop_orphans(&view).await?;
                    }
                    if lagged {
                        warn!(chain = %self.chain, "notifications were lost; scanning since the cursor");
                        self.metrics.dropped("lagged");
                        self.record(&view, logs, None).await?;
                        self.catch_up(&view).await?;
                    } else {
                        let settled = self.state.lock().head.map(|head| head.saturating_sub(SETTLED_LAG));
                        self.record(&view, logs, settled).await?;
                        self.count_blocks().await?;
                    }
                }
                _ = heartbeat.tick() => self.probe(&view, &mut last_head).await?,
            }
        }
    }

    /// Polls the chain until something fails.
    pub(super) async fn poll(mut self) -> Result<std::convert::Infallible, SessionError> {
        let mut view = self.view()?;
        self.intervals.load(&view.intervals, None, self.spool).await?;
        let mut ticks = interval(Duration::from_millis(view.config.poll_interval_ms.max(100)));
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.catch_up(&view).await?;
                    self.state.lock().connected();
                }
                changed = self.views.changed() => {
                    changed.map_err(|_| SessionError::Unwatched)?;
                    view = self.view()?;
                    self.take_intervals(&view).await?;
                    let all: Vec<_> = view.filters().into_iter().collect();
                    self.scan_added(&view, &all).await?;
                }
            }
        }
    }

    fn view(&mut self) -> Result<Arc<EvmView>, SessionError> {
        self.views.borrow_and_update().clone().ok_or(SessionError::Unwatched)
    }

    fn note_head(&self, number: u64) {
        let cursor = {
            let mut state = self.state.lock();
            state.reached(number, self.rpc.latency_us());
            state.cursor
        };
        self.metrics.head(self.chain, number, cursor);
    }

    /// Takes the block intervals of a changed view. Those without a known registration height begin above the head.
    async fn take_intervals(&mut self, view: &EvmView) -> Result<(), SessionError> {
        let head = self.state.lock().head;
        self.intervals.load(&view.intervals, head, self.spool).await?;
        Ok(())
    }

    /// Fires the block intervals up to the head.
    async fn count_blocks(&mut self) -> Result<(), SessionError> {
        let Some(head) = self.state.lock().head else {
            return Ok(());
        };
        let fired = self.intervals.reach(head, self.spool, self.metrics).await?;
        let mut state = self.state.lock();
        state.intervals = self.intervals.status();
        if fired {
            state.last_event_at_ms = Some(crate::clock::now_ms());
        }
        Ok(())
    }

    /// Reads everything between the cursor and the head. The first use of a chain starts at its head.
    async fn catch_up(&mut self, view: &EvmView) -> Result<(), SessionError> {
        let head = self.rpc.head().await?;
        self.note_head(head);
        self.drop_orphans(view).await?;
        self.scan_missed(view, head).await?;
        self.count_blocks().await
    }

    /// Compares the recorded occurrences of recent blocks with the chain, reports those that left it, and reads the
    /// blocks that took their place.
    async fn drop_orphans(&mut self, view: &EvmView) -> Result<(), SessionError> {
        let Some(head) = self.state.lock().head else {
            return Ok(());
        };
        let oldest = head.saturating_sub(view.config.reorg_window);
        let recorded = self.spool.recorded_since(self.chain, oldest).await?;
        let orphans = canonical::orphans(&self.rpc, self.chain, recorded).await?;
        let Some(lowest) = orphans.iter().map(|(height, _)| *height).min() else {
            return Ok(());
        };
        warn!(chain = %self.chain, occurrences = orphans.len(), from = lowest, "the chain was reorganised; reporting what left it");
        self.metrics.reorganised(self.chain);
        let removed = orphans
            .into_iter()
            .map(|(_, source_key)| Occurrence::Removed { source_key });
        self.spool.record(self.chain, removed.collect(), None, None).await?;
        self.scan(view, &view.filters(), lowest, head, false).await
    }

    async fn scan_missed(&mut self, view: &EvmView, head: u64) -> Result<(), SessionError> {
        let Some(cursor) = self.spool.cursor(self.chain).await? else {
            self.spool.start_at(self.chain, head).await?;
            self.state.lock().cursor = Some(head);
            return Ok(());
        };
        let oldest = head.saturating_sub(view.config.max_backfill_blocks);
        let first = if cursor + 1 < oldest {
            let reason = format!(
                "further back than max_backfill_blocks = {}",
                view.config.max_backfill_blocks
            );
            warn!(chain = %self.chain, from = cursor + 1, to = oldest - 1, "skipping blocks: {reason}");
            self.metrics.gap(self.chain, oldest - cursor - 1);
            self.state.lock().gap(cursor + 1, oldest - 1, reason);
            oldest
        } else {
            cursor + 1
        };
        let filters = view.filters();
        self.scan(view, &filters, first, head, true).await
    }

    /// Reads for filters that are new what the others have passed already. Routes do not fire for blocks up to their
    /// registration, and what was recorded is recognised.
    async fn scan_added(&mut self, view: &EvmView, added: &[LogFilter]) -> Result<(), SessionError> {
        let Some(cursor) = self.spool.cursor(self.chain).await? else {
            return Ok(());
        };
        let head = self.rpc.head().await?;
        self.note_head(head);
        let added: BTreeSet<_> = added.iter().cloned().collect();
        self.scan(view, &added, cursor + 1, head, false).await?;
        self.count_blocks().await
    }

    async fn scan(
        &mut self,
        view: &EvmView,
        filters: &BTreeSet<LogFilter>,
        first: u64,
        last: u64,
        advance: bool,
    ) -> Result<(), SessionError> {
        let mut ranges = Ranges::new(first, last, view.config.max_getlogs_range);
        while let Some((from, to)) = ranges.current() {
            match scan::logs(&self.rpc, filters.iter(), from, to).await {
                Ok(logs) => {
                    debug!(chain = %self.chain, from, to, logs = logs.len(), "scanned");
                    self.metrics.backfilled(self.chain, to - from + 1);
                    self.record(view, logs, advance.then_some(to)).await?;
                    ranges.read();
                }
                Err(error @ (ChainError::TimedOut { .. } | ChainError::Rpc { answered: true, .. })) => {
                    if !ranges.refused() {
                        return Err(error.into());
                    }
                    debug!(chain = %self.chain, from, to, %error, "range refused; trying a smaller one");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Commits what the logs mean, together with the cursor.
    async fn record(&mut self, view: &EvmView, logs: Vec<MinedLog>, cursor: Option<u64>) -> Result<(), SessionError> {
        let mut occurrences = Vec::with_capacity(logs.len());
        for log in logs {
            let timestamp = if log.removed {
                None
            } else {
                self.headers.timestamp(&self.rpc, &log).await?
            };
            occurrences.extend(Occurrence::of_log(self.chain, &log, view, timestamp, self.metrics));
        }
        if !occurrences.is_empty() {
            self.state.lock().last_event_at_ms = Some(crate::clock::now_ms());
        }
        let known = self.state.lock().cursor;
        let cursor = cursor.filter(|height| known.is_none_or(|known| *height > known));
        if occurrences.is_empty() && cursor.is_none() {
            return Ok(());
        }
        let prune_below = cursor.map(|height| height.saturating_sub(view.config.reorg_window));
        self.spool.record(self.chain, occurrences, cursor, prune_below).await?;
        if let Some(height) = cursor {
            self.state.lock().cursor = Some(height);
        }
        Ok(())
    }

    /// Notices a half-open connection (no answer in time) and a subscription that fell silent while the chain moves on.
    /// A chain that merely idles keeps its connection.
    async fn probe(&self, view: &EvmView, last_head: &mut Instant) -> Result<(), SessionError> {
        let limit = Duration::from_secs(view.config.pong_timeout_secs.max(1));
        let number = self
            .rpc
            .ask_within(limit, "eth_blockNumber", async {
                alloy::providers::Provider::get_block_number(self.rpc.provider()).await
            })
            .await?;
        let known = self.state.lock().head.unwrap_or(0);
        if number <= known {
            *last_head = Instant::now();
            return Ok(());
        }
        let silence = last_head.elapsed();
        if silence > Duration::from_secs(view.config.head_timeout_secs) {
            return Err(ChainError::Stalled {
                endpoint: self.rpc.endpoint().to_owned(),
                silence,
            }
            .into());
        }
        Ok(())
    }
}
