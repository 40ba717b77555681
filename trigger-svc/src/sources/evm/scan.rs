//! Reading past blocks: `eth_getLogs` over bounded ranges that shrink when a provider refuses them.

use std::time::Duration;

use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log};
use tracing::debug;

use super::occurrence::MinedLog;
use crate::chain_rpc::{ChainError, ChainRpc};
use crate::watch::LogFilter;

/// First pause after an endpoint said that it is busy; each further one is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause; an endpoint that is still busy then is left for the next one.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Ranges of one scan.
#[derive(Debug)]
pub(super) struct Ranges {
    next: u64,
    last: u64,
    span: u64,
    max_span: u64,
}

impl Ranges {
    /// All blocks from `first` to `last`, inclusive: `span` at a time at the beginning, and never more than `max_span`.
    pub(super) fn new(first: u64, last: u64, span: u64, max_span: u64) -> Self {
        let max_span = max_span.max(1);
        Self {
            next: first,
            last,
            span: span.clamp(1, max_span),
            max_span,
        }
    }

    /// How many blocks at a time the endpoint takes, as far as it is known by now.
    pub(super) fn span(&self) -> u64 {
        self.span
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

    /// The current range was refused: take what the provider proposes, if that is a beginning of it, else halve it. False
    /// when it is a single block already.
    pub(super) fn refused(&mut self, proposed: Option<(u64, u64)>) -> bool {
        let Some((from, to)) = self.current().filter(|(from, to)| to > from) else {
            return false;
        };
        self.span = match proposed {
            Some((first, last)) if first == from && last < to => last - first + 1,
            _ => (to - from).div_ceil(2),
        };
        true
    }
}

/// The logs that any of `filters` wants in a range, in the order of the chain. A filter that is refused even for a single
/// block is split; an endpoint that is busy is given time.
pub(super) async fn logs(
    rpc: &ChainRpc,
    filters: impl Iterator<Item = &LogFilter>,
    from: u64,
    to: u64,
) -> Result<Vec<MinedLog>, ChainError> {
    let mut all = Vec::new();
    let mut waiting: Vec<LogFilter> = filters.cloned().collect();
    while let Some(filter) = waiting.pop() {
        match logs_of(rpc, &filter, from, to).await {
            Ok(logs) => all.extend(
                logs.into_iter()
                    .filter_map(MinedLog::new)
                    .filter(|log| (from..=to).contains(&log.block_number)),
            ),
            Err(error) if from == to && error.asks_for_less().is_some() => match filter.split() {
                Some(halves) => waiting.extend(halves),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    all.sort_by_key(|log| (log.block_number, log.log_index));
    Ok(all)
}

async fn logs_of(rpc: &ChainRpc, filter: &LogFilter, from: u64, to: u64) -> Result<Vec<Log>, ChainError> {
    let wire = wire_filter(filter).from_block(from).to_block(to);
    let mut pause = MIN_PAUSE;
    loop {
        match rpc.ask("eth_getLogs", rpc.provider().get_logs(&wire)).await {
            Err(error) if error.is_busy() && pause <= MAX_PAUSE => {
                debug!(%error, ?pause, "the endpoint is busy");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
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
        let mut ranges = Ranges::new(1, 1_000, 400, 400);
        let mut covered = Vec::new();
        let mut refusals = 0;
        while let Some((from, to)) = ranges.current() {
            if to - from + 1 > 100 {
                assert!(ranges.refused(None));
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
    fn a_proposed_range_is_taken_when_it_begins_the_one_that_was_refused() {
        let mut ranges = Ranges::new(10, 1_000, 400, 400);
        assert!(ranges.refused(Some((10, 29))));
        assert_eq!(ranges.current(), Some((10, 29)));
        for useless in [(11, 20), (10, 29), (10, 4_000)] {
            let mut ranges = Ranges::new(10, 29, 400, 400);
            assert!(ranges.refused(Some(useless)));
            assert_eq!(ranges.current(), Some((10, 19)), "{useless:?}");
        }
    }

    #[test]
    fn a_single_block_cannot_be_split_and_an_empty_scan_ends_at_once() {
        let mut ranges = Ranges::new(5, 5, 10, 10);
        assert!(!ranges.refused(None));
        assert_eq!(Ranges::new(6, 5, 10, 10).current(), None);
    }
}
