//! The endpoints of one chain: which to use next, and when.

use std::time::Duration;

use tokio::time::Instant;
use wavs_types::EvmChainConfig;

/// First pause after an endpoint failed.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// Longest pause between two attempts at one endpoint.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A connection that lived this long clears the endpoint's record.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Failures in a row of every other endpoint after which the fallback is used: one may be an accident.
const FALLBACK_AFTER: u32 = 2;

/// How an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointKind {
    /// Subscriptions.
    WebSocket,
    /// Polling.
    Http,
}

/// One way to reach the chain.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub url: String,
    pub kind: EndpointKind,
    /// Only used while all others fail.
    pub fallback: bool,
    failures: u32,
    not_before: Option<Instant>,
}

/// All ways to reach the chain, in order of preference.
#[derive(Debug)]
pub(super) struct Endpoints {
    list: Vec<Endpoint>,
    next: usize,
    /// Whether the first one is preferred, so that the chain goes back to it.
    prefers_first: bool,
}

/// An endpoint that may be better than the one in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub index: usize,
    pub url: String,
    pub preferred: bool,
}

impl Endpoints {
    /// WebSocket endpoints with the preferred one first, and the HTTP endpoint for when none of them works, or there is none.
    pub(super) fn new(config: &EvmChainConfig) -> Self {
        let mut urls: Vec<_> = config
            .ws_endpoints
            .iter()
            .map(|url| (url.clone(), EndpointKind::WebSocket))
            .collect();
        let priority = config.ws_priority_endpoint_index.filter(|index| *index < urls.len());
        if let Some(index) = priority {
            let preferred = urls.remove(index);
            urls.insert(0, preferred);
        }
        let polls_only = urls.is_empty();
        urls.extend(config.http_endpoint.iter().map(|url| (url.clone(), EndpointKind::Http)));
        let list = urls
            .into_iter()
            .map(|(url, kind)| Endpoint {
                url,
                kind,
                fallback: kind == EndpointKind::Http && !polls_only,
                failures: 0,
                not_before: None,
            })
            .collect();
        Self {
            list,
            next: 0,
            prefers_first: priority.is_some(),
        }
    }

    /// The endpoint to try now and the time to wait before: the first in turn that may be tried at once, else the one that
    /// may be tried soonest. The fallback counts only while every other one has failed several times in a row. `None` when the chain
    /// has no usable endpoint.
    pub(super) fn pick(&mut self, now: Instant) -> Option<(usize, Duration)> {
        let wait = |endpoint: &Endpoint| {
            endpoint
                .not_before
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
        };
        let mut regular = self.list.iter().filter(|endpoint| !endpoint.fallback);
        let falls_back = regular.all(|endpoint| endpoint.failures >= FALLBACK_AFTER);
        let count = self.list.len();
        let chosen = (0..count)
            .map(|step| (self.next + step) % count)
            .filter(|index| falls_back || !self.list[*index].fallback)
            .min_by_key(|index| wait(&self.list[*index]))?;
        Some((chosen, wait(&self.list[chosen])))
    }

