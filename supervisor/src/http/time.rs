//! Times in answers: RFC 3339, UTC, milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

use super::problem::Problem;

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

/// Milliseconds since the Unix epoch as text, if there are any.
#[must_use]
pub fn optional_ms(ms: Option<u64>) -> Option<String> {
    ms.map(rfc3339_ms)
}

/// A time of a query as milliseconds since the Unix epoch, if it is there; what lies before the epoch is the epoch.
///
/// # Errors
/// 400 when it is not RFC 3339.
pub fn parse(name: &str, text: Option<&str>) -> Result<Option<u64>, Problem> {
    let parse = |text: &str| {
        // A plus that was not escaped in a query arrives as a blank.
        let at = DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
        let wrong = |cause| {
            Problem::parameter(format!(
                "{name} is {text}: {cause}; it must be a time like 2026-02-01T10:00:00Z"
            ))
        };
        at.map(|at| u64::try_from(at.timestamp_millis()).unwrap_or(0))
            .map_err(wrong)
    };
    text.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_a_zone() {
        assert_eq!(rfc3339_ms(1_769_940_000_123), "2026-02-01T10:00:00.123Z");
        assert_eq!(rfc3339_ms(u64::MAX), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn times_are_read_in_any_zone() {
        for (text, ms) in [
            ("2026-02-01T10:00:00.123Z", 1_769_940_000_123),
            ("2026-02-01T11:00:00.123+01:00", 1_769_940_000_123),
            ("2026-02-01T11:00:00.123 01:00", 1_769_940_000_123),
            ("1960-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse("since", Some(text)).unwrap(), Some(ms), "{text}");
        }
        assert_eq!(parse("since", None).unwrap(), None);
        assert_eq!(parse("since", Some("yesterday")).unwrap_err().code, "invalid-parameter");
    }
}
