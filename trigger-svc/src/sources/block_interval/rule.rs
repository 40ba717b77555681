//! When a block interval fires: a pure function of its definition, its progress and the heights of the chain.
//!
//! The multiples of the interval, counted from an anchor, are its targets. The anchor is `start_block`, or the first height
//! that was looked at after the registration; the first target is the first multiple that is not below that height.

use wavs_service::config::CatchUp;

/// Most targets that one step yields. What was missed beyond it is passed over, oldest first, and counted.
pub(crate) const MAX_FIRES: u64 = 1_000;

/// A block interval as defined, with the rule for its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Distance of two targets in blocks, at least 1.
    pub n_blocks: u64,
    /// The anchor, when the definition names it.
    pub start_block: Option<u64>,
    /// The first target at or above this height is the last one.
    pub end_block: Option<u64>,
    /// False: the last target is the last one not above `end_block`.
    pub fire_after_end: bool,
}

/// How far a block interval has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Where the targets are counted from.
    pub anchor: u64,
    /// The target that is due next; absent once the interval has ended. It never falls, so no height fires twice.
    pub next: Option<u64>,
}

/// What a new height means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The progress from now on.
    pub progress: Progress,
    /// The targets that fire, ascending.
    pub fires: Vec<u64>,
    /// Targets that were passed over.
    pub skipped: u64,
}

impl Rule {
    /// The progress at `now`, the first height that is looked at after the registration.
    pub(crate) fn begin(&self, now: u64) -> Progress {
        let anchor = self.start_block.unwrap_or(now);
        let next = match now.checked_sub(anchor) {
            None | Some(0) => Some(anchor),
            Some(past) => past
                .div_ceil(self.n_blocks)
                .checked_mul(self.n_blocks)
                .and_then(|distance| anchor.checked_add(distance)),
        };
        Progress { anchor, next }
    }

    /// What is due when the chain has reached `head`. `missed` says which of several due targets fire; targets between
    /// two heads that were both observed are not missed, so the caller passes [`CatchUp::All`] for those.
    pub(crate) fn advance(&self, progress: Progress, head: u64, missed: CatchUp) -> Step {
        let idle = Step {
            progress,
            fires: Vec::new(),
            skipped: 0,
        };
        let Some(next) = progress.next.filter(|next| *next <= head) else {
            return idle;
        };
        let ended = Progress { next: None, ..progress };
        let Some(last) = self.last_target(next) else {
            return Step {
                progress: ended,
                ..idle
            };
        };
        let due = (head.min(last) - next) / self.n_blocks + 1;
        let newest = next + (due - 1) * self.n_blocks;
        if missed == CatchUp::Skip {
            return self.skip(progress, head, due);
        }
        let fired = if missed == CatchUp::Last { 1 } else { due.min(MAX_FIRES) };
        let following = if newest >= last {
            None
        } else {
            newest.checked_add(self.n_blocks)
        };
        Step {
            progress: Progress {
                next: following,
                ..progress
            },
            fires: (0..fired).rev().map(|back| newest - back * self.n_blocks).collect(),
            skipped: due - fired,
        }
    }

    /// Only the observed height itself can fire. A node that knows heights only while it is up behaves like this, also in
    /// that a window that ended meanwhile may still fire at an aligned height.
    fn skip(&self, progress: Progress, head: u64, due: u64) -> Step {
        let past = (head - progress.anchor) % self.n_blocks;
        let in_window = self.fire_after_end || self.end_block.is_none_or(|end| head <= end);
        let fires = past == 0 && in_window;
        let ended = self.end_block.is_some_and(|end| head >= end);
        let next = if ended {
            None
        } else {
            head.checked_add(self.n_blocks - past)
        };
        Step {
            progress: Progress { next, ..progress },
            fires: if fires { vec![head] } else { Vec::new() },
            skipped: due.saturating_sub(u64::from(fires)),
        }
    }

