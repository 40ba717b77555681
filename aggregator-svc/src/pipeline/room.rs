//! How many events one service may have open at once: `aggregator.max_open_events`.
//!
//! A service whose results do not land (nobody signs with it, its handler refuses, its chain is down) would otherwise fill the
//! ledger. At the cap its jobs stay in `received`, on disk and not in memory, while all other services go on; when a tenth of
//! its events have ended it goes on by itself. What other operators alone signed is counted apart ([`crate::peers`]), so
//! that none of them can stop this node's own work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wavs_store::StoreError;

use super::core::Core;
use crate::ledger::events;
use crate::registry::directory::Entry;

/// How often the events of a full service are counted.
const LOOK: Duration = Duration::from_millis(500);

/// The room of one service. Kept over updates of its document; counted anew after a restart.
pub struct Room {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// At least as many events are open. Every run that begins counts one, whether it leads to an event or not, and the ledger
    /// is asked when the limit is reached; a run that gives several events may go beyond the limit by those.
    open: u64,
    /// Runs under way, whose events the ledger does not know yet.
    running: u64,
    /// Runs that have ended since the process started.
    ended: u64,
    full: bool,
}

/// Held by a job while it runs.
pub struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running -= 1;
        state.ended += 1;
    }
}

impl Room {
    /// The room of a service that may have `limit` events open.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        let state = State {
            // Nothing is known of the ledger yet, so the first run has it asked.
            open: limit,
            ..State::default()
        };
        Arc::new(Self {
            limit,
            state: Mutex::new(state),
        })
    }

    /// Whether the service has as many open events as it may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state().full
    }

    /// Why its jobs wait, if they do.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let limit = self.limit;
        self.is_full().then(|| {
            format!(
                "{limit} events of this service are open, the most that aggregator.max_open_events allows: its triggers wait until some have \
                 landed or expired; see /v1/quorums and /v1/transactions for what holds them up"
            )
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a few assignments, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place without asking the ledger; how many runs have ended, if it has to be asked.
    fn take(self: &Arc<Self>) -> Result<Place, u64> {
        let mut state = self.state();
        if state.full || state.open >= self.limit {
            return Err(state.ended);
        }
        state.open += 1;
        state.running += 1;
        Ok(Place(Arc::clone(self)))
    }

    /// Takes over how many events are `open` in the ledger. Runs that ended since it was asked, when there were `ended`, may have led
    /// to events that it did not count.
    fn counted(&self, open: u64, ended: u64) {
        let mut state = self.state();
        let go_on = if state.full {
            // Not at each single event that ends: then nearly every run would have them counted.
            self.limit - (self.limit / 10).max(1)
        } else {
            self.limit - 1
        };
        state.open = open + state.running + (state.ended - ended);
        state.full = state.open > go_on;
    }
}

/// A place for a job of a service; nothing while the service is full.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) async fn enter(core: &Core, entry: &Entry) -> Result<Option<Place>, StoreError> {
    let ended = match entry.room.take() {
        Ok(place) => return Ok(Some(place)),
        Err(_) if entry.room.is_full() => return Ok(None),
        Err(ended) => ended,
    };
    look(core, entry, ended).await?;
    if entry.room.is_full() {
        tracing::warn!(service_id = %entry.id(), limit = entry.room.limit, "a service has as many open events as it may have; its triggers wait");
        core.filled.notify_one();
    }
    Ok(entry.room.take().ok())
}

async fn look(core: &Core, entry: &Entry, ended: u64) -> Result<(), StoreError> {
    let service = entry.id();
    let open = core
        .ledger
        .read(move |conn| events::open_of_own(conn, &service))
        .await?;
    entry.room.counted(open, ended);
    Ok(())
}

/// Services that are full.
pub(super) fn full(core: &Core) -> Vec<Arc<Entry>> {
    let services = core.directory.services();
    services
        .values()
        .filter(|entry| entry.room.is_full())
        .cloned()
        .collect()
}

/// Lets full services go on when they have room again, until `stop`.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    let watching = async {
        loop {
            core.filled.notified().await;
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                let full = full(&core);
                core.metrics
                    .full_services
                    .set(i64::try_from(full.len()).unwrap_or(i64::MAX));
                if full.is_empty() {
                    break;
                }
                for entry in full {
                    let ended = entry.room.state().ended;
                    if let Err(cause) = look(&core, &entry, ended).await {
                        tracing::debug!(%cause, "the open events of a full service could not be counted; trying again");
                    }
                    if !entry.room.is_full() {
                        tracing::info!(service_id = %entry.id(), "a service has room for events again");
                        core.execute.reload();
                    }
                }
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(watching).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_fills_up_and_goes_on_when_a_tenth_is_free() {
        let room = Room::new(20);
        assert_eq!(room.take().err(), Some(0), "the ledger is asked first");
        room.counted(18, 0);
        let places = [room.take().unwrap(), room.take().unwrap()];
        assert_eq!(room.take().err(), Some(0));
        drop(places);
        // The two runs ended before the ledger was asked; one of them led to no event.
        room.counted(19, 2);
        drop(room.take().unwrap());
        // One ended meanwhile: its event may be among the 19, or not.
        room.counted(19, 2);
        assert!(room.is_full() && room.take().is_err());
        room.counted(19, 3);
        assert!(room.is_full(), "one event less is not enough");
        room.counted(18, 3);
        assert!(!room.is_full() && room.take().is_ok());
    }

    #[test]
    fn a_room_for_one_is_full_with_one_and_empty_without() {
        let room = Room::new(1);
        room.counted(1, 0);
        assert!(room.is_full());
        room.counted(0, 0);
        assert!(room.take().is_ok());
    }
}
