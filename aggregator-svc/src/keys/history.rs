//! Whether this ledger knows everything that a key has signed.
//!
//! Sign-once holds only as long as the ledger remembers. A key that is new here although it has weight on chain has
//! probably signed before, under a ledger that was lost: nothing is signed with it until the operator says so once.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// What is known of a key's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// The chain was not asked yet: signing waits.
    Unchecked,
    /// All that the key ever signed is in this ledger, or the operator takes responsibility for it.
    Complete,
    /// The key has weight on chain, but no history here: signing is refused.
    Missing,
}

impl History {
    /// The name in the ledger and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Complete => "complete",
            Self::Missing => "missing",
        }
    }

    /// The history of that name; an unknown one is missing.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "unchecked" => Self::Unchecked,
            "complete" => Self::Complete,
            _ => Self::Missing,
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The history of the key of one registered service, as its runs see it.
#[derive(Debug)]
pub struct HistoryCell(AtomicU8);

impl HistoryCell {
    /// A cell that says `history`.
    #[must_use]
    pub fn new(history: History) -> Self {
        Self(AtomicU8::new(history as u8))
    }

    /// What it says now.
    #[must_use]
    pub fn get(&self) -> History {
        match self.0.load(Ordering::Acquire) {
            0 => History::Unchecked,
            1 => History::Complete,
            _ => History::Missing,
        }
    }

    /// Changes what it says, after the ledger says it.
    pub fn set(&self, history: History) {
        self.0.store(history as u8, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_cells_give_back_what_they_were_given() {
        for history in [History::Unchecked, History::Complete, History::Missing] {
            assert_eq!(History::parse(history.as_str()), history);
            assert_eq!(HistoryCell::new(history).get(), history);
        }
        assert_eq!(History::parse("?"), History::Missing, "in doubt nothing is signed");
    }
}
