//! Wall-clock time as the ledger stores it. Delays inside the process use the monotonic clock instead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Microseconds since the Unix epoch.
#[must_use]
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    now_us() / 1_000
}

/// `delay` from now, in milliseconds since the Unix epoch.
#[must_use]
pub fn ms_after(delay: Duration) -> u64 {
    now_ms().saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}

/// The moment of a stored time; none when it has come.
#[must_use]
pub fn instant_of(at_ms: u64) -> Option<Instant> {
    let left = at_ms.saturating_sub(now_ms());
    (left > 0).then(|| Instant::now() + Duration::from_millis(left))
}
