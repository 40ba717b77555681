//! How often a call of an aggregator component was made in vain, and what for.

/// Calls in vain so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    /// All of them; numbers the next attempt.
    pub attempt: u32,
    /// Those of which engine-svc died, or so it seemed.
    pub deaths: u32,
}

impl Tries {
    /// Those that the guest failed.
    #[must_use]
    pub fn faults(self) -> u32 {
        self.attempt.saturating_sub(self.deaths)
    }
}

/// Why a call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vain {
    /// It was not made at all, or nobody is to blame: it does not count.
    Uncounted,
    /// The guest failed it.
    Fault,
    /// engine-svc died or stopped answering.
    Death,
}

impl Vain {
    pub(super) fn attempts(self) -> u32 {
        u32::from(self != Self::Uncounted)
    }

    pub(super) fn deaths(self) -> u32 {
        u32::from(self == Self::Death)
    }
}
