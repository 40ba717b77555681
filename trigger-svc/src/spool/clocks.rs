//! How far the clocks of routes have come: block intervals and schedules.
//!
//! A row is made when a route is registered and goes when it is removed or its definition changes; between the two only
//! [`Spool::record_clock`] moves it, in the commit that records what fired. So a restart and an update that leaves the
//! definition alone change nothing, and a source that runs a moment longer than its route brings nothing back.

use std::collections::HashSet;

use wavs_store::Transaction;
use wavs_store::rusqlite::{OptionalExtension, params};
use wavs_types::{ServiceId, Trigger, WorkflowId};

use super::{Occurrence, Spool, SpoolError, schema, signed};
use crate::clock;
use crate::watch::Route;

/// The stored state of one route's clock. What anchor and position are is the matter of the kind of trigger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When the route was registered, in nanoseconds since the Unix epoch.
    pub registered_ns: u64,
    /// Where the clock started; absent until it has.
    pub anchor: Option<u64>,
    /// Where it stands.
    pub position: Option<u64>,
}

/// A clock that moved.
#[derive(Debug, Clone)]
pub(crate) struct Advance {
    service_id: ServiceId,
    workflow_id: WorkflowId,
    definition: String,
    anchor: Option<u64>,
    position: Option<u64>,
}

impl Advance {
    /// The clock of `route` is now at `position`.
    pub(crate) fn new(route: &Route, anchor: Option<u64>, position: Option<u64>) -> Self {
        Self {
            service_id: route.service_id,
            workflow_id: route.workflow_id.clone(),
            definition: definition(&route.trigger),
            anchor,
            position,
        }
    }
}

impl Spool {
    /// The stored state of each route, in their order; absent for a route that is not registered with this definition.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn marks(&self, routes: &[Route]) -> Result<Vec<Option<Mark>>, SpoolError> {
        let routes: Vec<_> = routes.iter().map(|route| Advance::new(route, None, None)).collect();
        self.database
            .reader()
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT registered, anchor, position FROM clock
                     WHERE service_id = ?1 AND workflow_id = ?2 AND definition = ?3",
                )?;
                let mark = |route: &Advance| {
                    let Advance {
                        service_id,
                        workflow_id,
                        definition,
                        ..
                    } = route;
                    let key = params![service_id.as_bytes().as_slice(), workflow_id.as_str(), definition];
                    Ok(statement
                        .query_row(key, |row| {
                            Ok(Mark {
                                registered_ns: row.get::<_, i64>(0)?.unsigned_abs(),
                                anchor: row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
                                position: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
                            })
                        })
                        .optional()?)
                };
                routes.iter().map(mark).collect()
            })
            .await
    }

    /// Records what clocks fired and where they stand, in one commit. Waits while the spool is full. `source` groups the
    /// source keys, of which those below `prune_below` are forgotten.
    ///
    /// # Errors
    /// When the database fails; nothing is recorded then.
    pub(crate) async fn record_clock(
        &self,
        source: &str,
        occurrences: Vec<Occurrence>,
        advances: Vec<Advance>,
        prune_below: Option<u64>,
    ) -> Result<(), SpoolError> {
        if !occurrences.is_empty() {
            self.wait_for_room().await?;
        }
        let source = source.to_owned();
        let seen_at_ns = clock::now_ns();
        let appended = self
            .intake(move |tx| {
                let appended = schema::insert_all(tx, &source, &occurrences, seen_at_ns)?;
                wavs_store::fault::point("spool.clock.recorded");
                let mut update = tx.prepare_cached(
                    "UPDATE clock SET anchor = ?4, position = ?5
                     WHERE service_id = ?1 AND workflow_id = ?2 AND definition = ?3",
                )?;
                for advance in &advances {
                    update.execute(params![
                        advance.service_id.as_bytes().as_slice(),
                        advance.workflow_id.as_str(),
                        advance.definition,
                        advance.anchor.map(signed),
                        advance.position.map(signed),
                    ])?;
                    wavs_store::fault::point("spool.clock.advanced");
                }
                schema::prune(tx, &source, prune_below)?;
                Ok(appended)
            })
            .await?;
        self.committed(appended);
        Ok(())
    }
}

/// Makes the rows equal to the routes that have a clock: `(service, workflow, definition)`.
pub(super) fn register(tx: &Transaction<'_>, clocks: &[Advance], now_ns: u64) -> Result<(), SpoolError> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO clock (service_id, workflow_id, definition, registered) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (service_id, workflow_id) DO UPDATE
         SET definition = excluded.definition, registered = excluded.registered, anchor = NULL, position = NULL
         WHERE definition != excluded.definition",
    )?;
    let mut wanted = HashSet::new();
    for clock in clocks {
        let service_id = clock.service_id.as_bytes().as_slice();
        insert.execute(params![
            service_id,
            clock.workflow_id.as_str(),
            clock.definition,
            signed(now_ns)
        ])?;
        wavs_store::fault::point("spool.clock.registered");
        wanted.insert((service_id.to_vec(), clock.workflow_id.as_str().to_owned()));
    }
    let mut select = tx.prepare_cached("SELECT service_id, workflow_id FROM clock")?;
    let stored: Vec<(Vec<u8>, String)> = select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut delete = tx.prepare_cached("DELETE FROM clock WHERE service_id = ?1 AND workflow_id = ?2")?;
    for (service_id, workflow_id) in stored.iter().filter(|key| !wanted.contains(*key)) {
        delete.execute(params![service_id, workflow_id])?;
        wavs_store::fault::point("spool.clock.removed");
    }
    Ok(())
}

/// The routes that have a clock.
pub(super) fn clocks(routes: &[Route]) -> Vec<Advance> {
    let clocked = |route: &&Route| matches!(route.trigger, Trigger::BlockInterval { .. } | Trigger::Cron { .. });
    routes
        .iter()
        .filter(clocked)
        .map(|route| Advance::new(route, None, None))
        .collect()
}

/// The text by which an unchanged definition is recognised.
fn definition(trigger: &Trigger) -> String {
    // A definition is a tree of texts and numbers, which always has a JSON form.
    serde_json::to_string(trigger).unwrap_or_default()
}
