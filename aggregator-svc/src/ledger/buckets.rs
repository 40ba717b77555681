//! Buckets: the envelopes that were signed for an event, their signatures, and the run of the aggregator component that
//! each of them is due.

use rusqlite::{Connection, OptionalExtension, Result, params};
use wavs_types::{B256, EventId, EvmAddress, ServiceId, SignatureKind, WasmResponse};

use super::columns::{blob, json, parsed, unwritable};
use super::due::DueQuery;
use super::events;
use super::tries::{Tries, Vain};

/// Signatures that one bucket holds at most. More operators than this would need a larger constant; the surplus is refused.
pub const MAX_SIGNATURES: usize = 1_024;

/// A bucket to store.
#[derive(Debug, Clone)]
pub struct NewBucket {
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope.
    pub digest: B256,
    /// The response inside the envelope.
    pub response: WasmResponse,
    /// JSON text of the trigger action that led to it.
    pub action: Vec<u8>,
    /// How it is signed.
    pub kind: SignatureKind,
}

/// What a run of the aggregator component, or an attempt to submit, needs to know of a bucket.
#[derive(Debug, Clone)]
pub struct BucketRow {
    /// The service.
    pub service_id: ServiceId,
    /// The workflow inside it.
    pub workflow_id: wavs_types::WorkflowId,
    /// The response inside the envelope.
    pub response: WasmResponse,
    /// JSON text of the trigger action.
    pub action: Vec<u8>,
    /// How it is signed.
    pub kind: SignatureKind,
    /// Runs of `process-input` in vain so far.
    pub tries: Tries,
    /// Whether `process-input` is still to be run.
    pub due: bool,
    /// When the event ends in vain.
    pub deadline_ms: u64,
    /// Whether the event is over.
    pub terminal: bool,
}

/// A bucket whose `process-input` is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueInput {
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope.
    pub digest: B256,
    /// The service.
    pub service_id: ServiceId,
    /// Not before this time.
    pub next_ms: u64,
}

/// A signature of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureRow {
    /// Who signed.
    pub signer: EvmAddress,
    /// 65 canonical bytes.
    pub signature: [u8; 65],
}

impl BucketRow {
    /// The row of a bucket that was just stored, and of its open event.
    #[must_use]
    pub fn opened(
        bucket: NewBucket,
        service_id: ServiceId,
        workflow_id: wavs_types::WorkflowId,
        deadline_ms: u64,
    ) -> Self {
        Self {
            service_id,
            workflow_id,
            response: bucket.response,
            action: bucket.action,
            kind: bucket.kind,
            tries: Tries::default(),
            due: true,
            deadline_ms,
            terminal: false,
        }
    }
}

/// Stores a bucket whose input is due. False: it is known.
pub fn insert(tx: &Connection, bucket: &NewBucket) -> Result<bool> {
    let rows = tx
        .prepare_cached(
            "INSERT INTO buckets (event_id, digest, response, action, kind, input) VALUES (?1, ?2, ?3, ?4, ?5, 'due')
         ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            blob(bucket.event_id.as_bytes()),
            bucket.digest.as_slice(),
            serde_json::to_vec(&bucket.response).map_err(unwritable)?,
            bucket.action,
            serde_json::to_string(&bucket.kind).map_err(unwritable)?,
        ])?;
    Ok(rows == 1)
}

/// Stores a signature. The first valid one of a signer for a digest wins: a later one changes nothing and answers false.
pub fn insert_signature(
    tx: &Connection,
    event_id: &EventId,
    digest: &B256,
    signature: &SignatureRow,
    now_us: u64,
) -> Result<bool> {
    let rows = tx
        .prepare_cached(
            "INSERT INTO signatures (event_id, digest, signer, signature, status, received_us)
             SELECT ?1, ?2, ?3, ?4, 'counted', ?5
             WHERE (SELECT count(*) FROM signatures WHERE event_id = ?1 AND digest = ?2) < ?6
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            blob(event_id.as_bytes()),
            digest.as_slice(),
            signature.signer.as_slice(),
            signature.signature,
            now_us,
            MAX_SIGNATURES
        ])?;
    Ok(rows == 1)
}