    /// All addresses, in order of preference.
    pub(super) fn urls(&self) -> impl Iterator<Item = String> + '_ {
        self.list.iter().map(|endpoint| endpoint.url.clone())
    }

    /// The endpoints to look at while the one at `index` is in use. When there is a preferred one, it alone is worth a look
    /// until it is back. To the fallback every other one is preferred.
    pub(super) fn candidates(&self, index: usize) -> Vec<Candidate> {
        let falls_back = self.list[index].fallback;
        let others = self.list.iter().enumerate();
        let others = others.filter(|(other, endpoint)| *other != index && !endpoint.fallback);
        let candidates = others.map(|(other, endpoint)| Candidate {
            index: other,
            url: endpoint.url.clone(),
            preferred: falls_back || self.prefers_first && other == 0,
        });
        let candidates: Vec<_> = candidates.collect();
        let preferred: Vec<_> = candidates.iter().filter(|other| other.preferred).cloned().collect();
        if preferred.is_empty() { candidates } else { preferred }
    }

    /// The next attempt goes to the endpoint at `index`, at once.
    pub(super) fn prefer(&mut self, index: usize) {
        self.next = index;
        self.list[index].not_before = None;
    }

    /// The endpoint at `index`.
    pub(super) fn get(&self, index: usize) -> &Endpoint {
        &self.list[index]
    }

    /// Notes that the endpoint failed after `lived`; `jitter` in 0..1 spreads the pause over ±20 %. The next attempt goes to
    /// the next endpoint in turn.
    pub(super) fn failed(&mut self, index: usize, now: Instant, lived: Duration, jitter: f64) {
        let endpoint = &mut self.list[index];
        endpoint.failures = if lived >= STABLE_AFTER {
            0
        } else {
            endpoint.failures.saturating_add(1)
        };
        let backoff = MIN_BACKOFF
            .saturating_mul(1 << endpoint.failures.saturating_sub(1).min(5))
            .min(MAX_BACKOFF);
        endpoint.not_before = Some(now + backoff.mul_f64(0.8 + 0.4 * jitter));
        self.next = (index + 1) % self.list.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(urls: &[&str], priority: Option<usize>) -> Endpoints {
        let mut config: EvmChainConfig =
            serde_json::from_str(r#"{"chain_id":"1","http_endpoint":"http://h"}"#).unwrap();
        config.ws_endpoints = urls.iter().map(|url| (*url).to_owned()).collect();
        config.ws_priority_endpoint_index = priority;
        Endpoints::new(&config)
    }

    #[test]
    fn the_priority_endpoint_comes_first_and_http_serves_alone() {
        assert_eq!(endpoints(&["a", "b"], Some(1)).get(0).url, "b");
        let polled = endpoints(&[], None);
        assert_eq!(
            (polled.get(0).url.as_str(), polled.get(0).kind),
            ("http://h", EndpointKind::Http)
        );
    }

    #[test]
    fn a_preferred_endpoint_is_looked_for_and_taken_back() {
        let urls = |candidates: Vec<Candidate>| candidates.into_iter().map(|other| other.url).collect::<Vec<_>>();
        assert_eq!(urls(endpoints(&["a", "b", "c"], None).candidates(1)), ["a", "c"]);
        let mut preferring = endpoints(&["a", "b", "c"], Some(2));
        assert_eq!(urls(preferring.candidates(0)), ["a", "b"]);
        assert_eq!(urls(preferring.candidates(1)), ["c"]);
        let now = Instant::now();
        preferring.failed(0, now, Duration::ZERO, 0.5);
        assert_eq!(preferring.pick(now), Some((1, Duration::ZERO)));
        preferring.prefer(0);
        assert_eq!(preferring.pick(now), Some((0, Duration::ZERO)));
    }

    #[test]
    fn http_is_used_while_all_websockets_fail_and_left_as_soon_as_one_is_back() {
        let now = Instant::now();
        let mut endpoints = endpoints(&["a", "b"], None);
        for _ in 0..FALLBACK_AFTER {
            for index in [0, 1] {
                assert_ne!(endpoints.pick(now).unwrap().0, 2, "too early");
                endpoints.failed(index, now, Duration::ZERO, 0.5);
            }
        }
        assert_eq!(endpoints.pick(now), Some((2, Duration::ZERO)));
        let candidates = endpoints.candidates(2);
        assert!(candidates.len() == 2 && candidates.iter().all(|other| other.preferred));
        endpoints.prefer(1);
        assert_eq!(endpoints.pick(now), Some((1, Duration::ZERO)));
        endpoints.failed(1, now, STABLE_AFTER, 0.5);
        assert_ne!(endpoints.pick(now).unwrap().0, 2, "it worked for long");
        // A fallback that fails waits as any other, and the others are tried meanwhile.
        for index in [1, 1, 2] {
            endpoints.failed(index, now, Duration::ZERO, 0.5);
        }
        assert_eq!(endpoints.pick(now), Some((2, MIN_BACKOFF)));
    }

    #[test]
    fn a_failed_endpoint_waits_longer_each_time_while_others_are_tried() {
        let now = Instant::now();
        let mut endpoints = endpoints(&["a", "b"], None);
        assert_eq!(endpoints.pick(now), Some((0, Duration::ZERO)));
        endpoints.failed(0, now, Duration::ZERO, 0.5);
        assert_eq!(endpoints.pick(now), Some((1, Duration::ZERO)));
        endpoints.failed(1, now, Duration::ZERO, 0.5);
        assert_eq!(endpoints.pick(now), Some((0, Duration::from_secs(1))));
        let waits: Vec<_> = (0..7)
            .map(|_| {
                endpoints.failed(0, now, Duration::ZERO, 0.5);
                endpoints.list[0].not_before.unwrap() - now
            })
            .collect();
        assert_eq!(
            waits.iter().map(Duration::as_secs).collect::<Vec<_>>(),
            [2, 4, 8, 16, 30, 30, 30]
        );
        endpoints.failed(0, now, STABLE_AFTER, 0.5);
        assert_eq!(endpoints.list[0].not_before.unwrap() - now, MIN_BACKOFF);
    }
}
