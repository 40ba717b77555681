//! How often a call of an aggregator component was made in vain, and what for.

/// Calls in vain so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries {
    /// Numbers the next attempt. It only grows, because engine-svc knows a run by its number.
    pub attempt: u32,
    /// Calls that the guest failed since the row was opened, or opened again.
    pub faults: u32,
    /// Those of which engine-svc died, or so it seemed.
    pub deaths: u32,
}

/// Why a call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vain {
    /// It was not made at all, or had no effect: it does not count.
    Uncounted,
    /// It was cut off, and nobody is to blame.
    Interrupted,
    /// The guest failed it.
    Fault,
    /// engine-svc died or stopped answering.
    Death,
}

impl Vain {
    pub(super) fn attempts(self) -> u32 {
        u32::from(self != Self::Uncounted)
    }

    pub(super) fn faults(self) -> u32 {
        u32::from(self == Self::Fault)
    }

    pub(super) fn deaths(self) -> u32 {
        u32::from(self == Self::Death)
    }
}
