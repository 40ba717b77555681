//! The rules: what counts as a condition, over which time, and how soon somebody should look. Pure: samples and times come in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use wavs_service::ProcessName;

use super::sample::Sample;
use super::series::Series;
use super::{Alert, Severity};
use crate::check::machine::is_nearly_full;
use crate::supervise::snapshot::ProcessState;

const MINUTE: Duration = Duration::from_secs(60);
/// An event that waits longer for signatures does not get them by itself.
const STALLED: Duration = Duration::from_secs(600);

/// A counter, or several that count alike, that grows too fast.
struct Growth {
    name: &'static str,
    severity: Severity,
    counters: &'static [&'static str],
    window: Duration,
    above: f64,
    what: &'static str,
}

/// A histogram whose 95th percentile is too high.
struct Slowness {
    name: &'static str,
    histogram: &'static str,
    window: Duration,
    above: f64,
    what: &'static str,
}

#[rustfmt::skip] // A table to be read.
const GROWTHS: [Growth; 6] = [
    Growth { name: "HighWavsEngineErrors", severity: Severity::Critical, window: Duration::from_secs(120), above: 3.0,
        counters: &["engine_operator_executions_failed_total", "engine_aggregator_executions_failed_total"], what: "executions failed" },
    Growth { name: "HighSubmissionFailures", severity: Severity::Warning, window: Duration::from_secs(120), above: 3.0,
        counters: &["submission_sign_error_count_total", "submission_dispatch_error_count_total", "wavs_tx_reverted_total"], what: "signatures, dispatches or transactions failed" },
    Growth { name: "TriggerErrors", severity: Severity::Warning, window: Duration::from_secs(120), above: 2.0,
        counters: &["trigger_total_errors_total"], what: "triggers had errors" },
    Growth { name: "DeadLetters", severity: Severity::Warning, window: Duration::from_secs(300), above: 0.0,
        counters: &["wavs_job_dead_letters_total"], what: "jobs failed for good" },
    Growth { name: "ServiceUpdateFailed", severity: Severity::Warning, window: Duration::from_secs(300), above: 0.0,
        counters: &["wavs_service_update_failures_total"], what: "updates of services failed" },
    Growth { name: "EquivocationSeen", severity: Severity::Warning, window: Duration::from_secs(300), above: 0.0,
        counters: &["wavs_equivocation_seen_total"], what: "second results for an event were signed by another operator" },
];

#[rustfmt::skip] // A table to be read.
const SLOWNESSES: [Slowness; 2] = [
    Slowness { name: "SlowWavsEngineExecution", histogram: "engine_execution_seconds_bucket", window: MINUTE, above: 5.0, what: "executions" },
    Slowness { name: "SlowSubmissions", histogram: "wavs_job_end_to_end_seconds_bucket", window: Duration::from_secs(300), above: 60.0, what: "jobs from trigger to result" },
];

