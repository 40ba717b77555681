//! The log subscriptions of one connection, kept equal to the filters that are wanted.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;
use alloy::providers::Provider;
use alloy::rpc::types::{Header, Log};
use futures::StreamExt;
use tokio_stream::StreamMap;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use serde_json::value::RawValue;

use super::canonical::Head;
use super::occurrence::MinedLog;
use super::scan::wire_filter;
use super::state::{SharedState, Subscribed};
use crate::chain_rpc::{ChainError, ChainRpc};
use crate::watch::LogFilter;

type Notifications = BroadcastStream<Box<RawValue>>;

/// All subscriptions of one connection.
pub(super) struct Subscriptions {
    heads: Notifications,
    logs: StreamMap<LogFilter, Notifications>,
    ids: BTreeMap<LogFilter, B256>,
    state: SharedState,
}

/// What a subscription yielded.
#[derive(Debug)]
pub(super) enum Notification {
    Head(Head),
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
            ids: BTreeMap::new(),
            state,
        })
    }

    /// Adds the filters that are missing, then removes those that are no longer wanted. Answers the added ones: blocks
    /// before their subscription must be scanned for them.
    pub(super) async fn reconcile(
        &mut self,
        rpc: &ChainRpc,
        wanted: &BTreeSet<LogFilter>,
    ) -> Result<Vec<LogFilter>, ChainError> {
        self.state.lock().desired = wanted.len();
        let mut added = Vec::new();
        for filter in wanted
            .iter()
            .filter(|filter| !self.ids.contains_key(filter))
            .cloned()
            .collect::<Vec<_>>()
        {
            let wire = wire_filter(&filter);
            let subscription = in_flight(
                &self.state,
                rpc.ask("eth_subscribe logs", rpc.provider().subscribe_logs(&wire)),
            )
            .await?;
            let id = *subscription.local_id();
            self.state
                .lock()
                .subscriptions
                .insert(id.to_string(), Subscribed::Logs(filter.clone()));
            self.logs.insert(filter.clone(), subscription.into_raw().into_stream());
            self.ids.insert(filter.clone(), id);
            added.push(filter);
        }
        for filter in self
            .ids
            .keys()
            .filter(|filter| !wanted.contains(filter))
            .cloned()
            .collect::<Vec<_>>()
        {
            if let Some(id) = self.ids.remove(&filter) {
                self.logs.remove(&filter);
                self.state.lock().subscriptions.remove(&id.to_string());
                // Sent without waiting: what still arrives is matched locally and dropped.
                rpc.provider().unsubscribe(id).map_err(|_| rpc.closed())?;
            }
        }
        Ok(added)
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
                Some(Ok(raw)) => serde_json::from_str::<Header>(raw.get())
                    .map_or(Notification::Unusable, |header| Notification::Head(header.into())),
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
