//! Times in answers: RFC 3339, UTC, milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

/// Milliseconds since the Unix epoch as text; what is out of range of the calendar becomes the epoch.
#[must_use]
pub fn rfc3339_ms(ms: u64) -> String {
    let at = i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A moment as text.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    let ms = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    rfc3339_ms(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_a_zone() {
        assert_eq!(rfc3339_ms(1_769_940_000_123), "2026-02-01T10:00:00.123Z");
        assert_eq!(rfc3339_ms(u64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
