//! Rules of cron triggers, and what can still fire at a given time.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use cron::Schedule;

use super::Findings;
use crate::trigger::Trigger;

/// Longest schedule that is parsed, in bytes. Lists expand, so the bound keeps a document from buying work with length.
const MAX_SCHEDULE_BYTES: usize = 1_024;

pub(super) fn check(schedule: &str, start: Option<u64>, end: Option<u64>, at: &str, findings: &mut Findings) {
    match parse(schedule) {
        Err(cause) => findings.error(format!("{at}/schedule"), "cron-schedule", cause),
        Ok(parsed) if parsed.after(&DateTime::UNIX_EPOCH).next().is_none() => {
            let detail = format!("`{schedule}` names a date that does not exist, so it never fires");
            findings.warning(format!("{at}/schedule"), "cron-impossible", detail);
        }
        Ok(_) => {}
    }
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        let detail = format!("start_time {start} is later than end_time {end}; the window is empty");
        findings.error(format!("{at}/start_time"), "cron-window", detail);
    }
}

pub(super) fn check_future(trigger: &Trigger, now: u64, at: &str, findings: &mut Findings) {
    let Trigger::Cron {
        schedule,
        start_time,
        end_time,
    } = trigger
    else {
        return;
    };
    if end_time.is_some_and(|end| end < now) {
        findings.warning(
            format!("{at}/cron/end_time"),
            "cron-window-over",
            "end_time is in the past, so the trigger never fires",
        );
        return;
    }
    let from = instant(now.max(start_time.unwrap_or(0)));
    let next = parse(schedule).ok().and_then(|schedule| schedule.after(&from).next());
    // Slots are whole seconds, so an end within the second of a slot still includes it.
    let in_window = next.is_some_and(|slot| end_time.is_none_or(|end| slot <= instant(end)));
    if !in_window {
        findings.warning(
            format!("{at}/cron/schedule"),
            "cron-no-slot",
            "the schedule has no slot left, so the trigger never fires",
        );
    }
}

/// Nanoseconds since the Unix epoch; a u64 of them reaches the year 2554 and i64 2262, later than any schedule.
fn instant(nanos: u64) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

fn parse(schedule: &str) -> Result<Schedule, String> {
    if schedule.len() > MAX_SCHEDULE_BYTES {
        return Err(format!(
            "the schedule has {} bytes, the limit is {MAX_SCHEDULE_BYTES}",
            schedule.len()
        ));
    }
    Schedule::from_str(schedule).map_err(|error| {
        format!("`{schedule}` is not a schedule ({error}); expected `sec min hour day-of-month month day-of-week [year]`, Sunday = 1")
    })
}
