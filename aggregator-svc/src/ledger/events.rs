//! Events: one signed response and how far it is; the least advanced of its targets tells.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_types::{B256, EventId, ServiceId, WorkflowId};

use super::columns::{blob, parsed};
use super::state::{Ending, State};

/// Steps kept in a timeline; later ones are dropped, which only an event that is retried for hours reaches.
const MAX_TIMELINE: u32 = 64;

/// An event to store.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id.
    pub event_id: EventId,
    /// The service.
    pub service_id: ServiceId,
    /// The workflow inside it.
    pub workflow_id: WorkflowId,
    /// What we signed; nothing for an event that is known from other operators alone.
    pub own_digest: Option<B256>,
    /// When collecting ends in vain.
    pub deadline_ms: u64,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// The service.
    pub service_id: ServiceId,
    /// The workflow inside it.
    pub workflow_id: WorkflowId,
    /// Where it is.
    pub state: State,
    /// When it ends in vain.
    pub deadline_ms: u64,
}

/// Stores an event in `collecting`, with the steps that one commit takes at once. Nothing happens if it was done before; of
/// one that is known, only what we signed is filled in. Answers the deadline of the event if it is open.
pub fn insert(tx: &Connection, event: &NewEvent, now_us: u64) -> Result<Option<u64>> {
    let timeline = match event.own_digest {
        Some(_) => format!(r#"[["signed",{now_us}],["collecting",{now_us}]]"#),
        None => format!(r#"[["collecting",{now_us}]]"#),
    };
    let stored: Option<(u64, State)> = tx
        .prepare_cached(
            "INSERT INTO events (event_id, service_id, workflow_id, own_digest, state, rank, deadline_ms, created_us,
                                 updated_us, timeline)
             SELECT ?1, ?2, ?3, ?4, 'collecting', ?5, ?6, ?7, ?7, ?8
             WHERE NOT EXISTS (SELECT 1 FROM done WHERE done.event_id = ?1)
             ON CONFLICT (event_id) DO UPDATE SET own_digest = coalesce(own_digest, excluded.own_digest)
             RETURNING deadline_ms, state",
        )?
        .query_row(
            params![
                blob(event.event_id.as_bytes()),
                blob(event.service_id.as_bytes()),
                event.workflow_id.as_str(),
                event.own_digest.as_ref().map(B256::as_slice),
                State::Collecting.rank(),
                event.deadline_ms,
                now_us,
                timeline
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(stored
        .filter(|(_, state)| !state.is_terminal())
        .map(|(deadline_ms, _)| deadline_ms))
}

/// Notes that a job led to an event.
pub fn link(tx: &Connection, job: u128, event_id: &EventId) -> Result<()> {
    tx.prepare_cached("INSERT INTO job_events (job, event_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![job.to_be_bytes(), blob(event_id.as_bytes())])?;
    Ok(())
}

/// Reads an event.
pub fn load(conn: &Connection, event_id: &EventId) -> Result<Option<EventRow>> {
    conn.prepare_cached("SELECT service_id, workflow_id, state, deadline_ms FROM events WHERE event_id = ?1")?
        .query_row([blob(event_id.as_bytes())], |row| {
            Ok(EventRow {
                service_id: ServiceId::new(row.get(0)?),
                workflow_id: parsed(row, 1)?,
                state: row.get(2)?,
                deadline_ms: row.get(3)?,
            })
        })
        .optional()
}

/// Moves an open event to `state`; a step that changes nothing leaves no trace. A terminal event stays as it is.
pub fn set_state(tx: &Connection, event_id: &EventId, state: State, error: Option<&str>, now_us: u64) -> Result<bool> {
    let rows = tx
        .prepare_cached(
            "UPDATE events SET state = ?2, rank = ?3, error = ?4, updated_us = ?5,
                               timeline = CASE WHEN state <> ?2 AND json_array_length(timeline) < ?6
                                               THEN json_insert(timeline, '$[#]', json_array(?2, ?5)) ELSE timeline END
             WHERE event_id = ?1 AND rank < 10",
        )?
        .execute(params![
            blob(event_id.as_bytes()),
            state,
            state.rank(),
            error,
            now_us,
            MAX_TIMELINE
        ])?;
    Ok(rows == 1)
}

/// Brings an event to the state of its least advanced target. Without targets it stays where it is.
pub fn follow_targets(tx: &Connection, event_id: &EventId, now_us: u64) -> Result<()> {
    let least: Option<(State, Option<String>)> = tx
        .prepare_cached("SELECT state, error FROM targets WHERE event_id = ?1 ORDER BY rank LIMIT 1")?
        .query_row([blob(event_id.as_bytes())], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((state, error)) = least {
        // An armed timer may still name further targets, so its event is not done.
        if state.is_terminal() && super::timers::armed(tx, event_id)? {
            return Ok(());
        }
        set_state(tx, event_id, state, error.as_deref(), now_us)?;
    }
    Ok(())
}

/// Ends all open events of a service, with their targets that have no transaction under way and their timers.
pub fn end_of_service(tx: &Connection, service_id: &ServiceId, ending: &Ending, now_us: u64) -> Result<()> {
    let service = blob(service_id.as_bytes());
    let text = ending.text();
    tx.execute(
        "UPDATE targets SET state = ?2, rank = ?3, error = ?4
         WHERE rank < ?5 AND event_id IN (SELECT event_id FROM events WHERE service_id = ?1 AND rank < 10)",
        params![
            service,
            ending.state,
            ending.state.rank(),
            text,
            State::Submitting.rank()
        ],
    )?;
    tx.execute(
        "UPDATE timers SET state = 'cancelled'
         WHERE state = 'armed' AND event_id IN (SELECT event_id FROM events WHERE service_id = ?1 AND rank < 10)",
        [service],
    )?;
    tx.execute(
        "UPDATE buckets SET input = 'failed'
         WHERE input = 'due' AND event_id IN (SELECT event_id FROM events WHERE service_id = ?1 AND rank < 10)",
        [service],
    )?;
    // An event with a transaction that was sent is followed to its end.
    tx.execute(
        "UPDATE events SET state = ?2, rank = ?3, error = ?4, updated_us = ?5
         WHERE service_id = ?1 AND rank < 10
           AND NOT EXISTS (SELECT 1 FROM targets WHERE targets.event_id = events.event_id AND targets.rank IN (?6, ?7))",
        params![
            service,
            ending.state,
            ending.state.rank(),
            text,
            now_us,
            State::Submitting.rank(),
            State::Mined.rank()
        ],
    )?;
    Ok(())
}

/// Open events that this node signed.
pub fn open_of_own(conn: &Connection, service_id: &ServiceId) -> Result<u64> {
    conn.prepare_cached(
        "SELECT count(*) FROM events INDEXED BY events_own_open
         WHERE service_id = ?1 AND rank < 10 AND own_digest IS NOT NULL",
    )?
    .query_row([blob(service_id.as_bytes())], |row| row.get(0))
}

/// Open events that only other operators signed.
pub fn open_of_others(conn: &Connection, service_id: &ServiceId) -> Result<u64> {
    let all: u64 = conn
        .prepare_cached("SELECT count(*) FROM events INDEXED BY events_open WHERE service_id = ?1 AND rank < 10")?
        .query_row([blob(service_id.as_bytes())], |row| row.get(0))?;
    // Two counts of an index are cheaper than one look at every row.
    Ok(all.saturating_sub(open_of_own(conn, service_id)?))
}

/// Whether we signed this digest for an event.
pub fn is_own(conn: &Connection, event_id: &EventId, digest: &B256) -> Result<bool> {
    conn.prepare_cached("SELECT 1 FROM events WHERE event_id = ?1 AND own_digest = ?2")?
        .exists(params![blob(event_id.as_bytes()), digest.as_slice()])
}

/// How an event began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The workflow inside its service.
    pub workflow_id: WorkflowId,
    /// When its first signature was here, in microseconds since the Unix epoch.
    pub created_us: u64,
}

/// How an event began.
pub fn begun(conn: &Connection, event_id: &EventId) -> Result<Option<Begun>> {
    conn.prepare_cached("SELECT workflow_id, created_us FROM events WHERE event_id = ?1")?
        .query_row([blob(event_id.as_bytes())], |row| {
            Ok(Begun {
                workflow_id: parsed(row, 0)?,
                created_us: row.get(1)?,
            })
        })
        .optional()
}

/// Events that are not over.
pub fn open(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("SELECT count(*) FROM events WHERE rank < 10")?
        .query_row([], |row| row.get(0))
}

/// When the first trigger behind an event was seen.
pub fn seen_us(conn: &Connection, event_id: &EventId) -> Result<Option<u64>> {
    conn.prepare_cached(
        "SELECT min(json_extract(timeline, '$[0][1]')) FROM jobs JOIN job_events USING (job) WHERE job_events.event_id = ?1",
    )?
    .query_row([blob(event_id.as_bytes())], |row| row.get(0))
}

/// Open events without target and timer whose time ran out, oldest first.
pub fn overdue(conn: &Connection, now_ms: u64, max: usize) -> Result<Vec<EventId>> {
    conn.prepare_cached(
        "SELECT event_id FROM events
         WHERE rank < 10 AND deadline_ms <= ?1
           AND NOT EXISTS (SELECT 1 FROM targets WHERE targets.event_id = events.event_id AND targets.rank < 10)
           AND NOT EXISTS (SELECT 1 FROM timers WHERE timers.event_id = events.event_id AND timers.state = 'armed')
         LIMIT ?2",
    )?
    .query_map(params![now_ms, max], |row| row.get(0).map(EventId::new))?
    .collect()
}
