//! What is known about a source, for status and the stream listing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use wavs_ipc::contract::trigger_admin::{ChainGap, ChainStatus, EndpointState, EndpointStatus};
use wavs_types::{ChainKey, EvmChainConfig, Finality, redacted_url};

use crate::clock;
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
    /// In order of preference.
    pub endpoints: Vec<EndpointStatus>,
    /// The one in use, or the last one that was.
    pub current: Option<usize>,
    pub connected: bool,
    /// Subscribe and unsubscribe requests under way.
    pub in_flight: usize,
    pub subscriptions: BTreeMap<String, Subscribed>,
    pub desired: usize,
    pub head: Option<u64>,
    /// The newest block that may fire; at most the head.
    pub horizon: Option<u64>,
    /// The last block that was looked at completely.
    pub cursor: Option<u64>,
    /// When every block that may fire had been looked at last.
    pub level_at_ms: Option<u64>,
    pub last_event_at_ms: Option<u64>,
    pub reconnects: u64,
    /// Block ranges that were given up, oldest first.
    pub gaps: Vec<ChainGap>,
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
    /// Nothing is connected yet.
    pub(crate) fn new(endpoints: impl Iterator<Item = String>) -> Self {
        Self {
            endpoints: endpoints.map(|url| EndpointStatus::idle(redacted_url(&url))).collect(),
            ..Self::default()
        }
    }

    /// The endpoint at `index` is tried.
    pub(crate) fn connecting(&mut self, index: usize) {
        self.current = Some(index);
        self.enter(index, EndpointState::Connecting);
    }

    /// The session is past its first scan.
    pub(crate) fn connected(&mut self) {
        self.connected = true;
        self.last_error = None;
        if let Some(index) = self.current {
            self.enter(index, EndpointState::Active);
        }
    }

    /// The session ended.
    pub(crate) fn disconnected(&mut self) {
        self.connected = false;
        self.in_flight = 0;
        self.subscriptions.clear();
        if let Some(index) = self.current {
            self.enter(index, EndpointState::Idle);
        }
    }

    /// The endpoint at `index` did something wrong, so that it is left alone for a while.
    pub(crate) fn failed(&mut self, index: usize, state: EndpointState, error: String) {
        self.reconnects += 1;
        self.last_error = Some(error.clone());
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.state = state;
            endpoint.failures += 1;
            endpoint.last_error = Some(error);
            endpoint.last_error_at_ms = Some(clock::now_ms());
        }
    }

    /// The endpoint in use reported a head; its last answer took `latency_us`.
    pub(crate) fn reached(&mut self, head: u64, latency_us: u64) {
        self.head = Some(head);
        if let Some(endpoint) = self.current.and_then(|index| self.endpoints.get_mut(index)) {
            endpoint.latency_us = Some(latency_us);
            endpoint.head = Some(head);
        }
    }

    /// The endpoint at `index`, which is not in use, was asked for its head.
    pub(crate) fn looked_at(&mut self, index: usize, head: u64, latency_us: u64) {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.state = EndpointState::Idle;
            endpoint.latency_us = Some(latency_us);
            endpoint.head = Some(head);
        }
    }

    pub(crate) fn gap(&mut self, from: u64, to: u64, reason: String) {
        if self.gaps.len() == MAX_GAPS {
            self.gaps.remove(0);
        }
        self.gaps.push(ChainGap { from, to, reason });
    }

    /// How many blocks may fire and were not looked at.
    fn lag(&self) -> Option<u64> {
        let reachable = self.horizon.or(self.head);
        Some(reachable?.saturating_sub(self.cursor?))
    }

    /// The blocks up to `height` were looked at.
    pub(crate) fn passed(&mut self, height: u64) {
        self.cursor = Some(height);
        if self.lag() == Some(0) {
            self.level_at_ms = Some(clock::now_ms());
        }
    }

    /// For how long there have been blocks that were not looked at, in seconds.
    fn lag_seconds(&self) -> Option<u64> {
        if self.lag()? == 0 {
            return Some(0);
        }
        Some(clock::now_ms().saturating_sub(self.level_at_ms?) / 1_000)
    }

    fn enter(&mut self, index: usize, state: EndpointState) {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.state = state;
        }
    }

    /// The row of `TriggerAdmin::chains`.
    pub(crate) fn to_status(&self, chain: &ChainKey, config: &EvmChainConfig) -> ChainStatus {
        ChainStatus {
            chain: chain.clone(),
            followed: true,
            connected: self.connected,
            finality: finality(config),
            head: self.head,
            processed: self.cursor,
            lag: self.lag(),
            lag_seconds: self.lag_seconds(),
            last_event_at_ms: self.last_event_at_ms,
            reconnects: self.reconnects,
            gaps: self.gaps.clone(),
            last_error: self.last_error.clone(),
            endpoints: self.endpoints.clone(),
        }
    }

    /// The entry of `GET /dev/trigger-streams`.
    pub(crate) fn to_json(&self) -> Value {
        let subscriptions: serde_json::Map<_, _> = self
            .subscriptions
            .iter()
            .map(|(id, kind)| (id.clone(), kind.to_json()))
            .collect();
        let endpoint = self.current.and_then(|index| self.endpoints.get(index));
        json!({
            "current_endpoint": endpoint.map(|endpoint| &endpoint.url),
            "is_connected": self.connected,
            "any_active_rpcs_in_flight": self.in_flight > 0,
            "active_subscriptions": subscriptions,
            "desired_filters": self.desired,
            "head": self.head,
            "cursor": self.cursor,
            "horizon": self.horizon,
            "lag": self.lag(),
            "last_event_at": self.last_event_at_ms,
            "reconnects": self.reconnects,
            "gaps": self.gaps.iter().map(|gap| json!({"from": gap.from, "to": gap.to, "reason": gap.reason})).collect::<Vec<_>>(),
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

/// The row of a chain that no route needs.
pub(crate) fn idle_status(chain: &ChainKey, config: &EvmChainConfig) -> ChainStatus {
    let urls = config.ws_endpoints.iter().chain(&config.http_endpoint);
    ChainStatus::idle(chain.clone(), finality(config), urls.map(|url| redacted_url(url)))
}

/// What counts as the newest block, for people.
fn finality(config: &EvmChainConfig) -> String {
    match (config.finality, config.confirmations) {
        (Finality::Latest, 0) => "latest".to_owned(),
        (Finality::Latest, confirmations) => format!("latest-{confirmations}"),
        (Finality::Safe, _) => "safe".to_owned(),
        (Finality::Finalized, _) => "finalized".to_owned(),
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
