//! What trigger-svc counts.

use wavs_service::metrics::{self as registry, Counter, Family, Gauge};
use wavs_types::ChainKey;

/// The counters of this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Metrics {
    fired: Family<Counter>,
    dropped: Family<Counter>,
    head: Family<Gauge>,
    processed: Family<Gauge>,
    lag: Family<Gauge>,
    connected: Family<Gauge>,
    reconnects: Family<Counter>,
    reorgs: Family<Counter>,
    skipped: Family<Counter>,
    backfilled: Family<Counter>,
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new(registry: &registry::Metrics) -> Self {
        Self {
            fired: registry.counter(
                "trigger.triggers_fired",
                "Triggers written to the spool.",
                &["chain", "type"],
            ),
            dropped: registry.counter(
                "wavs.trigger.dropped",
                "What was seen and not used, by reason.",
                &["reason"],
            ),
            head: registry.gauge("wavs.chain.head", "Highest block seen.", &["chain"]),
            processed: registry.gauge(
                "wavs.chain.processed",
                "Last block that was looked at completely.",
                &["chain"],
            ),
            lag: registry.gauge(
                "wavs.chain.lag_blocks",
                "Blocks between the head and the last one looked at.",
                &["chain"],
            ),
            reorgs: registry.counter(
                "wavs.chain.reorgs",
                "Times that remembered blocks had left the chain.",
                &["chain"],
            ),
            connected: registry.gauge("wavs.chain.connected", "1 while the chain is followed.", &["chain"]),
            reconnects: registry.counter("wavs.chain.reconnects", "Connections lost.", &["chain"]),
            skipped: registry.counter(
                "wavs.chain.skipped_blocks",
                "Blocks of gaps that were too long to read.",
                &["chain"],
            ),
            backfilled: registry.counter(
                "wavs.chain.backfilled_blocks",
                "Blocks read with eth_getLogs.",
                &["chain"],
            ),
        }
    }

    /// Counts the triggers of a kind on a chain.
    pub(crate) fn fired(&self, chain: Option<&ChainKey>, kind: &'static str) -> Counter {
        self.fired.with(&[chain.map_or("", ChainKey::as_str), kind])
    }

    pub(crate) fn dropped(&self, reason: &'static str) {
        self.dropped.with(&[reason]).inc();
    }

    pub(crate) fn dropped_many(&self, reason: &'static str, count: u64) {
        self.dropped.with(&[reason]).add(count);
    }

    /// A new head, with the last block that was looked at.
    pub(crate) fn head(&self, chain: &ChainKey, height: u64, cursor: Option<u64>) {
        self.head.with(&[chain.as_str()]).set(signed(height));
        if let Some(cursor) = cursor {
            self.processed.with(&[chain.as_str()]).set(signed(cursor));
            self.lag
                .with(&[chain.as_str()])
                .set(signed(height.saturating_sub(cursor)));
        }
    }

    pub(crate) fn gap(&self, chain: &ChainKey, blocks: u64) {
        self.skipped.with(&[chain.as_str()]).add(blocks);
    }

    pub(crate) fn backfilled(&self, chain: &ChainKey, blocks: u64) {
        self.backfilled.with(&[chain.as_str()]).add(blocks);
    }

    pub(crate) fn reorganised(&self, chain: &ChainKey) {
        self.reorgs.with(&[chain.as_str()]).inc();
    }

    pub(crate) fn connected(&self, chain: &ChainKey, connected: bool) {
        self.connected.with(&[chain.as_str()]).set(i64::from(connected));
    }

    pub(crate) fn reconnect(&self, chain: &ChainKey) {
        self.reconnects.with(&[chain.as_str()]).inc();
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