/// What a condition is about: the rule, and its subject.
type Key = (&'static str, String);

/// One counter of one process.
type Source = (ProcessName, String, Option<String>);

/// The memory of the rules. Bounded: counters are those of the tables above, subjects are processes, chains and parts.
#[derive(Debug, Default)]
pub struct Rules {
    counters: BTreeMap<Source, Series>,
    restarts: BTreeMap<&'static str, Series>,
    /// Since when each condition has held without a break.
    holding: BTreeMap<Key, Duration>,
}

/// What holds in one sample, and how long it has to before it is an alert.
struct Condition {
    name: &'static str,
    subject: String,
    severity: Severity,
    hold: Duration,
    detail: String,
}

impl Rules {
    /// The alerts after one more sample. `now` only grows; an alert's `since` is the time of this call.
    pub fn judge(&mut self, sample: &Sample, now: Duration) -> Vec<Alert> {
        self.remember(sample, now);
        let mut conditions = self.growths(now);
        conditions.extend(self.slownesses(now));
        conditions.extend(self.restarts(now));
        conditions.extend(states(sample));
        let present: BTreeSet<Key> = conditions.iter().map(|one| (one.name, one.subject.clone())).collect();
        self.holding.retain(|key, _| present.contains(key));
        let mut alerts = Vec::new();
        for condition in conditions {
            let key = (condition.name, condition.subject.clone());
            let since = *self.holding.entry(key).or_insert(now);
            if now.saturating_sub(since) >= condition.hold {
                alerts.push(Alert {
                    name: condition.name,
                    subject: condition.subject,
                    severity: condition.severity,
                    detail: condition.detail,
                    since: SystemTime::now(),
                });
            }
        }
        alerts
    }

    fn remember(&mut self, sample: &Sample, now: Duration) {
        for (process, values) in &sample.metrics {
            for ((name, bound), value) in values.iter().filter(|((name, _), _)| is_watched(name)) {
                let source = (*process, name.clone(), bound.clone());
                self.counters.entry(source).or_default().push(now, *value);
            }
        }
        for snapshot in &sample.processes {
            // Restarts that were asked for are no sign of trouble, but a supervisor does not tell them apart in its count; a person
            // who restarts a process four times in five minutes may as well be told.
            #[allow(clippy::cast_precision_loss)] // Exact up to 2^53 restarts.
            self.restarts
                .entry(snapshot.name)
                .or_default()
                .push(now, snapshot.restarts as f64);
        }
    }

    fn growths(&self, now: Duration) -> Vec<Condition> {
        let grown = |growth: &Growth| -> f64 {
            let counted = self
                .counters
                .iter()
                .filter(|((_, name, _), _)| growth.counters.contains(&name.as_str()));
            counted.map(|(_, series)| series.increase(growth.window, now)).sum()
        };
        let conditions = GROWTHS.iter().map(|growth| (growth, grown(growth)));
        conditions
            .filter(|(growth, grown)| *grown > growth.above)
            .map(|(growth, grown)| Condition {
                name: growth.name,
                subject: String::new(),
                severity: growth.severity,
                hold: Duration::ZERO,
                detail: format!("{grown:.0} {} in {} min", growth.what, growth.window.as_secs() / 60),
            })
            .collect()
    }

    fn slownesses(&self, now: Duration) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for slowness in &SLOWNESSES {
            let mut buckets: Vec<(f64, f64)> = Vec::new();
            for ((_, name, bound), series) in &self.counters {
                let Some(bound) = bound.as_deref().filter(|_| name == slowness.histogram) else {
                    continue;
                };
                let bound = if bound == "+Inf" {
                    f64::INFINITY
                } else {
                    bound.parse().unwrap_or(f64::INFINITY)
                };
                buckets.push((bound, series.increase(slowness.window, now)));
            }
            if let Some(seconds) = percentile_95(buckets).filter(|seconds| *seconds > slowness.above) {
                conditions.push(Condition {
                    name: slowness.name,
                    subject: String::new(),
                    severity: Severity::Warning,
                    hold: MINUTE,
                    detail: format!(
                        "one in twenty {} took more than {} s (up to {seconds} s)",
                        slowness.what, slowness.above
                    ),
                });
            }
        }
        conditions
    }

    fn restarts(&self, now: Duration) -> Vec<Condition> {
        let grown = |series: &Series| series.increase(5 * MINUTE, now);
        let restarted = self.restarts.iter().map(|(name, series)| (*name, grown(series)));
        restarted
            .filter(|(_, count)| *count > 3.0)
            .map(|(name, count)| Condition {
                name: "ProcessRestarting",
                subject: name.to_owned(),
                severity: Severity::Warning,
                hold: Duration::ZERO,
                detail: format!("{name} was restarted {count:.0} times in 5 min; its last log lines say why"),
            })
            .collect()
    }
}

