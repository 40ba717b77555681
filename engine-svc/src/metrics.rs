//! The metrics of engine-svc. Names and labels of the first group are those that existing dashboards use.

use std::time::Duration;

use wavs_service::metrics::{Counter, Family, Histogram};
use wavs_types::{ServiceId, WorkflowId};

use crate::egress::Denials;
use crate::runtime::{Failure, Finished};

const SECONDS: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0];
const FUEL: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
const BYTES: &[f64] = &[1e5, 1e6, 4e6, 1.6e7, 6.4e7, 2.56e8];
const RUN: &[&str] = &["service_id", "workflow_id"];

/// The registered families.
pub(crate) struct Metrics {
    execution_seconds: Family<Histogram>,
    fuel: Family<Histogram>,
    operator_success: Family<Counter>,
    operator_failed: Family<Counter>,
    aggregator_success: Family<Counter>,
    aggregator_failed: Family<Counter>,
    errors: Family<Counter>,
    by_kind: Family<Histogram>,
    memory_peak: Family<Histogram>,
    compile_seconds: Family<Histogram>,
    cache: Family<Counter>,
    code: Family<Counter>,
    quarantined: Family<Counter>,
    full: Family<Counter>,
    denied: Family<Counter>,
}

/// Which kind of component ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Operator,
    Aggregator,
}

impl Metrics {
    pub(crate) fn new(registry: &wavs_service::Metrics) -> Self {
        Self {
            execution_seconds: registry.histogram(
                "engine.execution_seconds",
                "Duration of runs, both kinds of component.",
                RUN,
                SECONDS,
            ),
            fuel: registry.histogram("engine.fuel_consumption", "Fuel used by metered runs.", RUN, FUEL),
            operator_success: registry.counter(
                "engine.operator_executions_success",
                "Operator runs that returned.",
                RUN,
            ),
            operator_failed: registry.counter("engine.operator_executions_failed", "Operator runs that failed.", RUN),
            aggregator_success: registry.counter(
                "engine.aggregator_executions_success",
                "Aggregator runs that returned.",
                RUN,
            ),
            aggregator_failed: registry.counter(
                "engine.aggregator_executions_failed",
                "Aggregator runs that failed.",
                RUN,
            ),
            errors: registry.counter("engine.total_errors", "Failures of the engine by class.", &["error"]),
            by_kind: registry.histogram(
                "wavs.execution_seconds",
                "Duration of runs by kind and outcome.",
                &["kind", "outcome"],
                SECONDS,
            ),
            memory_peak: registry.histogram(
                "wavs.execution.memory_peak_bytes",
                "Peak linear memory of runs.",
                &["kind"],
                BYTES,
            ),
            compile_seconds: registry.histogram("wavs.compile_seconds", "Duration of compilations.", &[], SECONDS),
            cache: registry.counter("wavs.component_cache", "Look-ups of compiled components.", &["result"]),
            code: registry.counter(
                "wavs.compiled_code",
                "Compiled code brought into memory: from the disk, from the compiler, or damaged on the disk.",
                &["from"],
            ),
            quarantined: registry.counter(
                "wavs.component_store.quarantined",
                "Stored components that did not match their digest; they were moved aside and fetched again.",
                &[],
            ),
            full: registry.counter("wavs.queue.full", "Runs refused because a queue was full.", &["queue"]),
            denied: registry.counter(
                "wavs.guest.denied",
                "What guests asked for without a permission: requests to a host, connections to an address, sockets, binding them, and names.",
                &["what"],
            ),
        }
    }

    /// Counts a run that came to its end.
    pub(crate) fn finished(&self, kind: Kind, service: &ServiceId, workflow: &WorkflowId, run: &Finished) {
        let labels = [service.to_string(), workflow.as_str().to_owned()];
        let labels = [labels[0].as_str(), labels[1].as_str()];
        let seconds = Duration::from_micros(run.usage.duration_us).as_secs_f64();
        let (name, outcome) = (kind.as_str(), outcome(run));
        self.execution_seconds.with(&labels).observe(seconds);
        self.by_kind.with(&[name, outcome]).observe(seconds);
        #[allow(clippy::cast_precision_loss, reason = "histograms are approximate")]
        {
            self.memory_peak.with(&[name]).observe(run.usage.memory_peak as f64);
            if let Some(fuel) = run.usage.fuel {
                self.fuel.with(&labels).observe(fuel as f64);
            }
        }
        match (kind, run.result.is_ok()) {
            (Kind::Operator, true) => self.operator_success.with(&labels).inc(),
            (Kind::Operator, false) => self.operator_failed.with(&labels).inc(),
            (Kind::Aggregator, true) => self.aggregator_success.with(&labels).inc(),
            (Kind::Aggregator, false) => self.aggregator_failed.with(&labels).inc(),
        }
        if run.result.is_err() {
            self.error(outcome);
        }
    }

    /// Counts a failure by its class.
    pub(crate) fn error(&self, class: &'static str) {
        self.errors.with(&[class]).inc();
    }

    /// Counts a run that was refused because too many wait.
    pub(crate) fn queue_full(&self) {
        self.full.with(&["runs"]).inc();
    }

    /// Counts what the guest of a run was refused for want of a permission.
    pub(crate) fn denied(&self, denials: &Denials) {
        for (what, count) in denials.counted() {
            self.denied.with(&[what]).add(count);
        }
    }

    pub(crate) fn component_cache(&self, hit: bool) {
        self.cache.with(&[if hit { "hit" } else { "miss" }]).inc();
    }

    pub(crate) fn code(&self, from: CodeFrom) {
        self.code.with(&[from.as_str()]).inc();
    }

    pub(crate) fn quarantined(&self) {
        self.quarantined.with(&[]).inc();
    }

    pub(crate) fn compiled(&self, took: Duration) {
        self.compile_seconds.with(&[]).observe(took.as_secs_f64());
    }
}

/// Where compiled code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodeFrom {
    Disk,
    Compiler,
    Damaged,
}

impl CodeFrom {
    fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Compiler => "compiler",
            Self::Damaged => "damaged",
        }
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Aggregator => "aggregator",
        }
    }
}

fn outcome(run: &Finished) -> &'static str {
    match &run.result {
        Ok(_) => "ok",
        Err(Failure::Guest(error)) => error.class.as_str(),
        Err(Failure::Host(_)) => "host_fault",
        Err(Failure::Conflict(_)) => "conflict",
    }
}
