//! Reading past blocks: `eth_getLogs` over bounded ranges that shrink when a provider refuses them.

use alloy::providers::Provider;
use alloy::rpc::types::Filter;

use super::occurrence::MinedLog;
use crate::chain_rpc::{ChainError, ChainRpc};
use crate::watch::LogFilter;

/// Ranges of one scan.
#[derive(Debug)]
pub(super) struct Ranges {
    next: u64,
    last: u64,
    span: u64,
    max_span: u64,
}

impl Ranges {
    /// All blocks from `first` to `last`, inclusive, at most `max_span` at a time.
    pub(super) fn new(first: u64, last: u64, max_span: u64) -> Self {
        let max_span = max_span.max(1);
        Self {
            next: first,
            last,
            span: max_span,
            max_span,
        }
    }

    /// The range to read now.
    pub(super) fn current(&self) -> Option<(u64, u64)> {
        (self.next <= self.last).then(|| (self.next, self.last.min(self.next.saturating_add(self.span - 1))))
    }

    /// The current range was read: go on, with ranges that grow again slowly.
    pub(super) fn read(&mut self) {
        if let Some((_, end)) = self.current() {
            self.next = end + 1;
            self.span = (self.span + self.span.div_ceil(4)).min(self.max_span);
        }
    }

    /// The current range was refused: halve it. False when it is a single block already.
    pub(super) fn refused(&mut self) -> bool {
        let shrinkable = self.current().is_some_and(|(from, to)| to > from);
        if shrinkable {
            self.span = (self.span / 2).max(1);
        }
        shrinkable
    }
}

/// The logs that any of `filters` wants in a range, in the order of the chain.
pub(super) async fn logs(
    rpc: &ChainRpc,
    filters: impl Iterator<Item = &LogFilter>,
    from: u64,
    to: u64,
) -> Result<Vec<MinedLog>, ChainError> {
    let mut all = Vec::new();
    for filter in filters {
        let filter = wire_filter(filter).from_block(from).to_block(to);
        let logs = rpc.ask("eth_getLogs", rpc.provider().get_logs(&filter)).await?;
        all.extend(logs.into_iter().filter_map(MinedLog::new));
    }
    all.sort_by_key(|log| (log.block_number, log.log_index));
    Ok(all)
}

/// The filter as the RPC interface takes it.
pub(super) fn wire_filter(filter: &LogFilter) -> Filter {
    Filter::new()
        .address(filter.addresses.clone())
        .event_signature(filter.topics.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_block_once_and_shrink_and_grow() {
        let mut ranges = Ranges::new(1, 1_000, 400);
        let mut covered = Vec::new();
        let mut refusals = 0;
        while let Some((from, to)) = ranges.current() {
            if to - from + 1 > 100 {
                assert!(ranges.refused());
                refusals += 1;
            } else {
                covered.extend(from..=to);
                ranges.read();
            }
        }
        assert_eq!(covered, (1..=1_000).collect::<Vec<_>>());
        assert!(refusals > 2);
    }

    #[test]
    fn a_single_block_cannot_be_split_and_an_empty_scan_ends_at_once() {
        let mut ranges = Ranges::new(5, 5, 10);
        assert!(!ranges.refused());
        assert_eq!(Ranges::new(6, 5, 10).current(), None);
    }
}
