//! The block intervals of one chain: which routes fire when the chain reaches a height.
//!
//! The session of the chain tells each new head; every height up to it is looked at, so a head that was never reported
//! shifts nothing. What fires and how far each route has come are one commit. The state is read from the spool whenever
//! the routes change: it survives restarts and updates of a service, as long as the definition is the same.

mod rule;

use std::collections::BTreeMap;

use tracing::warn;
use wavs_service::config::CatchUp;
use wavs_types::{ChainKey, ServiceId, Trigger, TriggerData, WorkflowId};

use crate::metrics::Metrics;
use crate::spool::{Advance, Entry, Occurrence, Spool, SpoolError};
use crate::watch::Route;
use rule::{MAX_FIRES, Progress, Rule};

/// The switches of block intervals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntervalOptions {
    /// Whether the first target at or above the end fires.
    pub fire_after_end: bool,
    /// Which targets fire that were missed while the chain was not followed.
    pub catch_up: CatchUp,
}

/// The block intervals of one chain, for one connection.
#[derive(Debug)]
pub(crate) struct BlockIntervals {
    chain: ChainKey,
    options: IntervalOptions,
    /// What becomes of the heights below the next head.
    missed: CatchUp,
    routes: Vec<IntervalRoute>,
}

/// One route as the stream listing shows it.
#[derive(Debug, Clone)]
pub(crate) struct IntervalStatus {
    /// The service.
    pub service_id: ServiceId,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Where its targets are counted from; absent before the first height.
    pub anchor: Option<u64>,
    /// The height that fires next; absent before the first height and after the end.
    pub next: Option<u64>,
}

#[derive(Debug)]
struct IntervalRoute {
    route: Route,
    rule: Rule,
    /// Absent until a height above the registration is known.
    progress: Option<Progress>,
    /// The height of the registration, so that nothing up to it fires.
    since: Option<u64>,
}

impl BlockIntervals {
    /// No routes yet.
    pub(crate) fn new(chain: &ChainKey, options: IntervalOptions) -> Self {
        Self {
            chain: chain.clone(),
            options,
            missed: options.catch_up,
            routes: Vec::new(),
        }
    }

    /// Takes the routes and reads how far they have come. `head` is the height that the connection knows already: a route
    /// whose registration height is not known begins above it.
    ///
    /// # Errors
    /// When the spool fails.
    pub(crate) async fn load(&mut self, routes: &[Route], head: Option<u64>, spool: &Spool) -> Result<(), SpoolError> {
        let marks = spool.marks(routes).await?;
        let routes = routes.iter().zip(marks).filter_map(|(route, mark)| {
            let mark = mark.unwrap_or_default();
            Some(IntervalRoute {
                rule: rule_of(&route.trigger, self.options)?,
                progress: mark.anchor.map(|anchor| Progress {
                    anchor,
                    next: mark.position,
                }),
                since: route.since.or(head),
                route: route.clone(),
            })
        });
        self.routes = routes.collect();
        Ok(())
    }

    /// The chain has reached `head`: records what that means. At the first call the heights before it were missed, and
    /// the configured policy says which of them fire; afterwards all do. Answers whether anything fired.
    ///
    /// # Errors
    /// When the spool fails; the routes must be loaded again then.
    pub(crate) async fn reach(&mut self, head: u64, spool: &Spool, metrics: &Metrics) -> Result<bool, SpoolError> {
        let missed = std::mem::replace(&mut self.missed, CatchUp::All);
        let mut fired = false;
        let mut batch = Batch::default();
        // Some clients report the genesis block as a head; it fires nothing.
        for interval in self.routes.iter_mut().filter(|_| head > 0) {
            let advance = interval.step(&self.chain, head, missed, &mut batch, metrics);
            batch.advances.extend(advance);
            if batch.fires >= MAX_FIRES {
                fired |= std::mem::take(&mut batch).record(&self.chain, spool).await?;
            }
        }
        Ok(fired | batch.record(&self.chain, spool).await?)
    }

    /// What the stream listing shows.
    pub(crate) fn status(&self) -> Vec<IntervalStatus> {
        let status = |interval: &IntervalRoute| IntervalStatus {
            service_id: interval.route.service_id,
            workflow_id: interval.route.workflow_id.clone(),
            anchor: interval.progress.map(|progress| progress.anchor),
            next: interval.progress.and_then(|progress| progress.next),
        };
        self.routes.iter().map(status).collect()
    }
}

impl IntervalRoute {
    /// Moves on to `head`; answers the progress to be stored when it changed.
    fn step(
        &mut self,
        chain: &ChainKey,
        head: u64,
        missed: CatchUp,
        batch: &mut Batch,
        metrics: &Metrics,
    ) -> Option<Advance> {
        let before = self.progress;
        let progress = before.unwrap_or_else(|| self.rule.begin(self.since.map_or(head, |since| since + 1)));
        let step = self.rule.advance(progress, head, missed);
        self.progress = Some(step.progress);
        if step.skipped > 0 {
            let Route {
                service_id,
                workflow_id,
                ..
            } = &self.route;
            warn!(%chain, %service_id, %workflow_id, skipped = step.skipped, "block interval: missed heights are passed over");
            metrics.dropped_many("block_interval_missed", step.skipped);
        }
        for height in step.fires {
            batch.fires += 1;
            let data = TriggerData::BlockInterval {
                chain: chain.clone(),
                block_height: height,
            };
            let entry = Entry::fired(&self.route, &source_key(chain, height), data, metrics);
            batch.entries.entry(height).or_default().extend(entry);
        }
        (before != self.progress).then(|| Advance::new(&self.route, Some(step.progress.anchor), step.progress.next))
    }
}

/// What one commit takes.
#[derive(Default)]
struct Batch {
    /// By height, so that the spool has them in the order of the chain; within a height in the order of the routes.
    entries: BTreeMap<u64, Vec<Entry>>,
    advances: Vec<Advance>,
    fires: u64,
}

impl Batch {
    async fn record(self, chain: &ChainKey, spool: &Spool) -> Result<bool, SpoolError> {
        if self.advances.is_empty() {
            return Ok(false);
        }
        let seen = self.entries.into_iter().filter(|(_, entries)| !entries.is_empty());
        let occurrences: Vec<_> = seen
            .map(|(height, entries)| Occurrence::Seen {
                source_key: source_key(chain, height),
                height,
                entries,
            })
            .collect();
        let fired = !occurrences.is_empty();
        // The keys of the chain's blocks are forgotten together with those of its logs.
        spool
            .record_clock(chain.as_str(), occurrences, self.advances, None)
            .await?;
        Ok(fired)
    }
}

/// Durable identity of one height of one chain.
fn source_key(chain: &ChainKey, height: u64) -> String {
    format!("{chain}/block/{height}")
}

fn rule_of(trigger: &Trigger, options: IntervalOptions) -> Option<Rule> {
    let Trigger::BlockInterval {
        n_blocks,
        start_block,
        end_block,
        ..
    } = trigger
    else {
        return None;
    };
    Some(Rule {
        n_blocks: n_blocks.get().into(),
        start_block: start_block.map(Into::into),
        end_block: end_block.map(Into::into),
        fire_after_end: options.fire_after_end,
    })
}

#[cfg(test)]
mod tests;
