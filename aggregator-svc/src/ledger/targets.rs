//! Targets: one handler contract that an event is submitted to, its transaction, and the callback that its outcome is due.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use wavs_store::fault;
use wavs_types::{B256, ChainKey, EventId, ServiceId};

use super::columns::{blob, parsed};
use super::due::{DueQuery, DueRow};
use super::events;
use super::state::{Ending, State};
use super::tries::{Tries, Vain};

/// Handlers that one event may be submitted to; more in one list of actions are a fault of the component.
pub const MAX_TARGETS: usize = 32;

/// A target to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTarget {
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope to submit.
    pub digest: B256,
    /// The chain.
    pub chain: ChainKey,
    /// The handler as text.
    pub handler: String,
    /// The component's fee hint in wei per gas.
    pub gas_hint: Option<u128>,
    /// Until when it may take to land.
    pub deadline_ms: u64,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRow {
    /// Its row id, which also names its transaction.
    pub id: i64,
    /// The service.
    pub service_id: ServiceId,
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope to submit.
    pub digest: B256,
    /// The chain.
    pub chain: ChainKey,
    /// The handler as text.
    pub handler: String,
    /// The component's fee hint in wei per gas.
    pub gas_hint: Option<u128>,
    /// Where it is.
    pub state: State,
    /// Why it waits, or why it ended other than well.
    pub error: Option<String>,
    /// The block of the first assessment, from which a landing is looked for.
    pub since_block: Option<u64>,
    /// Until when it may take to land.
    pub deadline_ms: u64,
    /// Attempts so far.
    pub attempt: u32,
    /// Attempts that reverted in the handler.
    pub reverts: u32,
    /// The transaction that landed or is under way.
    pub tx: Option<String>,
    /// Whether a callback is due.
    pub callback_due: bool,
    /// Callbacks in vain so far.
    pub callback: Tries,
}

/// Stores a target in `collecting`, or raises the fee hint of a known one. Answers its row id; nothing if it is known. One that
/// another operator's result has named before, and that still collects, delivers our own result from now on.
pub fn insert(tx: &Connection, target: &NewTarget) -> Result<Option<i64>> {
    let hint = target.gas_hint.map(|hint| hint.to_string());
    let known: Option<(i64, Option<String>)> = tx
        .prepare_cached("SELECT id, gas_hint FROM targets WHERE event_id = ?1 AND chain = ?2 AND handler = ?3")?
        .query_row(
            params![blob(target.event_id.as_bytes()), target.chain.as_str(), target.handler],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    if let Some((id, old)) = known {
        let old: Option<u128> = old.and_then(|text| text.parse().ok());
        if target.gas_hint > old {
            tx.execute("UPDATE targets SET gas_hint = ?2 WHERE id = ?1", params![id, hint])?;
        }
        name(tx, id, &target.digest)?;
        return Ok(deliver_own(tx, id, &target.event_id)?.then_some(id));
    }
    tx.prepare_cached(
        "INSERT INTO targets (event_id, digest, chain, handler, gas_hint, state, rank, deadline_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, 'collecting', ?6, ?7)",
    )?
    .execute(params![
        blob(target.event_id.as_bytes()),
        target.digest.as_slice(),
        target.chain.as_str(),
        target.handler,
        hint,
        State::Collecting.rank(),
        target.deadline_ms
    ])?;
    let id = tx.last_insert_rowid();
    name(tx, id, &target.digest)?;
    Ok(Some(id))
}

/// Notes that the component asked for the target with this result.
fn name(tx: &Connection, id: i64, digest: &B256) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO namings (target, digest) VALUES (?1, ?2)")?
        .execute(params![id, digest.as_slice()])?;
    Ok(())
}

/// Makes a target that still collects deliver our own result, if that has asked for it and it was to deliver another one.
fn deliver_own(tx: &Connection, id: i64, event_id: &EventId) -> Result<bool> {
    let rows = tx
        .prepare_cached(
            "UPDATE targets SET digest = own_digest, attempt = 0, reverts = 0, error = NULL, next_ms = 0
             FROM (SELECT own_digest FROM events WHERE event_id = ?2)
             WHERE id = ?1 AND digest <> own_digest AND rank <= ?3
               AND EXISTS (SELECT 1 FROM namings WHERE target = ?1 AND namings.digest = own_digest)",
        )?
        .execute(params![id, blob(event_id.as_bytes()), State::Collecting.rank()])?;
    Ok(rows == 1)
}

/// What a target is to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This envelope.
    Deliver(B256),
    /// Nothing: our own result, named here, is another one than what the target would deliver.
    Divergent(B256),
}