/// Reads a bucket.
pub fn load(conn: &Connection, event_id: &EventId, digest: &B256) -> Result<Option<BucketRow>> {
    conn.prepare_cached(
        "SELECT service_id, workflow_id, response, action, kind, attempt, faults, deaths, input = 'due', deadline_ms, rank >= 10
         FROM buckets JOIN events USING (event_id) WHERE event_id = ?1 AND digest = ?2",
    )?
    .query_row(params![blob(event_id.as_bytes()), digest.as_slice()], |row| {
        Ok(BucketRow {
            service_id: ServiceId::new(row.get(0)?),
            workflow_id: parsed(row, 1)?,
            response: json(row, 2)?,
            action: row.get(3)?,
            kind: json(row, 4)?,
            tries: Tries {
                attempt: row.get(5)?,
                faults: row.get(6)?,
                deaths: row.get(7)?,
            },
            due: row.get(8)?,
            deadline_ms: row.get(9)?,
            terminal: row.get(10)?,
        })
    })
    .optional()
}

/// The counted signatures of a bucket.
pub fn signatures(conn: &Connection, event_id: &EventId, digest: &B256) -> Result<Vec<SignatureRow>> {
    conn.prepare_cached(
        "SELECT signer, signature FROM signatures WHERE event_id = ?1 AND digest = ?2 AND status = 'counted'",
    )?
    .query_map(params![blob(event_id.as_bytes()), digest.as_slice()], |row| {
        Ok(SignatureRow {
            signer: EvmAddress::from(row.get::<_, [u8; 20]>(0)?),
            signature: row.get(1)?,
        })
    })?
    .collect()
}

/// Buckets whose input is due, the most urgent first.
pub fn due_inputs(conn: &Connection, wanted: &DueQuery) -> Result<Vec<DueInput>> {
    let from = "FROM buckets JOIN events USING (event_id) WHERE input = 'due' AND rank < 10";
    let columns = "event_id, digest, service_id, next_ms";
    wanted.read(conn, columns, from, "next_ms, buckets.id", |row| {
        Ok(DueInput {
            event_id: EventId::new(row.get(0)?),
            digest: B256::from(row.get::<_, [u8; 32]>(1)?),
            service_id: ServiceId::new(row.get(2)?),
            next_ms: row.get(3)?,
        })
    })
}

/// `process-input` has given its actions. False: it had before, or the event is over.
pub fn input_done(tx: &Connection, event_id: &EventId, digest: &B256) -> Result<bool> {
    let rows = tx
        .prepare_cached(
            "UPDATE buckets SET input = 'done' WHERE event_id = ?1 AND digest = ?2 AND input = 'due'
             AND EXISTS (SELECT 1 FROM events WHERE event_id = ?1 AND rank < 10)",
        )?
        .execute(params![blob(event_id.as_bytes()), digest.as_slice()])?;
    Ok(rows == 1)
}

/// `process-input` is to be run again, not before `next_ms`.
pub fn input_again(tx: &Connection, event_id: &EventId, digest: &B256, vain: Vain, next_ms: u64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE buckets SET attempt = attempt + ?3, faults = faults + ?4, deaths = deaths + ?5, next_ms = ?6
         WHERE event_id = ?1 AND digest = ?2 AND input = 'due'",
    )?
    .execute(params![
        blob(event_id.as_bytes()),
        digest.as_slice(),
        vain.attempts(),
        vain.faults(),
        vain.deaths(),
        next_ms
    ])?;
    Ok(())
}

/// After a restart no call is under way, and what was under way gets a new attempt number.
pub fn renumber_interrupted(tx: &Connection) -> Result<usize> {
    tx.execute("UPDATE buckets SET attempt = attempt + 1 WHERE input = 'due'", [])
}

/// `process-input` has failed for good, and with it the event if this was the envelope that we signed: what another operator
/// signed must not end an event for us.
pub fn input_failed(
    tx: &Connection,
    event_id: &EventId,
    digest: &B256,
    ending: &super::Ending,
    now_us: u64,
) -> Result<()> {
    tx.execute(
        "UPDATE buckets SET input = 'failed' WHERE event_id = ?1 AND digest = ?2",
        params![blob(event_id.as_bytes()), digest.as_slice()],
    )?;
    wavs_store::fault::point("input.failed");
    if events::is_own(tx, event_id, digest)? {
        events::set_state(tx, event_id, ending.state, Some(&ending.text()), now_us)?;
    }
    Ok(())
}
