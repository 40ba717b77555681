//! Signatures of an event, in buckets by digest. Own signatures come the same way as those of peers will.

use rusqlite::{Connection, params};
use wavs_types::{B256, EventId};

use crate::ledger::buckets::{self, NewBucket, SignatureRow};
use crate::ledger::columns::blob;

/// Digests that one signer may back per event: the second is evidence of equivocation, a third is dropped.
const MAX_DIGESTS_PER_SIGNER: u32 = 2;

/// Takes a verified signature into its bucket, which is made if it is the first. True: it is new and counts.
pub fn accept(tx: &Connection, bucket: &NewBucket, signature: &SignatureRow, now_us: u64) -> rusqlite::Result<bool> {
    let others = digests_of(tx, &bucket.event_id, &bucket.digest, signature)?;
    if others >= MAX_DIGESTS_PER_SIGNER {
        tracing::warn!(event_id = %bucket.event_id, signer = %signature.signer, "a signer backs a third digest for one event; dropped");
        return Ok(false);
    }
    if others > 0 {
        tracing::error!(event_id = %bucket.event_id, signer = %signature.signer, digest = %bucket.digest, "equivocation seen: a signer backs two digests for one event");
    }
    buckets::insert(tx, bucket)?;
    buckets::insert_signature(tx, &bucket.event_id, &bucket.digest, signature, now_us)
}

fn digests_of(tx: &Connection, event_id: &EventId, digest: &B256, signature: &SignatureRow) -> rusqlite::Result<u32> {
    tx.prepare_cached("SELECT count(*) FROM signatures WHERE event_id = ?1 AND signer = ?2 AND digest <> ?3")?
        .query_row(
            params![
                blob(event_id.as_bytes()),
                signature.signer.as_slice(),
                digest.as_slice()
            ],
            |row| row.get(0),
        )
}
