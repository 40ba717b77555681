//! Signatures of other operators for envelopes whose body is not here yet: this node has not run the component, or got
//! another result. They move into their bucket when the envelope is there.

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use wavs_types::{B256, CanonicalSignature, EventId, EvmAddress, ServiceId, SignatureKind, WorkflowId};

use super::buckets::SignatureRow;
use super::columns::{blob, json, parsed, unwritable};

/// Envelopes per event that are waited for; signatures for a further one are dropped. Every one costs a member a second
/// digest, which is the evidence against it.
const MAX_DIGESTS: u32 = 16;
/// Parked signatures of one signer per service. p2p-svc keeps fewer of each, so an honest one does not reach it by catching up; a further one
/// is dropped, which costs the signer its own voice.
const MAX_PER_SIGNER: u32 = 4_096;

/// A signature without its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope.
    pub digest: B256,
    /// The service.
    pub service_id: ServiceId,
    /// The workflow inside it.
    pub workflow_id: WorkflowId,
    /// How it is signed.
    pub kind: SignatureKind,
    /// Who signed, and the signature.
    pub signature: SignatureRow,
    /// Digest of the body behind it.
    pub body_digest: B256,
}

/// An envelope whose body is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// One of its signatures.
    pub parked: Parked,
    /// When, in milliseconds since the Unix epoch.
    pub due_ms: u64,
    /// Tries so far.
    pub attempt: u32,
}

/// Parks a signature. The body is fetched from `due_ms` on; never without it. A copy with a body to fetch adds it to one
/// without. False when it is known or there are too many.
pub fn insert(tx: &Connection, parked: &Parked, due_ms: Option<u64>, now_ms: u64) -> Result<bool> {
    let others: u32 = tx
        .prepare_cached("SELECT count(DISTINCT digest) FROM parked WHERE event_id = ?1 AND digest <> ?2")?
        .query_row(
            params![blob(parked.event_id.as_bytes()), parked.digest.as_slice()],
            |row| row.get(0),
        )?;
    let of_signer: u32 = tx
        .prepare_cached("SELECT count(*) FROM parked WHERE signer = ?1 AND service_id = ?2")?
        .query_row(
            params![parked.signature.signer.as_slice(), blob(parked.service_id.as_bytes())],
            |row| row.get(0),
        )?;
    if others >= MAX_DIGESTS || of_signer >= MAX_PER_SIGNER {
        return Ok(false);
    }
    let rows = tx
        .prepare_cached(
            "INSERT INTO parked (event_id, digest, signer, service_id, workflow_id, kind, signature, body_digest, due_ms, received_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (event_id, digest, signer) DO UPDATE SET due_ms = excluded.due_ms, body_digest = excluded.body_digest
                 WHERE due_ms IS NULL AND excluded.due_ms IS NOT NULL",
        )?
        .execute(params![
            blob(parked.event_id.as_bytes()),
            parked.digest.as_slice(),
            parked.signature.signer.as_slice(),
            blob(parked.service_id.as_bytes()),
            parked.workflow_id.as_str(),
            serde_json::to_string(&parked.kind).map_err(unwritable)?,
            parked.signature.signature,
            parked.body_digest.as_slice(),
            due_ms,
            now_ms,
        ])?;
    Ok(rows == 1)
}

/// Takes the signatures for an envelope out.
pub fn take(tx: &Connection, event_id: &EventId, digest: &B256) -> Result<Vec<SignatureRow>> {
    let key = params![blob(event_id.as_bytes()), digest.as_slice()];
    tx.prepare_cached("DELETE FROM parked WHERE event_id = ?1 AND digest = ?2 RETURNING signer, signature")?
        .query_map(key, |row| {
            Ok(SignatureRow {
                signer: EvmAddress::from(row.get::<_, [u8; 20]>(0)?),
                signature: row.get(1)?,
            })
        })?
        .collect()
}

/// How many other digests a signer backs for an event, among the parked ones.
pub fn digests_of(tx: &Connection, event_id: &EventId, digest: &B256, signer: &EvmAddress) -> Result<u32> {
    tx.prepare_cached("SELECT count(*) FROM parked WHERE event_id = ?1 AND signer = ?2 AND digest <> ?3")?
        .query_row(
            params![blob(event_id.as_bytes()), signer.as_slice(), digest.as_slice()],
            |row| row.get(0),
        )
}

/// The envelopes whose bodies are due next, one signature of each.
pub fn wanted(conn: &Connection, max: usize) -> Result<Vec<Wanted>> {
    conn.prepare_cached(
        "SELECT event_id, digest, signer, service_id, workflow_id, kind, signature, body_digest, min(due_ms), attempt
         FROM parked WHERE due_ms IS NOT NULL GROUP BY event_id, digest ORDER BY min(due_ms) LIMIT ?1",
    )?
    .query_map([max], |row| {
        let parked = Parked {
            event_id: EventId::new(row.get(0)?),
            digest: B256::from(row.get::<_, [u8; 32]>(1)?),
            signature: SignatureRow {
                signer: EvmAddress::from(row.get::<_, [u8; 20]>(2)?),
                signature: row.get(6)?,
            },
            service_id: ServiceId::new(row.get(3)?),
            workflow_id: parsed(row, 4)?,
            kind: json(row, 5)?,
            body_digest: B256::from(row.get::<_, [u8; 32]>(7)?),
        };
        Ok(Wanted {
            parked,
            due_ms: row.get(8)?,
            attempt: row.get(9)?,
        })
    })?
    .collect()
}

/// The body could not be had: again at `due_ms`, from whoever signed next.
pub fn again(tx: &Connection, event_id: &EventId, digest: &B256, due_ms: u64) -> Result<()> {
    tx.prepare_cached("UPDATE parked SET due_ms = ?3, attempt = attempt + 1 WHERE event_id = ?1 AND digest = ?2 AND due_ms IS NOT NULL")?
        .execute(params![blob(event_id.as_bytes()), digest.as_slice(), due_ms])?;
    Ok(())
}

/// The envelope of an event that this node has signed.
pub fn own_digest(conn: &Connection, event_id: &EventId) -> Result<Option<B256>> {
    let digest: Option<Option<[u8; 32]>> = conn
        .prepare_cached("SELECT own_digest FROM events WHERE event_id = ?1")?
        .query_row([blob(event_id.as_bytes())], |row| row.get(0))
        .optional()?;
    Ok(digest.flatten().map(B256::from))
}

/// The attestation that a parked signature stands for, to check a body against.
impl Parked {
    /// As the record said it.
    ///
    /// # Errors
    /// Never for what was parked, whose signatures are canonical.
    pub fn attestation(&self) -> std::result::Result<wavs_types::Attestation, wavs_types::SignatureError> {
        Ok(wavs_types::Attestation {
            workflow_id: self.workflow_id.clone(),
            event_id: self.event_id,
            digest: self.digest,
            kind: self.kind,
            signature: CanonicalSignature::canonicalise(&self.signature.signature)?,
            body_digest: self.body_digest,
        })
    }
}
