//! Remembers how a submission ended, in the store that the service's components share.

use crate::AnyTxHash;
use crate::wasi::keyvalue::store;

/// Bucket of the note, with the keys `completed` and `success`.
pub const BUCKET: &str = "submit-result";

/// Write that a submission ended, and whether it landed.
///
/// # Errors
/// When the store refuses.
pub fn record(tx_result: &Result<AnyTxHash, String>) -> Result<(), String> {
    let failed = |error| format!("cannot note the outcome in bucket {BUCKET}: {error:?}");
    let success = if tx_result.is_ok() { "true" } else { "false" };
    let bucket = store::open(BUCKET).map_err(failed)?;
    bucket.set("success", success.as_bytes()).map_err(failed)?;
    // Last, because those who wait look for it.
    bucket.set("completed", b"true").map_err(failed)
}