/// Chooses the envelope of a target: our own result where there is one that asked for it, be it that another operator's copy of
/// it did so before, else the envelope with the most signatures, so that whoever was heard first has no advantage. Once there
/// was enough weight for one, it stays.
pub fn choose(tx: &Connection, target: &TargetRow) -> Result<Choice> {
    let event = blob(target.event_id.as_bytes());
    let own: Option<[u8; 32]> = tx
        .prepare_cached("SELECT own_digest FROM events WHERE event_id = ?1")?
        .query_row([event], |row| row.get(0))?;
    if let Some(own) = own.map(B256::from) {
        deliver_own(tx, target.id, &target.event_id)?;
        // As it is now: our own result may have come since the row was read.
        let chosen: [u8; 32] = tx
            .prepare_cached("SELECT digest FROM targets WHERE id = ?1")?
            .query_row([target.id], |row| row.get(0))?;
        return Ok(if own == B256::from(chosen) {
            Choice::Deliver(own)
        } else {
            Choice::Divergent(own)
        });
    }
    if target.since_block.is_some() {
        return Ok(Choice::Deliver(target.digest));
    }
    let heaviest: Option<[u8; 32]> = tx
        .prepare_cached(
            "SELECT digest FROM buckets LEFT JOIN signatures USING (event_id, digest)
             WHERE event_id = ?1 AND input = 'done'
             GROUP BY digest ORDER BY count(signer) DESC, digest = ?2 DESC LIMIT 1",
        )?
        .query_row(params![event, target.digest.as_slice()], |row| row.get(0))
        .optional()?;
    let heaviest = heaviest.map_or(target.digest, B256::from);
    if heaviest != target.digest {
        tx.prepare_cached("UPDATE targets SET digest = ?2 WHERE id = ?1")?
            .execute(params![target.id, heaviest.as_slice()])?;
    }
    Ok(Choice::Deliver(heaviest))
}

const COLUMNS: &str =
    "id, service_id, event_id, digest, chain, handler, gas_hint, targets.state, targets.error, since_block,
    targets.deadline_ms, attempt, reverts, tx, callback = 'due', callback_attempt, callback_faults,
    callback_deaths";

fn row(row: &Row<'_>) -> Result<TargetRow> {
    let hint: Option<String> = row.get(6)?;
    Ok(TargetRow {
        id: row.get(0)?,
        service_id: ServiceId::new(row.get(1)?),
        event_id: EventId::new(row.get(2)?),
        digest: B256::from(row.get::<_, [u8; 32]>(3)?),
        chain: parsed(row, 4)?,
        handler: row.get(5)?,
        gas_hint: hint.and_then(|text| text.parse().ok()),
        state: row.get(7)?,
        error: row.get(8)?,
        since_block: row.get(9)?,
        deadline_ms: row.get(10)?,
        attempt: row.get(11)?,
        reverts: row.get(12)?,
        tx: row.get(13)?,
        callback_due: row.get(14)?,
        callback: Tries {
            attempt: row.get(15)?,
            faults: row.get(16)?,
            deaths: row.get(17)?,
        },
    })
}

/// After a restart, perhaps with another configuration or another key, every open target is looked at once.
pub fn hurry(tx: &Connection) -> Result<usize> {
    tx.execute("UPDATE targets SET next_ms = 0 WHERE rank < 8", [])
}

/// Reads a target.
pub fn load(conn: &Connection, id: i64) -> Result<Option<TargetRow>> {
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM targets JOIN events USING (event_id) WHERE id = ?1"
    ))?
    .query_row([id], row)
    .optional()
}

/// The targets of an event, oldest first.
pub fn of_event(conn: &Connection, event_id: &EventId) -> Result<Vec<TargetRow>> {
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM targets JOIN events USING (event_id) WHERE event_id = ?1 ORDER BY id"
    ))?
    .query_map([blob(event_id.as_bytes())], row)?
    .collect()
}

/// Mined targets that are not final.
pub fn mined_ones(conn: &Connection, wanted: &DueQuery) -> Result<Vec<DueRow>> {
    let from = "FROM targets JOIN events USING (event_id) WHERE targets.rank = 8";
    wanted.read_due(conn, "next_ms", from)
}

/// Targets that are not mined yet.
pub fn open(conn: &Connection, wanted: &DueQuery) -> Result<Vec<DueRow>> {
    let from = "FROM targets JOIN events USING (event_id) WHERE targets.rank < 8";
    wanted.read_due(conn, "next_ms", from)
}

/// Targets whose callback is due.
pub fn due_callbacks(conn: &Connection, wanted: &DueQuery) -> Result<Vec<DueRow>> {
    let from = "FROM targets JOIN events USING (event_id) WHERE callback = 'due'";
    wanted.read_due(conn, "callback_ms", from)
}

/// Since when the oldest target has waited for signatures, in microseconds; those of paused services are meant to wait.
pub fn collecting_since(conn: &Connection) -> Result<Option<u64>> {
    conn.prepare_cached(
        "SELECT min(created_us) FROM targets JOIN events USING (event_id)
         WHERE targets.rank < 10 AND targets.state = 'collecting'
           AND service_id NOT IN (SELECT service_id FROM services WHERE operator_paused <> 0)",
    )?
    .query_row([], |row| row.get(0))
}

