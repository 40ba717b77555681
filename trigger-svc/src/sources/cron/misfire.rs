//! Which of the slots that are due fire, and which are passed over because they were missed: a pure function.

use std::time::Duration;

use wavs_service::config::MisfirePolicy;

use super::slots::Slots;

/// A slot that is at most this late was not missed: the timer or a busy machine was slow.
const ON_TIME: Duration = Duration::from_secs(2);
/// Most slots of one route that fire in one step. The rest follows in the next step, after the commit.
pub(super) const MAX_FIRES: usize = 1_000;
/// Most slots of one route that one step looks at, so that a long absence does not hold up the other routes.
const MAX_LOOKED_AT: usize = 10_000;

/// What becomes of missed slots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Misfire {
    /// Which of them fire.
    pub policy: MisfirePolicy,
    /// How late a slot may fire.
    pub window: Duration,
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// The slots that fire, ascending.
    pub fires: Vec<u64>,
    /// How many were passed over.
    pub skipped: u64,
    /// The newest slot that was looked at: the position from now on.
    pub position: u64,
}

impl Misfire {
    /// The slots after `position` up to `now`; `None` when there is none. After a long absence this is only the oldest
    /// part of them, so the caller asks again.
    pub(super) fn due(&self, slots: &Slots, position: u64, now: u64) -> Option<Due> {
        let on_time = now.saturating_sub(nanos(ON_TIME));
        let oldest = now.saturating_sub(nanos(self.window));
        let mut due = Due::default();
        // The newest missed slot so far, where only the newest fires.
        let mut newest = None;
        let mut looked_at = 0;
        let mut slots = slots.after(position).take_while(|slot| *slot <= now).peekable();
        while looked_at < MAX_LOOKED_AT && due.fires.len() < MAX_FIRES {
            let Some(slot) = slots.next() else { break };
            looked_at += 1;
            due.position = slot;
            match self.policy {
                _ if slot >= on_time => due.fires.push(slot),
                MisfirePolicy::FireAll if slot >= oldest => due.fires.push(slot),
                MisfirePolicy::FireLast if slot >= oldest => {
                    due.skipped += u64::from(newest.replace(slot).is_some());
                }
                _ => due.skipped += 1,
            }
        }
        match newest {
            Some(slot) if due.fires.is_empty() && slots.peek().is_none() => due.fires.push(slot),
            Some(_) => due.skipped += 1,
            None => {}
        }
        (looked_at > 0).then_some(due)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// A whole hour.
    const BASE: u64 = 1_704_067_200 * SECOND;

    fn misfire(policy: MisfirePolicy, window: u64) -> Misfire {
        Misfire {
            policy,
            window: Duration::from_secs(window),
        }
    }

    fn every(seconds: u32) -> Slots {
        Slots::parse(&format!("*/{seconds} * * * * *"), None, None).unwrap()
    }

    /// Seconds after the base that fire, the number of skipped slots, and the new position, at `now` seconds after it.
    fn due(misfire: Misfire, step: u32, now: u64) -> (Vec<u64>, u64, u64) {
        let due = misfire.due(&every(step), BASE, BASE + now * SECOND).unwrap();
        let seconds = |slot: u64| (slot - BASE) / SECOND;
        let fires = due.fires.iter().map(|slot| seconds(*slot)).collect();
        (fires, due.skipped, seconds(due.position))
    }

    #[test]
    fn a_pause_releases_what_the_policy_says() {
        assert_eq!(
            due(misfire(MisfirePolicy::FireAll, 60), 5, 23),
            (vec![5, 10, 15, 20], 0, 20)
        );
        assert_eq!(due(misfire(MisfirePolicy::FireLast, 60), 5, 23), (vec![20], 3, 20));
        assert_eq!(due(misfire(MisfirePolicy::Skip, 60), 5, 23), (vec![], 4, 20));
        assert_eq!(due(misfire(MisfirePolicy::FireAll, 10), 5, 23), (vec![15, 20], 2, 20));
        assert_eq!(due(misfire(MisfirePolicy::FireLast, 2), 5, 23), (vec![], 4, 20));
    }

    #[test]
    fn a_slot_that_is_barely_late_fires_under_every_policy() {
        for policy in [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip] {
            assert_eq!(due(misfire(policy, 0), 5, 6), (vec![5], 0, 5), "{policy:?}");
        }
        assert_eq!(due(misfire(MisfirePolicy::FireLast, 60), 5, 21), (vec![20], 3, 20));
    }

    #[test]
    fn nothing_is_due_before_the_next_slot_or_after_a_step_back() {
        let all = misfire(MisfirePolicy::FireAll, 60);
        assert_eq!(all.due(&every(5), BASE, BASE + 4 * SECOND), None);
        assert_eq!(all.due(&every(5), BASE, BASE - 3_600 * SECOND), None);
    }

    #[test]
    fn a_long_absence_is_worked_off_in_bounded_steps() {
        let last = misfire(MisfirePolicy::FireLast, 60);
        let now = BASE + 25_000 * SECOND;
        let (mut position, mut fires, mut skipped, mut steps) = (BASE, Vec::new(), 0, 0);
        while let Some(due) = last.due(&every(1), position, now) {
            fires.extend(due.fires);
            (position, skipped, steps) = (due.position, skipped + due.skipped, steps + 1);
        }
        // The slots of the last two seconds are on time.
        let on_time: Vec<_> = (24_998..=25_000).map(|second| BASE + second * SECOND).collect();
        assert_eq!((fires, skipped, steps), (on_time, 24_997, 3));
    }

    proptest! {
        #[test]
        fn no_slot_is_lost_or_released_twice(
            step in 1_u32..30, times in proptest::collection::vec(0_u64..400, 1..12), window in 0_u64..100,
        ) {
            let all = misfire(MisfirePolicy::FireAll, window);
            let (mut position, mut fired, mut skipped) = (BASE, Vec::new(), 0);
            for time in &times {
                while let Some(due) = all.due(&every(step), position, BASE + time * SECOND) {
                    fired.extend(due.fires);
                    skipped += due.skipped;
                    position = due.position;
                }
            }
            let latest = BASE + times.iter().max().unwrap() * SECOND;
            let total = every(step).after(BASE).take_while(|slot| *slot <= latest).count() as u64;
            prop_assert!(fired.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(fired.len() as u64 + skipped, total);
        }
    }
}
