//! Deadlines of calls, kept inside the range that the timers beneath can handle.

use std::time::{Duration, Instant};

use tarpc::context::Context;

use crate::bounds::{MAX_DEADLINE, MIN_DEADLINE};

/// `deadline` brought into [`MIN_DEADLINE`]..=[`MAX_DEADLINE`].
#[must_use]
pub fn clamp(deadline: Duration) -> Duration {
    deadline.clamp(MIN_DEADLINE, MAX_DEADLINE)
}

/// The context of a call that may take `deadline`, clamped.
#[must_use]
pub fn context(deadline: Duration) -> Context {
    let mut context = tarpc::context::current();
    context.deadline = Instant::now() + clamp(deadline);
    context
}

/// The time left until `context`'s deadline in whole milliseconds, clamped.
pub(crate) fn remaining_ms(context: &Context) -> u32 {
    let left = clamp(context.deadline.saturating_duration_since(Instant::now()));
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deadline_ends_in_range() {
        assert_eq!(clamp(Duration::ZERO), MIN_DEADLINE);
        assert_eq!(clamp(Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(clamp(Duration::MAX), MAX_DEADLINE);
        assert!(remaining_ms(&context(Duration::MAX)) <= 4_200_000);
    }
}