/// What holds in this very sample.
fn states(sample: &Sample) -> Vec<Condition> {
    let condition = |name, severity, hold, subject: &str, detail: String| Condition {
        name,
        subject: subject.to_owned(),
        severity,
        hold,
        detail,
    };
    let mut conditions = Vec::new();
    for snapshot in &sample.processes {
        let up = matches!(
            snapshot.state,
            ProcessState::Running | ProcessState::Degraded | ProcessState::Disabled
        );
        if !up {
            let detail = format!("{} is {}", snapshot.name, snapshot.state.as_str());
            conditions.push(condition(
                "ProcessDown",
                Severity::Critical,
                Duration::from_secs(30),
                snapshot.name,
                detail,
            ));
        }
    }
    for chain in &sample.chains {
        let key = chain.chain.to_string();
        if !chain.connected {
            let why = chain.last_error.as_deref().unwrap_or("no connection yet");
            conditions.push(condition(
                "ChainDown",
                Severity::Critical,
                MINUTE,
                &key,
                format!("no endpoint of {key} answers: {why}"),
            ));
        } else if let Some(lag) = chain.lag.filter(|lag| *lag > sample.max_lag_blocks) {
            conditions.push(condition(
                "ChainLag",
                Severity::Warning,
                2 * MINUTE,
                &key,
                format!("{key} is {lag} blocks behind"),
            ));
        }
    }
    for (part, fault) in sample.faults.iter().filter(|(part, _)| part.starts_with("key ")) {
        conditions.push(condition(
            "SignerChanged",
            Severity::Critical,
            Duration::ZERO,
            part,
            fault.clone(),
        ));
    }
    if let Some((free, all)) = sample.disk.filter(|(free, all)| is_nearly_full(*free, *all)) {
        let detail = format!("{} MiB of {} MiB are free", free >> 20, all >> 20);
        conditions.push(condition(
            "StoreNearFull",
            Severity::Critical,
            Duration::ZERO,
            "",
            detail,
        ));
    }
    if sample.open_to_network {
        let detail = "the API listens beyond this machine and no token is configured".to_owned();
        conditions.push(condition(
            "ApiOpenToNetwork",
            Severity::Warning,
            Duration::ZERO,
            "",
            detail,
        ));
    }
    let gauge = |name: &str| -> f64 {
        let key = (name.to_owned(), None);
        sample.metrics.values().filter_map(|values| values.get(&key)).sum()
    };
    for (part, fault) in sample.faults.iter().filter(|(part, _)| part.starts_with("account on ")) {
        let chain = part.trim_start_matches("account on ");
        conditions.push(condition(
            "LowWalletBalance",
            Severity::Critical,
            Duration::ZERO,
            chain,
            fault.clone(),
        ));
    }
    let stalled = gauge("wavs_quorum_oldest_seconds");
    if stalled > STALLED.as_secs_f64() {
        let detail = format!(
            "an event has waited {:.0} min for signatures of other operators; /v1/quorums shows whose are there",
            stalled / 60.0
        );
        conditions.push(condition(
            "QuorumStalled",
            Severity::Warning,
            Duration::ZERO,
            "",
            detail,
        ));
    }
    let peers = sample.metrics.get(&ProcessName::P2p).and_then(|values| {
        // Only a node with a network counts its peers.
        values.get(&("wavs_p2p_peers".to_owned(), None)).copied()
    });
    if peers.is_some_and(|peers| peers < 1.0) {
        let detail = "no other operator is connected; check the bootstrap nodes and whether p2p's port can be reached"
            .to_owned();
        conditions.push(condition("P2pIsolated", Severity::Warning, 5 * MINUTE, "", detail));
    }
    let full = gauge("wavs_service_full");
    if full > 0.0 {
        let detail = format!(
            "{full} services have as many open events as they may have, and their triggers wait; /v1/services shows them as degraded"
        );
        conditions.push(condition("ServiceFull", Severity::Warning, MINUTE, "", detail));
    }
    let quarantined = gauge("wavs_component_quarantined");
    if quarantined > 0.0 {
        let detail = format!(
            "{quarantined} components are not run because engine-svc dies of them, and their triggers wait; /v1/services shows which, and what to do"
        );
        conditions.push(condition(
            "ComponentQuarantined",
            Severity::Critical,
            Duration::ZERO,
            "",
            detail,
        ));
    }
    if gauge("wavs_wallet_nonce_gap") > 0.0 {
        let detail = "a transaction is missing before others of the posting account".to_owned();
        conditions.push(condition("TxStuck", Severity::Critical, 5 * MINUTE, "", detail));
    }
    conditions
}

fn is_watched(name: &str) -> bool {
    GROWTHS.iter().any(|growth| growth.counters.contains(&name)) || SLOWNESSES.iter().any(|one| one.histogram == name)
}

