//! What a run came to, in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Plan;
use crate::audit::Findings;

/// A process that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Victim {
    /// trigger-svc.
    Trigger,
    /// engine-svc.
    Engine,
    /// aggregator-svc.
    Aggregator,
    /// p2p-svc.
    P2p,
    /// The supervisor, in systemd mode.
    Supervisor,
}

impl Victim {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Trigger,
        Self::Engine,
        Self::Aggregator,
        Self::P2p,
        Self::Supervisor,
    ];

    /// The name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trigger => "trigger-svc",
            Self::Engine => "engine-svc",
            Self::Aggregator => "aggregator-svc",
            Self::P2p => "p2p-svc",
            Self::Supervisor => "supervisor",
        }
    }

    /// The name of its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Trigger => "wavs-trigger",
            Self::Engine => "wavs-engine",
            Self::Aggregator => "wavs-aggregator",
            Self::P2p => "wavs-p2p",
            Self::Supervisor => "wavs",
        }
    }
}

/// How one process fared.
#[derive(Debug, Clone, Default)]
pub(super) struct Kills {
    /// How often it was killed.
    pub(super) count: u64,
    /// How long it was away, each time that it came back before it was killed again.
    pub(super) recoveries: Vec<Duration>,
}

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// `run` or `systemd`.
    pub mode: &'static str,
    /// The seed.
    pub seed: u64,
    /// Events that were emitted.
    pub events: u64,
    /// Seconds from the first event until everything was done.
    pub seconds: f64,
    /// A row per process.
    pub processes: Vec<Process>,
    /// What was counted afterwards.
    #[serde(flatten)]
    pub findings: Findings,
}

/// How one process fared, in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Process {
    /// Which one.
    pub process: &'static str,
    /// How often it was killed.
    pub kills: u64,
    /// How often its return was measured: not when it was killed again before.
    pub measured: usize,
    /// Median time until it answered again, in milliseconds.
    pub recovery_p50_ms: Option<f64>,
    /// 99th percentile of it.
    pub recovery_p99_ms: Option<f64>,
}

impl Outcome {
    pub(super) fn new(plan: &Plan, kills: BTreeMap<Victim, Kills>, findings: Findings, took: Duration) -> Self {
        let process = |(victim, kills): (Victim, Kills)| {
            let mut times: Vec<_> = kills
                .recoveries
                .iter()
                .map(|time| time.as_secs_f64() * 1_000.0)
                .collect();
            times.sort_by(f64::total_cmp);
            Process {
                process: victim.name(),
                kills: kills.count,
                measured: times.len(),
                recovery_p50_ms: percentile(&times, 50),
                recovery_p99_ms: percentile(&times, 99),
            }
        };
        Self {
            mode: plan.mode.as_str(),
            seed: plan.seed,
            events: plan.events,
            seconds: took.as_secs_f64(),
            processes: kills.into_iter().map(process).collect(),
            findings,
        }
    }

    /// Whether every event landed exactly once and nothing else is wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.landed == self.events && self.findings.clean()
    }

    /// How many processes were killed.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.processes.iter().map(|process| process.kills).sum()
    }
}

/// The smallest value that is at least as large as `percent` of all; `sorted` ascends.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Mode;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert_eq!(percentile(&[], 99), None);
        assert_eq!(percentile(&[3.0], 50), Some(3.0));
        let hundred: Vec<_> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (percentile(&hundred, 50), percentile(&hundred, 99)),
            (Some(50.0), Some(99.0))
        );
    }

    #[test]
    fn anything_wrong_fails_the_run() {
        let right = Findings {
            landed: 2,
            lost: Vec::new(),
            duplicated: Vec::new(),
            signatures: Vec::new(),
            unfinished: Vec::new(),
            damaged: Vec::new(),
            files: 3,
            reverted: 0,
        };
        let plan = Plan {
            mode: Mode::Run,
            events: 2,
            seed: 1,
            pace: Duration::ZERO,
            block_time: None,
            binaries: None,
            evidence: "none".into(),
        };
        let passed = |change: &dyn Fn(&mut Findings)| {
            let mut findings = right.clone();
            change(&mut findings);
            Outcome::new(&plan, BTreeMap::new(), findings, Duration::ZERO).passed()
        };
        assert!(passed(&|_| ()));
        assert!(!passed(&|findings| findings.landed = 1));
        assert!(!passed(&|findings| findings.lost.push(1)));
        assert!(!passed(&|findings| findings.duplicated.push(1)));
        assert!(!passed(&|findings| findings.signatures.push("two".into())));
        assert!(!passed(&|findings| findings.unfinished.push("job".into())));
        assert!(!passed(&|findings| findings.damaged.push("kv.db".into())));
        assert!(!passed(&|findings| findings.reverted = 1));
    }
}
