//! What is known about a source, for status and the stream listing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::sources::block_interval::IntervalStatus;
use crate::watch::LogFilter;

/// A subscription that the server confirmed.
#[derive(Debug, Clone)]
pub(crate) enum Subscribed {
    NewHeads,
    Logs(LogFilter),
}

/// The state of one EVM source.
#[derive(Debug, Default)]
pub(crate) struct EvmState {
    pub endpoint: Option<String>,
    pub connected: bool,
    /// Subscribe and unsubscribe requests under way.
    pub in_flight: usize,
    pub subscriptions: BTreeMap<String, Subscribed>,
    pub desired: usize,
    pub head: Option<u64>,
    pub cursor: Option<u64>,
    pub last_event_at_ms: Option<u64>,
    pub reconnects: u64,
    /// Block ranges that were given up: first, last, reason.
    pub gaps: Vec<(u64, u64, String)>,
    pub last_error: Option<String>,
    pub intervals: Vec<IntervalStatus>,
}

/// Shared between the source and those who ask about it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedState(Arc<Mutex<EvmState>>);

/// Most gap records that are kept per chain; older ones are forgotten, the counter in the metrics is not.
const MAX_GAPS: usize = 64;

impl SharedState {
    /// Locks the state. A panic elsewhere leaves it readable: it is only information.
    pub(crate) fn lock(&self) -> MutexGuard<'_, EvmState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EvmState {
    pub(crate) fn connected_to(&mut self, endpoint: &str) {
        self.endpoint = Some(endpoint.to_owned());
        self.connected = true;
        self.last_error = None;
    }

    pub(crate) fn disconnected(&mut self, error: String) {
        self.connected = false;
        self.in_flight = 0;
        self.subscriptions.clear();
        self.reconnects += 1;
        self.last_error = Some(error);
    }

    pub(crate) fn gap(&mut self, first: u64, last: u64, reason: String) {
        if self.gaps.len() == MAX_GAPS {
            self.gaps.remove(0);
        }
        self.gaps.push((first, last, reason));
    }

    /// The entry of `GET /dev/trigger-streams`.
    pub(crate) fn to_json(&self) -> Value {
        let subscriptions: serde_json::Map<_, _> = self
            .subscriptions
            .iter()
            .map(|(id, kind)| (id.clone(), kind.to_json()))
            .collect();
        let lag = self
            .head
            .zip(self.cursor)
            .map(|(head, cursor)| head.saturating_sub(cursor));
        json!({
            "current_endpoint": self.endpoint,
            "is_connected": self.connected,
            "any_active_rpcs_in_flight": self.in_flight > 0,
            "active_subscriptions": subscriptions,
            "desired_filters": self.desired,
            "head": self.head,
            "cursor": self.cursor,
            "lag": lag,
            "last_event_at": self.last_event_at_ms,
            "reconnects": self.reconnects,
            "gaps": self.gaps.iter().map(|(from, to, reason)| json!({"from": from, "to": to, "reason": reason})).collect::<Vec<_>>(),
            "last_error": self.last_error,
            "block_intervals": self.intervals.iter().map(|interval| json!({
                "service_id": interval.service_id,
                "workflow_id": interval.workflow_id,
                "anchor": interval.anchor,
                "next": interval.next,
            })).collect::<Vec<_>>(),
        })
    }
}

impl Subscribed {
    fn to_json(&self) -> Value {
        match self {
            Self::NewHeads => json!("NewHeads"),
            Self::Logs(filter) => json!({"Logs": {"addresses": filter.addresses, "topics": filter.topics}}),
        }
    }
}
