//! Signatures of an event, in buckets by digest. Own signatures come the same way as those of other operators.

use rusqlite::{Connection, params};
use wavs_types::{B256, EventId, EvmAddress};

use crate::ledger::buckets::{self, NewBucket, SignatureRow};
use crate::ledger::columns::blob;
use crate::ledger::parked;

/// Digests that one signer may back per event: the second is evidence of equivocation, a third is dropped.
const MAX_DIGESTS_PER_SIGNER: u32 = 2;

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// It is the first of its bucket, which was made for it.
    pub opened: bool,
    /// It is new and counts.
    pub counts: bool,
}

/// Takes a verified signature into its bucket, which is made if it is the first.
pub fn accept(
    tx: &Connection,
    bucket: &NewBucket,
    signature: &SignatureRow,
    now_us: u64,
) -> rusqlite::Result<Accepted> {
    let (event_id, digest) = (&bucket.event_id, &bucket.digest);
    if backs_too_many(tx, event_id, digest, &signature.signer)? {
        return Ok(Accepted::default());
    }
    Ok(Accepted {
        opened: buckets::insert(tx, bucket)?,
        counts: buckets::insert_signature(tx, event_id, digest, signature, now_us)?,
    })
}

/// Takes a verified signature into a bucket that is there. True: it is new and counts.
pub fn add(
    tx: &Connection,
    event_id: &EventId,
    digest: &B256,
    signature: &SignatureRow,
    now_us: u64,
) -> rusqlite::Result<bool> {
    if backs_too_many(tx, event_id, digest, &signature.signer)? {
        return Ok(false);
    }
    buckets::insert_signature(tx, event_id, digest, signature, now_us)
}

/// Whether a signer backs so many other digests of an event that a further one is dropped.
pub fn backs_too_many(
    tx: &Connection,
    event_id: &EventId,
    digest: &B256,
    signer: &EvmAddress,
) -> rusqlite::Result<bool> {
    Ok(other_digests(tx, event_id, digest, signer)? >= MAX_DIGESTS_PER_SIGNER)
}

/// How many other digests of an event a signer backs. An honest one backs none.
pub fn other_digests(tx: &Connection, event_id: &EventId, digest: &B256, signer: &EvmAddress) -> rusqlite::Result<u32> {
    Ok(digests_of(tx, event_id, digest, signer)? + parked::digests_of(tx, event_id, digest, signer)?)
}

/// Who signed other digests of an event than `digest`.
pub fn others(tx: &Connection, event_id: &EventId, digest: &B256) -> rusqlite::Result<Vec<(EvmAddress, B256)>> {
    tx.prepare_cached(
        "SELECT signer, digest FROM signatures WHERE event_id = ?1 AND digest <> ?2
         UNION SELECT signer, digest FROM parked WHERE event_id = ?1 AND digest <> ?2",
    )?
    .query_map(params![blob(event_id.as_bytes()), digest.as_slice()], |row| {
        Ok((
            EvmAddress::from(row.get::<_, [u8; 20]>(0)?),
            B256::from(row.get::<_, [u8; 32]>(1)?),
        ))
    })?
    .collect()
}

fn digests_of(tx: &Connection, event_id: &EventId, digest: &B256, signer: &EvmAddress) -> rusqlite::Result<u32> {
    tx.prepare_cached("SELECT count(*) FROM signatures WHERE event_id = ?1 AND signer = ?2 AND digest <> ?3")?
        .query_row(
            params![blob(event_id.as_bytes()), signer.as_slice(), digest.as_slice()],
            |row| row.get(0),
        )
}
