//! All scheduled routes with the slot that each waits for: no I/O, no timer.

use serde_json::{Value, json};
use tracing::{error, warn};
use wavs_types::TriggerData;

use super::misfire::{MAX_FIRES, Misfire};
use super::slots::Slots;
use crate::metrics::Metrics;
use crate::spool::{Advance, Entry, Mark, Occurrence};
use crate::watch::Route;

/// The scheduled routes.
#[derive(Debug, Default)]
pub(super) struct Board {
    routes: Vec<Scheduled>,
}

#[derive(Debug)]
struct Scheduled {
    route: Route,
    slots: Slots,
    /// The registration, or the newest slot that was released or passed over. It never falls.
    position: u64,
    next: Option<u64>,
    skipped: u64,
}

/// What one commit takes.
#[derive(Default)]
pub(super) struct Release {
    /// Ascending by slot, then in the order of the routes.
    pub occurrences: Vec<Occurrence>,
    /// The routes that moved.
    pub advances: Vec<Advance>,
}

impl Board {
    /// Each route with its stored state. A route without one is registered `now`.
    pub(super) fn new(routes: &[Route], marks: &[Option<Mark>], now: u64) -> Self {
        let scheduled = routes.iter().zip(marks).filter_map(|(route, mark)| {
            let slots = match Slots::of(&route.trigger)? {
                Ok(slots) => slots,
                Err(cause) => {
                    error!(service_id = %route.service_id, workflow_id = %route.workflow_id, cause, "the workflow does not fire; correct the service document");
                    return None;
                }
            };
            let position = mark.map_or(now, |mark| mark.position.unwrap_or(mark.registered_ns));
            let next = slots.after(position).next();
            Some(Scheduled {
                next,
                route: route.clone(),
                slots,
                position,
                skipped: 0,
            })
        });
        Self {
            routes: scheduled.collect(),
        }
    }

    /// The earliest slot that any route waits for.
    pub(super) fn next(&self) -> Option<u64> {
        self.routes.iter().filter_map(|scheduled| scheduled.next).min()
    }

    /// Takes what is due at `now`, a bounded part of it: the caller asks again until there is nothing. Hits of paused
    /// routes are dropped, and their schedule goes on.
    pub(super) fn release(&mut self, now: u64, misfire: Misfire, metrics: &Metrics) -> Option<Release> {
        let mut release = Release::default();
        let mut hits = Vec::new();
        for scheduled in self
            .routes
            .iter_mut()
            .filter(|scheduled| scheduled.next.is_some_and(|next| next <= now))
        {
            let Some(due) = misfire.due(&scheduled.slots, scheduled.position, now) else {
                continue;
            };
            scheduled.position = due.position;
            scheduled.next = scheduled.slots.after(due.position).next();
            scheduled.skipped += due.skipped;
            let route = &scheduled.route;
            if due.skipped > 0 {
                warn!(service_id = %route.service_id, workflow_id = %route.workflow_id, skipped = due.skipped, "missed times of the schedule are passed over");
                metrics.dropped_many("cron_missed", due.skipped);
            }
            for slot in due.fires {
                let data = TriggerData::Cron { trigger_time: slot };
                hits.extend(Entry::fired(route, &source_key(slot), data, metrics).map(|entry| (slot, entry)));
            }
            release.advances.push(Advance::new(route, None, Some(due.position)));
            if hits.len() >= MAX_FIRES {
                break;
            }
        }
        // Stable, so that routes keep their order within a slot.
        hits.sort_by_key(|(slot, _)| *slot);
        release.occurrences = hits
            .into_iter()
            .map(|(slot, entry)| Occurrence::Seen {
                source_key: source_key(slot),
                height: super::seconds(slot),
                entries: vec![entry],
            })
            .collect();
        (!release.advances.is_empty()).then_some(release)
    }

    /// The entries of the stream listing.
    pub(super) fn to_json(&self) -> Value {
        let entry = |scheduled: &Scheduled| {
            json!({
                "service_id": scheduled.route.service_id,
                "workflow_id": scheduled.route.workflow_id,
                "active": scheduled.route.active,
                "cursor": scheduled.position,
                "next": scheduled.next,
                "skipped": scheduled.skipped,
            })
        };
        self.routes.iter().map(entry).collect()
    }
}

/// Durable identity of one slot.
fn source_key(slot: u64) -> String {
    format!("cron/{slot}")
}
