//! Metrics of RPC requests, transactions and the posting wallet.

use std::time::Duration;

use wavs_service::metrics::{Counter, Family, Gauge, Histogram, Metrics};

/// Bounds of RPC times in seconds: from a node on this machine to a slow provider.
const RPC_SECONDS: &[f64] = &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The metrics of this module. Chains are labelled by key; methods, classes and reasons are closed sets.
pub struct ChainMetrics {
    rpc_seconds: Family<Histogram>,
    rpc_errors: Family<Counter>,
    submitted: Family<Counter>,
    confirmed: Family<Counter>,
    reverted: Family<Counter>,
    replaced: Family<Counter>,
    cost: Family<Counter>,
    pending: Family<Gauge>,
    balance: Family<Gauge>,
    funds: Family<Gauge>,
    nonce_gap: Family<Gauge>,
    foreign: Family<Counter>,
    cancelled: Family<Counter>,
}

impl ChainMetrics {
    /// Registers all families. Call once per registry.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            rpc_seconds: metrics.histogram(
                "wavs.chain.rpc_seconds",
                "Time of chain RPC requests.",
                &["method"],
                RPC_SECONDS,
            ),
            rpc_errors: metrics.counter(
                "wavs.chain.rpc_errors",
                "Chain RPC requests without a usable answer.",
                &["class"],
            ),
            submitted: metrics.counter(
                "wavs.tx.submitted",
                "Transactions stored and handed to the chain.",
                &["chain"],
            ),
            confirmed: metrics.counter("wavs.tx.confirmed", "Transactions mined with success.", &["chain"]),
            reverted: metrics.counter(
                "wavs.tx.reverted",
                "Transactions mined without effect.",
                &["chain", "reason"],
            ),
            replaced: metrics.counter(
                "wavs.tx.replaced",
                "Transactions replaced with a higher fee.",
                &["chain"],
            ),
            cost: metrics.counter("wavs.tx.cost", "Fees paid, in gwei.", &["chain"]),
            pending: metrics.gauge("wavs.tx.pending", "Transactions that are in no block yet.", &["chain"]),
            balance: metrics.gauge(
                "wavs.wallet.balance",
                "Balance of the posting account, in gwei.",
                &["chain"],
            ),
            funds: metrics.gauge(
                "wavs.wallet.funds",
                "Whether the posting account can pay: 0 well, 1 low, 2 critical, 3 a transaction waits for funds.",
                &["chain"],
            ),
            foreign: metrics.counter(
                "wavs.tx.foreign",
                "Nonces of the posting account that somebody else used.",
                &["chain"],
            ),
            cancelled: metrics.counter(
                "wavs.tx.cancelled",
                "Transactions replaced by an empty one that only uses up the nonce.",
                &["chain"],
            ),
            nonce_gap: metrics.gauge(
                "wavs.wallet.nonce_gap",
                "Missing nonces below own pending transactions.",
                &["chain"],
            ),
        }
    }

    pub(super) fn rpc(&self, method: &'static str, elapsed: Duration) {
        self.rpc_seconds.with(&[method]).observe(elapsed.as_secs_f64());
    }

    pub(super) fn rpc_error(&self, class: &'static str) {
        self.rpc_errors.with(&[class]).inc();
    }

    pub(super) fn submitted(&self, chain: &str) {
        self.submitted.with(&[chain]).inc();
    }

    pub(super) fn confirmed(&self, chain: &str, cost_gwei: u64) {
        self.confirmed.with(&[chain]).inc();
        self.cost.with(&[chain]).add(cost_gwei);
    }

    pub(super) fn reverted(&self, chain: &str, reason: &'static str, cost_gwei: u64) {
        self.reverted.with(&[chain, reason]).inc();
        self.cost.with(&[chain]).add(cost_gwei);
    }

    pub(super) fn replaced(&self, chain: &str) {
        self.replaced.with(&[chain]).inc();
    }

    pub(super) fn pending(&self, chain: &str) -> Gauge {
        self.pending.with(&[chain])
    }

    pub(super) fn balance(&self, chain: &str, gwei: i64) {
        self.balance.with(&[chain]).set(gwei);
    }

    pub(super) fn funds(&self, chain: &str, level: i64) {
        self.funds.with(&[chain]).set(level);
    }

    pub(super) fn foreign(&self, chain: &str, nonces: u64) {
        self.foreign.with(&[chain]).add(nonces);
    }

    pub(super) fn cancelled(&self, chain: &str) {
        self.cancelled.with(&[chain]).inc();
    }

    pub(super) fn nonce_gap(&self, chain: &str, missing: usize) {
        self.nonce_gap
            .with(&[chain])
            .set(i64::try_from(missing).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
impl Default for ChainMetrics {
    fn default() -> Self {
        Self::new(&Metrics::new())
    }
}
