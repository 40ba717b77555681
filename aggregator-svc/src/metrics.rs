//! What aggregator-svc counts. Names and labels of the first group are those that existing dashboards know.

use wavs_service::Metrics;
use wavs_service::metrics::{Counter, Family, Gauge, Histogram};
use wavs_types::{ServiceId, WorkflowId};

/// Longest service name in a label, in bytes.
const MAX_NAME: usize = 64;

const SERVICE: &[&str] = &["service_name", "service_id", "workflow_id"];

/// Which workflow something is counted for.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// Name in the document.
    pub name: &'a str,
    /// The service.
    pub service: &'a ServiceId,
    /// The workflow.
    pub workflow: &'a WorkflowId,
}

/// The counters of the process.
pub struct PipelineMetrics {
    /// Responses that came to be signed.
    pub requests: Family<Counter>,
    /// Envelopes signed.
    pub signed: Family<Counter>,
    /// Envelopes that were not signed.
    pub sign_errors: Family<Counter>,
    /// Signatures taken into a bucket.
    pub received: Family<Counter>,
    /// Actions of aggregator components.
    pub actions: Family<Counter>,
    /// Transactions handed to the transaction manager.
    pub submits: Family<Counter>,
    /// Registered services.
    pub services: Gauge,
    /// Services with as many open events as they may have.
    pub full_services: Gauge,
    /// Components that are not run because engine-svc dies of them.
    pub quarantined_components: Gauge,
    /// How long the oldest target has waited for signatures.
    pub oldest_quorum_seconds: Gauge,
    /// Refused second digests.
    pub equivocation: Family<Counter>,
    /// Jobs that ended in a dead letter, by reason.
    pub dead_letters: Family<Counter>,
    /// Triggers that became no job, by reason.
    pub dropped: Family<Counter>,
    /// Runs by kind and outcome.
    pub execution_seconds: Family<Histogram>,
    /// From the trigger seen to the transaction mined.
    pub end_to_end_seconds: Histogram,
    /// Links to other processes that failed during a call.
    pub link_errors: Family<Counter>,
    /// Records of other operators that did not count, by reason.
    pub peer_refused: Family<Counter>,
    /// Second digests that another operator signed for an event.
    pub equivocation_seen: Family<Counter>,
    /// Envelopes of other operators that differ from this node's own result.
    pub divergent: Family<Counter>,
    /// Events that collect signatures or wait to land.
    pub quorum_open: Gauge,
    /// Targets that came to have enough weight.
    pub quorum_reached: Family<Counter>,
    /// From the first signature of an event to enough weight.
    pub quorum_wait_seconds: Histogram,
    /// Transactions by the stage of transmission in which this node sent them.
    pub posted: Family<Counter>,
    /// Targets that landed, by whose transaction it was.
    pub landed: Family<Counter>,
    /// Failed updates of services.
    pub update_failures: Counter,
}

impl PipelineMetrics {
    /// Registers everything.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counter("submission.request_count", "Responses that came to be signed.", SERVICE),
            signed: metrics.counter("submission.sign_count", "Envelopes signed.", SERVICE),
            sign_errors: metrics.counter(
                "submission.sign_error_count",
                "Envelopes that were not signed.",
                SERVICE,
            ),
            received: metrics.counter("aggregator.receive_count", "Signatures taken into a bucket.", SERVICE),
            actions: metrics.counter("aggregator.action_count", "Actions of aggregator components.", SERVICE),
            submits: metrics.counter(
                "aggregator.submit_count",
                "Transactions handed over for submission.",
                SERVICE,
            ),
            services: metrics
                .gauge("http.registered_services", "Registered services.", &[])
                .with(&[]),
            full_services: metrics
                .gauge(
                    "wavs.service.full",
                    "Services with as many open events as they may have.",
                    &[],
                )
                .with(&[]),
            quarantined_components: metrics
                .gauge(
                    "wavs.component.quarantined",
                    "Components that are not run because engine-svc dies of them.",
                    &[],
                )
                .with(&[]),
            oldest_quorum_seconds: metrics
                .gauge(
                    "wavs.quorum.oldest_seconds",
                    "How long the oldest target has waited for signatures.",
                    &[],
                )
                .with(&[]),
            equivocation: metrics.counter(
                "wavs.equivocation_refused",
                "Second digests that were not signed.",
                &["service_id"],
            ),
            dead_letters: metrics.counter("wavs.job.dead_letters", "Jobs that failed.", &["reason"]),
            dropped: metrics.counter("wavs.job.dropped", "Triggers that became no job.", &["reason"]),
            execution_seconds: metrics.histogram(
                "wavs.execution_seconds",
                "Time of guest runs as this process sees it.",
                &["kind", "outcome"],
                &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0],
            ),
            end_to_end_seconds: metrics
                .histogram(
                    "wavs.job.end_to_end_seconds",
                    "From the trigger seen to the transaction mined.",
                    &[],
                    &[0.01, 0.03, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0],
                )
                .with(&[]),
            peer_refused: metrics.counter(
                "wavs.quorum.rejected",
                "Records of other operators that did not count.",
                &["reason"],
            ),
            equivocation_seen: metrics.counter(
                "wavs.equivocation_seen",
                "Second digests that another operator signed for an event.",
                &["service_id", "signer"],
            ),
            divergent: metrics.counter(
                "wavs.quorum.divergent",
                "Envelopes of other operators that differ from the own result.",
                &["service_id", "signer"],
            ),
            quorum_open: metrics
                .gauge(
                    "wavs.quorum.open",
                    "Events that collect signatures or wait to land.",
                    &[],
                )
                .with(&[]),
            quorum_reached: metrics.counter(
                "wavs.quorum.reached",
                "Targets that came to have enough weight.",
                SERVICE,
            ),
            quorum_wait_seconds: metrics
                .histogram(
                    "wavs.quorum.wait_seconds",
                    "From the first signature of an event to enough weight.",
                    &[],
                    &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3_600.0],
                )
                .with(&[]),
            posted: metrics.counter(
                "wavs.tx.posted",
                "Transactions by the stage of transmission in which they were sent.",
                &["stage"],
            ),
            landed: metrics.counter("wavs.tx.landed", "Targets that landed, by whose transaction.", &["by"]),
            link_errors: metrics.counter(
                "dispatcher.channel_closed_errors",
                "Links to other processes that failed.",
                &["channel"],
            ),
            update_failures: metrics
                .counter("wavs.service.update_failures", "Updates of services that failed.", &[])
                .with(&[]),
        }
    }

    /// Counts one for a workflow.
    pub fn count(&self, family: &Family<Counter>, of: Of<'_>) {
        let cut = (0..=MAX_NAME.min(of.name.len()))
            .rev()
            .find(|at| of.name.is_char_boundary(*at))
            .unwrap_or(0);
        family
            .with(&[&of.name[..cut], &of.service.to_string(), of.workflow.as_str()])
            .inc();
    }
}
