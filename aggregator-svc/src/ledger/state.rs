//! The states of a job, an event and a target: the one list, by which the ledger, the API, metrics and logs name them.
//!
//! The way is `received → executed → signed → published → collecting → quorum → waiting → submitting → mined → final`;
//! every other state is a side exit. A job shows its least advanced event, an event its least advanced target.

use std::fmt;

/// Where a job, an event or a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Committed, not run successfully yet.
    Received,
    /// The operator component ran. The end for a workflow that submits nothing.
    Executed,
    /// Our signature is stored.
    Signed,
    /// The signature was handed to the network of operators, or there is none.
    Published,
    /// Waiting for actions of the aggregator component, or for more signed weight.
    Collecting,
    /// A bucket passed the gate and the manager's `validate`.
    Quorum,
    /// Ready, but held: no posting key, a fee cap, a back-off.
    Waiting,
    /// A transaction is stored and on its way.
    Submitting,
    /// In a block.
    Mined,
    /// Ended by an error; the reason tells which.
    Failed,
    /// Its time ran out.
    Expired,
    /// Another envelope of the same event landed.
    Superseded,
    /// The trigger left its chain.
    Orphaned,
    /// Not processed on purpose: paused, removed or duplicate.
    Skipped,
    /// The component had nothing to say.
    NoOutput,
    /// Another operator's transaction did it.
    Landed,
    /// In a block, as deep as the chain's configuration asks for.
    Final,
}

/// Ranks at and above this one are terminal. The schema's partial indices contain the same number.
pub const FIRST_TERMINAL_RANK: u8 = 10;

const ALL: [State; 17] = [
    State::Received,
    State::Executed,
    State::Signed,
    State::Published,
    State::Collecting,
    State::Quorum,
    State::Waiting,
    State::Submitting,
    State::Mined,
    State::Failed,
    State::Expired,
    State::Superseded,
    State::Orphaned,
    State::Skipped,
    State::NoOutput,
    State::Landed,
    State::Final,
];

impl State {
    /// The name in the ledger, the API, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Executed => "executed",
            Self::Signed => "signed",
            Self::Published => "published",
            Self::Collecting => "collecting",
            Self::Quorum => "quorum",
            Self::Waiting => "waiting",
            Self::Submitting => "submitting",
            Self::Mined => "mined",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Orphaned => "orphaned",
            Self::Skipped => "skipped",
            Self::NoOutput => "no_output",
            Self::Landed => "landed",
            Self::Final => "final",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// How far it is: smaller is less advanced, and of the terminal ones the worst comes first.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Received => 0,
            Self::Executed => 1,
            Self::Signed => 2,
            Self::Published => 3,
            Self::Collecting => 4,
            Self::Quorum => 5,
            Self::Waiting => 6,
            Self::Submitting => 7,
            Self::Mined => 8,
            Self::Failed => 10,
            Self::Expired => 11,
            Self::Superseded => 12,
            Self::Orphaned => 13,
            Self::Skipped => 14,
            Self::NoOutput => 15,
            Self::Landed => 16,
            Self::Final => 17,
        }
    }

    /// Whether an event or a target in this state is done. (A job in `executed` is done too if it submits nothing.)
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.rank() >= FIRST_TERMINAL_RANK
    }

    /// All states, least advanced first.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl rusqlite::ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl rusqlite::types::FromSql for State {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(rusqlite::types::FromSqlError::InvalidType)
    }
}

/// How something ended other than well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The terminal state.
    pub state: State,
    /// Which of the closed set of reasons; a metric label.
    pub reason: &'static str,
    /// For people: what happened, to what, and what to do.
    pub detail: String,
}

impl Ending {
    /// `failed(reason)`.
    pub fn failed(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            state: State::Failed,
            reason,
            detail: detail.into(),
        }
    }

    /// `skipped(reason)`.
    pub fn skipped(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            state: State::Skipped,
            reason,
            detail: detail.into(),
        }
    }

    /// The text that is stored and shown.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}: {}", self.reason, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ranks_and_order_are_unique_and_agree() {
        for (earlier, later) in ALL.iter().zip(&ALL[1..]) {
            assert!(earlier.rank() < later.rank(), "{earlier} before {later}");
            assert!(earlier < later);
        }
        for state in ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("Received"), None);
    }

    #[test]
    fn terminal_is_everything_but_the_way_there() {
        let open: Vec<_> = State::all()
            .filter(|state| !state.is_terminal())
            .map(State::as_str)
            .collect();
        let way = [
            "received",
            "executed",
            "signed",
            "published",
            "collecting",
            "quorum",
            "waiting",
            "submitting",
            "mined",
        ];
        assert_eq!(open, way);
    }
}