    /// The last target, when `next` is the next one: the end is looked at only after a target has fired, so the first
    /// target at or above it still fires.
    fn last_target(&self, next: u64) -> Option<u64> {
        let Some(end) = self.end_block else {
            return Some(u64::MAX);
        };
        if self.fire_after_end {
            let left = end.saturating_sub(next).div_ceil(self.n_blocks);
            return Some(next.saturating_add(left.saturating_mul(self.n_blocks)));
        }
        let left = end.checked_sub(next)? / self.n_blocks;
        Some(next + left * self.n_blocks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(n_blocks: u64, start_block: Option<u64>, end_block: Option<u64>) -> Rule {
        Rule {
            n_blocks,
            start_block,
            end_block,
            fire_after_end: true,
        }
    }

    /// The heights that fire when the chain is followed over `heads`, and the final progress.
    fn follow(rule: Rule, heads: impl IntoIterator<Item = u64>) -> (Vec<u64>, Progress) {
        let mut heads = heads.into_iter().peekable();
        let mut progress = rule.begin(*heads.peek().unwrap());
        let mut fired = Vec::new();
        for head in heads {
            let step = rule.advance(progress, head, CatchUp::All);
            fired.extend(step.fires);
            progress = step.progress;
        }
        (fired, progress)
    }

    #[test]
    fn the_first_target_is_the_first_multiple_not_below_the_first_height() {
        let cases = [
            (2, 3, 4, 5),
            (2, 3, 5, 5),
            (2, 3, 6, 8),
            (10, 5, 100, 100),
            (10, 5, 101, 105),
            (10, 5, 5, 10),
        ];
        for (start, n, now, first) in cases {
            let progress = rule(n, Some(start), None).begin(now);
            assert_eq!(progress.next, Some(first), "start {start} n {n} now {now}");
        }
        assert_eq!(
            rule(7, None, None).begin(33).next,
            Some(33),
            "without a start the first height fires"
        );
        assert_eq!(
            rule(3, Some(1), None).begin(u64::MAX).next,
            None,
            "nothing fits above the highest height"
        );
    }

    #[test]
    fn the_end_is_looked_at_after_a_target_has_fired() {
        let (fired, progress) = follow(rule(3, Some(2), Some(10)), 1..=30);
        assert_eq!((fired, progress.next), (vec![2, 5, 8, 11], None));
        let (fired, _) = follow(rule(3, Some(2), Some(8)), 1..=30);
        assert_eq!(fired, [2, 5, 8]);
        // The window is a single height, over before the registration: one target still fires.
        let (fired, _) = follow(rule(10, Some(40), Some(40)), 43..=90);
        assert_eq!(fired, [50]);
    }

    #[test]
    fn nothing_fires_above_the_end_when_that_is_switched_off() {
        let strict = |start, end| Rule {
            fire_after_end: false,
            ..rule(3, Some(start), Some(end))
        };
        assert_eq!(follow(strict(2, 10), 1..=30).0, [2, 5, 8]);
        let (fired, progress) = follow(strict(2, 3), 4..=30);
        assert_eq!((fired, progress.next), (vec![], None));
    }

    #[test]
    fn a_height_that_no_head_reported_fires_with_the_next_head() {
        let rule = rule(10, Some(10), None);
        let mut progress = rule.begin(8);
        let mut fired = Vec::new();
        for head in [8, 9, 12, 13, 11, 20] {
            let step = rule.advance(progress, head, CatchUp::All);
            progress = step.progress;
            fired.push((head, step.fires));
        }
        let expected = [
            (8, vec![]),
            (9, vec![]),
            (12, vec![10]),
            (13, vec![]),
            (11, vec![]),
            (20, vec![20]),
        ];
        assert_eq!(fired, expected);
    }

    #[test]
    fn missed_targets_follow_the_policy() {
        let rule = rule(5, Some(10), None);
        let start = rule.begin(10);
        let step = |head, missed| {
            let step = rule.advance(start, head, missed);
            (step.fires, step.progress.next, step.skipped)
        };
        assert_eq!(step(27, CatchUp::All), (vec![10, 15, 20, 25], Some(30), 0));
        assert_eq!(step(27, CatchUp::Last), (vec![25], Some(30), 3));
        assert_eq!(step(27, CatchUp::Skip), (vec![], Some(30), 4));
        assert_eq!(step(25, CatchUp::Skip), (vec![25], Some(30), 3));
        let far = 10 + 5 * (MAX_FIRES + 4);
        let (fires, next, skipped) = step(far, CatchUp::All);
        assert_eq!((fires.len() as u64, skipped), (MAX_FIRES, 5));
        assert_eq!((fires.last().copied(), next), (Some(far), Some(far + 5)));
    }

    proptest! {
        #[test]
        fn heads_that_jump_fire_what_single_steps_fire(
            n in 1_u64..20, start in proptest::option::of(1_u64..60), length in proptest::option::of(0_u64..60),
            fire_after_end: bool, from in 1_u64..60, jumps in proptest::collection::vec(0_u64..12, 1..20),
        ) {
            let end_block = length.map(|length| start.unwrap_or(from) + length);
            let rule = Rule { n_blocks: n, start_block: start, end_block, fire_after_end };
            let mut heads = vec![from];
            for jump in jumps {
                heads.push(heads[heads.len() - 1] + jump);
            }
            let last = heads[heads.len() - 1];
            let (jumped, progress) = follow(rule, heads);
            let (stepped, single) = follow(rule, from..=last);
            prop_assert_eq!(&jumped, &stepped);
            prop_assert_eq!(progress, single);
            prop_assert!(jumped.windows(2).all(|pair| pair[1] - pair[0] == n));
            prop_assert!(jumped.iter().all(|height| *height >= from && (height - progress.anchor) % n == 0));
        }
    }
}
