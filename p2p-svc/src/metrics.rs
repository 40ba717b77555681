//! What p2p-svc counts.

use wavs_service::Metrics;
use wavs_service::metrics::{Counter, Family, Gauge};

/// The counters of the process.
pub struct NetworkMetrics {
    /// Connected peers.
    pub peers: Gauge,
    /// Connected peers that speak for an operator.
    pub operators: Gauge,
    /// Peers in the meshes of all topics.
    pub mesh: Gauge,
    /// Records by direction and what became of them.
    pub messages: Family<Counter>,
    /// Requests for missed records, by direction and result.
    pub catchup: Family<Counter>,
    /// Records that were missed and got by asking.
    pub caught_up: Counter,
    /// Bytes of records by direction.
    pub bytes: Family<Counter>,
    /// Peers that were turned away, by reason.
    pub banned: Family<Counter>,
}

impl NetworkMetrics {
    /// Registers everything.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            peers: metrics.gauge("wavs.p2p.peers", "Connected peers.", &[]).with(&[]),
            operators: metrics
                .gauge("wavs.p2p.operators", "Connected peers that speak for an operator.", &[])
                .with(&[]),
            mesh: metrics
                .gauge("wavs.p2p.mesh_peers", "Peers in the meshes of all topics.", &[])
                .with(&[]),
            messages: metrics.counter("wavs.p2p.messages", "Records by verdict.", &["direction", "result"]),
            catchup: metrics.counter(
                "wavs.p2p.catchup_requests",
                "Requests for missed records.",
                &["direction", "result"],
            ),
            caught_up: metrics
                .counter(
                    "wavs.p2p.catchup_records",
                    "Records that were missed and got by asking.",
                    &[],
                )
                .with(&[]),
            bytes: metrics.counter("wavs.p2p.bytes", "Bytes of records.", &["direction"]),
            banned: metrics.counter("wavs.p2p.banned", "Peers that were turned away.", &["reason"]),
        }
    }
}