/// The bound of the bucket that holds the 95th percentile; `None` when nothing was counted. Buckets are cumulative, in any order, and
/// may come from several processes.
fn percentile_95(mut buckets: Vec<(f64, f64)>) -> Option<f64> {
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    buckets
        .into_iter()
        .find(|(_, count)| *count >= all * 0.95)
        .map(|(bound, _)| bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(name: &str, value: f64) -> Sample {
        let values = [((name.to_owned(), None), value)].into();
        Sample {
            metrics: [(ProcessName::Engine, values)].into(),
            ..Sample::default()
        }
    }

    fn names(alerts: &[Alert]) -> Vec<&'static str> {
        alerts.iter().map(|alert| alert.name).collect()
    }

    #[test]
    fn a_counter_that_grows_too_fast_is_told_until_its_window_has_passed() {
        for growth in &GROWTHS {
            let mut rules = Rules::default();
            let name = growth.counters[0];
            let at = Duration::from_secs;
            assert_eq!(
                names(&rules.judge(&counted(name, 10.0), at(0))),
                [""; 0],
                "the first value is no growth"
            );
            assert_eq!(
                names(&rules.judge(&counted(name, 10.0 + growth.above), at(10))),
                [""; 0],
                "{name}"
            );
            assert_eq!(
                names(&rules.judge(&counted(name, 11.0 + growth.above), at(20))),
                [growth.name]
            );
            let over = at(20) + growth.window;
            assert_eq!(
                names(&rules.judge(&counted(name, 11.0 + growth.above), over)),
                [""; 0],
                "{name}"
            );
        }
    }

    #[test]
    fn a_slow_twentieth_is_told_after_its_time() {
        let sample = |fast: f64, slow: f64| {
            let bucket = |bound: &str, count: f64| {
                (
                    ("engine_execution_seconds_bucket".to_owned(), Some(bound.to_owned())),
                    count,
                )
            };
            let values = [
                bucket("1", fast),
                bucket("5", fast),
                bucket("10", fast + slow),
                bucket("+Inf", fast + slow),
            ]
            .into();
            Sample {
                metrics: [(ProcessName::Engine, values)].into(),
                ..Sample::default()
            }
        };
        let mut rules = Rules::default();
        for step in 0..6 {
            let alerts = rules.judge(
                &sample(f64::from(step), f64::from(step)),
                Duration::from_secs(10 * u64::try_from(step).unwrap()),
            );
            assert_eq!(names(&alerts), [""; 0], "{step}");
        }
        assert_eq!(
            names(&rules.judge(&sample(7.0, 7.0), Duration::from_secs(70))),
            ["SlowWavsEngineExecution"]
        );
        assert_eq!(
            names(&rules.judge(&sample(100.0, 7.0), Duration::from_secs(140))),
            [""; 0],
            "all were fast"
        );
    }

    #[test]
    fn a_gauge_is_told_when_it_says_so_for_long_enough() {
        let sample = |process, name: &str, value| Sample {
            metrics: [(process, [((name.to_owned(), None), value)].into())].into(),
            ..Sample::default()
        };
        for (process, name, quiet, loud, after, alert) in [
            (
                ProcessName::Aggregator,
                "wavs_service_full",
                0.0,
                1.0,
                60,
                "ServiceFull",
            ),
            (
                ProcessName::Aggregator,
                "wavs_component_quarantined",
                0.0,
                1.0,
                0,
                "ComponentQuarantined",
            ),
            (
                ProcessName::Aggregator,
                "wavs_quorum_oldest_seconds",
                600.0,
                601.0,
                0,
                "QuorumStalled",
            ),
            (
                ProcessName::Aggregator,
                "wavs_wallet_nonce_gap",
                0.0,
                2.0,
                300,
                "TxStuck",
            ),
            (ProcessName::P2p, "wavs_p2p_peers", 1.0, 0.0, 300, "P2pIsolated"),
        ] {
            let mut rules = Rules::default();
            let at = Duration::from_secs;
            assert_eq!(
                names(&rules.judge(&sample(process, name, quiet), at(0))),
                [""; 0],
                "{name}"
            );
            let first = rules.judge(&sample(process, name, loud), at(10));
            assert_eq!(first.is_empty(), after > 0, "{name}");
            assert_eq!(
                names(&rules.judge(&sample(process, name, loud), at(10 + after))),
                [alert]
            );
            assert_eq!(
                names(&rules.judge(&sample(process, name, quiet), at(1_000))),
                [""; 0],
                "{name}"
            );
        }
    }

    #[test]
    fn a_state_is_told_when_it_has_held_long_enough() {
        let chain = |connected: bool, lag: u64| {
            let mut chain = wavs_ipc::contract::trigger_admin::ChainStatus::idle(
                "evm:1".parse().unwrap(),
                "latest",
                std::iter::empty(),
            );
            (chain.connected, chain.lag) = (connected, Some(lag));
            Sample {
                chains: vec![chain],
                max_lag_blocks: 64,
                ..Sample::default()
            }
        };
        let mut rules = Rules::default();
        let at = Duration::from_secs;
        for (sample, now, expected) in [
            (chain(false, 0), 0, &[][..]),
            (chain(false, 0), 59, &[]),
            (chain(false, 0), 60, &["ChainDown"]),
            (chain(true, 64), 70, &[]),
            (chain(true, 65), 80, &[]),
            (chain(false, 0), 100, &[]),
            (chain(true, 65), 110, &[]),
            (chain(true, 65), 230, &["ChainLag"]),
            (chain(true, 1), 240, &[]),
        ] {
            assert_eq!(names(&rules.judge(&sample, at(now))), expected, "{now}");
        }
        let all = Sample {
            disk: Some((5, 100)),
            open_to_network: true,
            faults: vec![("key of x".into(), "differs".into()), ("store".into(), "full".into())],
            ..Sample::default()
        };
        let found = Rules::default().judge(&all, at(0));
        assert_eq!(names(&found), ["SignerChanged", "StoreNearFull", "ApiOpenToNetwork"]);
        let poor = Sample {
            faults: vec![("account on evm:1".into(), "has 0.1 coins left".into())],
            ..Sample::default()
        };
        let found = Rules::default().judge(&poor, at(0));
        assert_eq!(
            (found[0].name, found[0].subject.as_str()),
            ("LowWalletBalance", "evm:1")
        );
        assert_eq!(names(&Rules::default().judge(&Sample::default(), at(0))), [""; 0]);
    }
}