/// A step of a target that has not ended, with its event.
pub fn advance(
    tx: &Connection,
    id: i64,
    event_id: &EventId,
    state: State,
    error: Option<&str>,
    now_us: u64,
) -> Result<bool> {
    let rows = tx
        .prepare_cached("UPDATE targets SET state = ?2, rank = ?3, error = ?4 WHERE id = ?1 AND rank < 10")?
        .execute(params![id, state, state.rank(), error])?;
    fault::point("target.advanced");
    events::follow_targets(tx, event_id, now_us)?;
    Ok(rows == 1)
}

/// An attempt came to nothing: in `state` for now, again not before `next_ms`.
pub fn hold(
    tx: &Connection,
    target: &TargetRow,
    state: State,
    error: &str,
    reverted: bool,
    next_ms: u64,
    now_us: u64,
) -> Result<()> {
    tx.prepare_cached("UPDATE targets SET attempt = attempt + 1, reverts = reverts + ?2, next_ms = ?3 WHERE id = ?1")?
        .execute(params![target.id, reverted, next_ms])?;
    fault::point("target.held");
    advance(tx, target.id, &target.event_id, state, Some(error), now_us)?;
    Ok(())
}

/// Quorum was found. The first time this sets the block from which a landing is looked for, and the time to land counts from then.
pub fn reached_quorum(tx: &Connection, target: &TargetRow, block: u64, deadline_ms: u64, now_us: u64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE targets SET deadline_ms = CASE WHEN since_block IS NULL THEN ?3 ELSE deadline_ms END,
         since_block = coalesce(since_block, ?2) WHERE id = ?1",
    )?
    .execute(params![target.id, block, deadline_ms])?;
    fault::point("target.quorum");
    advance(tx, target.id, &target.event_id, State::Quorum, None, now_us)?;
    Ok(())
}

/// The transaction was mined: the outcome is known, so the callback is due.
pub fn mined(tx: &Connection, target: &TargetRow, hash: &str, state: State, now_us: u64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE targets SET tx = ?2, callback = CASE callback WHEN 'none' THEN 'due' ELSE callback END WHERE id = ?1",
    )?
    .execute(params![target.id, hash])?;
    fault::point("target.mined");
    advance(tx, target.id, &target.event_id, state, None, now_us)?;
    Ok(())
}

/// A reorganisation took the transaction back: it has to land anew, and the new hash is told again, in an attempt that a callback
/// under way does not end.
pub fn unmined(tx: &Connection, target: &TargetRow, error: &str, now_us: u64) -> Result<()> {
    tx.execute(
        "UPDATE targets SET tx = NULL, callback = 'none', callback_attempt = callback_attempt + 1, callback_faults = 0,
                            callback_deaths = 0, callback_ms = 0
         WHERE id = ?1",
        [target.id],
    )?;
    fault::point("target.unmined");
    advance(tx, target.id, &target.event_id, State::Waiting, Some(error), now_us)?;
    Ok(())
}

/// A target ended other than well: the callback with the reason is due.
pub fn end(tx: &Connection, target: &TargetRow, ending: &Ending, now_us: u64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE targets SET callback = CASE callback WHEN 'none' THEN 'due' ELSE callback END WHERE id = ?1",
    )?
    .execute([target.id])?;
    fault::point("target.ended");
    advance(
        tx,
        target.id,
        &target.event_id,
        ending.state,
        Some(&ending.text()),
        now_us,
    )?;
    Ok(())
}

/// The callback was delivered, or given up, in its attempt `attempt`. A target that was opened again meanwhile has another one
/// to tell, so nothing changes then.
pub fn callback_done(tx: &Connection, id: i64, attempt: u32) -> Result<()> {
    tx.prepare_cached(
        "UPDATE targets SET callback = 'done' WHERE id = ?1 AND callback = 'due' AND callback_attempt = ?2",
    )?
    .execute(params![id, attempt])?;
    Ok(())
}

/// After a restart no callback is under way, and what was under way gets a new attempt number.
pub fn renumber_interrupted(tx: &Connection) -> Result<usize> {
    tx.execute(
        "UPDATE targets SET callback_attempt = callback_attempt + 1 WHERE callback = 'due'",
        [],
    )
}

/// The callback is to be delivered again, not before `next_ms`.
pub fn callback_again(tx: &Connection, id: i64, vain: Vain, next_ms: u64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE targets SET callback_attempt = callback_attempt + ?2, callback_faults = callback_faults + ?3,
                            callback_deaths = callback_deaths + ?4, callback_ms = ?5
         WHERE id = ?1",
    )?
    .execute(params![id, vain.attempts(), vain.faults(), vain.deaths(), next_ms])?;
    Ok(())
}
