//! The log subscriptions of one connection, kept equal to the filters that are wanted.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;
use alloy::providers::Provider;
use alloy::rpc::types::Log;
use futures::StreamExt;
use tokio_stream::StreamMap;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use serde_json::value::RawValue;

use super::occurrence::MinedLog;
use super::scan::wire_filter;
use super::state::{SharedState, Subscribed};
use crate::chain_rpc::{BlockHead, ChainError, ChainRpc};
use crate::watch::LogFilter;

type Notifications = BroadcastStream<Box<RawValue>>;

/// All subscriptions of one connection.
pub(super) struct Subscriptions {
    heads: Notifications,
    logs: StreamMap<LogFilter, Notifications>,
    /// By wanted filter: the parts into which it had to be split, most often itself alone.
    parts: BTreeMap<LogFilter, Vec<(LogFilter, B256)>>,
    state: SharedState,
}

/// What a subscription yielded.
#[derive(Debug)]
pub(super) enum Notification {
    Head(BlockHead),
    Log(Box<MinedLog>),
    /// Notifications were lost: the blocks since the cursor must be scanned.
    Lagged,
    /// Something that is neither, such as a pending log; it was dropped.
    Unusable,
    /// The connection is gone.
    Closed,
}

impl Subscriptions {
    /// Subscribes to new heads, which serve as heartbeat.
    pub(super) async fn open(rpc: &ChainRpc, state: SharedState) -> Result<Self, ChainError> {
        let subscription = in_flight(
            &state,
            rpc.ask("eth_subscribe newHeads", rpc.provider().subscribe_blocks()),
        )
        .await?;
        state
            .lock()
            .subscriptions
            .insert(subscription.local_id().to_string(), Subscribed::NewHeads);
        let heads = subscription.into_raw().into_stream();
        Ok(Self {
            heads,
            logs: StreamMap::new(),
            parts: BTreeMap::new(),
            state,
        })
    }

    /// Adds the filters that are missing, then removes those that are no longer wanted. Blocks before an added
    /// subscription must be scanned.
    pub(super) async fn reconcile(&mut self, rpc: &ChainRpc, wanted: &BTreeSet<LogFilter>) -> Result<(), ChainError> {
        self.state.lock().desired = wanted.len();
        for filter in wanted {
            if !self.parts.contains_key(filter) {
                self.subscribe(rpc, filter).await?;
            }
        }
        let unwanted = self.parts.keys().filter(|filter| !wanted.contains(filter));
        for filter in unwanted.cloned().collect::<Vec<_>>() {
            for (part, id) in self.parts.remove(&filter).unwrap_or_default() {
                self.logs.remove(&part);
                self.state.lock().subscriptions.remove(&id.to_string());
                // Sent without waiting: what still arrives is matched locally and dropped.
                rpc.provider().unsubscribe(id).map_err(|_| rpc.closed())?;
            }
        }
        Ok(())
    }

    /// Subscribes to one filter, in parts when the endpoint refuses the whole. What it refuses in the smallest part ends
    /// the connection: the next endpoint, or the same one later, is asked.
    async fn subscribe(&mut self, rpc: &ChainRpc, filter: &LogFilter) -> Result<(), ChainError> {
        let mut waiting = vec![filter.clone()];
        let mut parts = Vec::new();
        while let Some(part) = waiting.pop() {
            let wire = wire_filter(&part);
            let asked = rpc.ask("eth_subscribe logs", rpc.provider().subscribe_logs(&wire));
            let subscription = match in_flight(&self.state, asked).await {
                Ok(subscription) => subscription,
                Err(error) if error.asks_for_less().is_some() => {
                    waiting.extend(part.split().ok_or(error)?);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let id = *subscription.local_id();
            let confirmed = Subscribed::Logs(part.clone());
            self.state.lock().subscriptions.insert(id.to_string(), confirmed);
            self.logs.insert(part.clone(), subscription.into_raw().into_stream());
            parts.push((part, id));
        }
        self.parts.insert(filter.clone(), parts);
        Ok(())
    }

    /// The next notification. Safe to cancel.
    pub(super) async fn next(&mut self) -> Notification {
        let parse_log = |raw: Box<RawValue>| serde_json::from_str::<Log>(raw.get()).ok().and_then(MinedLog::new);
        tokio::select! {
            // Logs first: a head may let the cursor advance past them.
            biased;
            Some((_, item)) = self.logs.next(), if !self.logs.is_empty() => match item {
                Ok(raw) => parse_log(raw).map_or(Notification::Unusable, |log| Notification::Log(Box::new(log))),
                Err(BroadcastStreamRecvError::Lagged(_)) => Notification::Lagged,
            },
            item = self.heads.next() => match item {
                Some(Ok(raw)) => {
                    serde_json::from_str(raw.get()).map_or(Notification::Unusable, Notification::Head)
                }
                Some(Err(BroadcastStreamRecvError::Lagged(_))) => Notification::Lagged,
                None => Notification::Closed,
            },
        }
    }
}

/// Counts the request as under way while it is.
async fn in_flight<T>(state: &SharedState, request: impl Future<Output = T>) -> T {
    struct Guard<'a>(&'a SharedState);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            let mut state = self.0.lock();
            state.in_flight = state.in_flight.saturating_sub(1);
        }
    }
    state.lock().in_flight += 1;
    let _guard = Guard(state);
    request.await
}
