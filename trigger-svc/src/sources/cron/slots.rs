//! The slots of one schedule.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use cron::Schedule;
use wavs_types::Trigger;

/// A schedule with its window. Slots are whole seconds, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    schedule: Schedule,
    /// Slots are later than this.
    start: u64,
    /// No slot is later than this.
    end: u64,
}

impl Slots {
    /// The slots of a cron trigger; `None` for another kind.
    ///
    /// # Errors
    /// The reason when the schedule does not parse.
    pub(super) fn of(trigger: &Trigger) -> Option<Result<Self, String>> {
        let Trigger::Cron {
            schedule,
            start_time,
            end_time,
        } = trigger
        else {
            return None;
        };
        Some(Self::parse(schedule, *start_time, *end_time))
    }

    /// Reads a schedule of six or seven fields, in UTC.
    ///
    /// # Errors
    /// The reason when it does not parse.
    pub(super) fn parse(schedule: &str, start: Option<u64>, end: Option<u64>) -> Result<Self, String> {
        let schedule =
            Schedule::from_str(schedule).map_err(|cause| format!("`{schedule}` is not a schedule: {cause}"))?;
        Ok(Self {
            schedule,
            start: start.unwrap_or(0),
            end: end.unwrap_or(u64::MAX),
        })
    }

    /// The slots later than `position`, ascending.
    pub(super) fn after(&self, position: u64) -> impl Iterator<Item = u64> + '_ {
        let from = position.max(self.start);
        // Signed nanoseconds reach the year 2262; no schedule names a year after 2100.
        let from: DateTime<Utc> = DateTime::from_timestamp_nanos(i64::try_from(from).unwrap_or(i64::MAX));
        self.schedule
            .after_owned(from)
            .map_while(|slot| u64::try_from(slot.timestamp_nanos_opt()?).ok())
            .take_while(|slot| *slot <= self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn nanos(text: &str) -> u64 {
        let instant: DateTime<Utc> = text.parse().unwrap();
        instant.timestamp_nanos_opt().unwrap().try_into().unwrap()
    }

    /// The first three slots after the start of 2024, as `MM-DD hh:mm:ss`.
    fn first(schedule: &str) -> Vec<String> {
        let slots = Slots::parse(schedule, None, None).unwrap();
        let text = |slot: u64| {
            let instant = DateTime::from_timestamp_nanos(slot.try_into().unwrap());
            instant.format("%m-%d %H:%M:%S").to_string()
        };
        slots.after(nanos("2024-01-01T00:00:00Z")).take(3).map(text).collect()
    }

    #[test]
    fn the_dialect_is_the_one_that_operators_agree_on() {
        let seconds = |seconds: [u32; 3]| seconds.map(|second| format!("01-01 00:00:{second:02}"));
        assert_eq!(first("*/5 * * * * *"), seconds([5, 10, 15]));
        assert_eq!(first("0/10 * * * * *"), seconds([10, 20, 30]));
        assert_eq!(first("10-20/3 * * * * *"), seconds([10, 13, 16]));
        assert_eq!(first("  */5  *  * * *   * "), seconds([5, 10, 15]));
        let days = |days: [&str; 3]| days.map(|day| format!("{day} 00:00:00"));
        let cases = [
            ("0 0 0 * * 1", days(["01-07", "01-14", "01-21"])),
            ("0 0 0 * * SUN", days(["01-07", "01-14", "01-21"])),
            ("0 0 0 * * sun", days(["01-07", "01-14", "01-21"])),
            ("0 0 0 * * 7", days(["01-06", "01-13", "01-20"])),
            ("0 0 0 * * 5-7", days(["01-04", "01-05", "01-06"])),
            ("0 0 0 15 * MON", days(["01-15", "04-15", "07-15"])),
            ("@weekly", days(["01-07", "01-14", "01-21"])),
            ("@monthly", days(["02-01", "03-01", "04-01"])),
        ];
        for (schedule, expected) in cases {
            assert_eq!(first(schedule), expected, "{schedule}");
        }
        for never in ["0 0 0 1 1 * 2020", "0 0 0 31 2 *"] {
            assert!(first(never).is_empty(), "{never}");
        }
    }

    #[test]
    fn what_the_dialect_lacks_is_rejected() {
        let wrong = [
            "* * * * *",
            "0 0 0 * * 0",
            "0 0 0 * * FRI-MON",
            "50-10 * * * * *",
            "*/0 * * * * *",
            "? * * * * *",
            "0 0 0 L * *",
            "0 0 0 15W * *",
            "0 0 0 * * 2#1",
            "@midnight",
            "@annually",
            "@reboot",
            "0 0 0 1 1 * 1969",
            "0 0 0 1 1 * 2101",
        ];
        for schedule in wrong {
            assert!(Slots::parse(schedule, None, None).is_err(), "{schedule}");
        }
    }

    #[test]
    fn the_start_is_exclusive_and_the_end_inclusive() {
        let at = |seconds: u64| nanos("2024-01-01T00:00:00Z") + seconds * SECOND;
        let slots = Slots::parse("*/5 * * * * *", Some(at(10)), Some(at(25))).unwrap();
        assert_eq!(slots.after(at(0)).collect::<Vec<_>>(), [at(15), at(20), at(25)]);
        assert_eq!(slots.after(at(15)).collect::<Vec<_>>(), [at(20), at(25)]);
        assert_eq!(slots.after(at(19) + 999).collect::<Vec<_>>(), [at(20), at(25)]);
        assert_eq!(slots.after(at(25)).next(), None);
    }
}
