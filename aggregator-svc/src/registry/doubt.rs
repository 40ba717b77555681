//! What is suspected of a component that was under way when engine-svc died, without being found out: a death strikes all runs, and
//! a component that does harm in one run may be harmless in the next.
//!
//! Two deaths within an hour make it a suspect, which runs beside no other suspect. A suspect is cleared by runs that do no
//! harm; whoever comes into doubt again and again has to show more of them each time. Lost with the process.

/// Deaths that a component took part in, from which on it is a suspect.
const SUSPECT_FROM: u32 = 2;
/// Time after which an old death counts no more.
const FORGOTTEN_AFTER_MS: u64 = 3_600 * 1_000;
/// A suspect has to show at most 2 to the power of this many harmless runs.
const MOST_ROUNDS: u32 = 10;

/// The doubt about one component.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doubt {
    deaths: u32,
    last_ms: u64,
    /// The connection to engine-svc that broke last. Each breaks once, however many runs it strikes.
    connection: Option<u64>,
    /// Harmless runs of the suspect.
    harmless: u32,
    /// How often it was cleared.
    rounds: u32,
}

impl Doubt {
    /// It was under way when engine-svc died on this connection.
    pub(super) fn died(&mut self, connection: Option<u64>, now_ms: u64) {
        if self.is_forgotten(now_ms) {
            *self = Self::default();
        }
        if self.connection != connection {
            self.deaths = self.deaths.saturating_add(1);
        }
        (self.connection, self.last_ms, self.harmless) = (connection, now_ms, 0);
    }

    /// Whether its runs are looked at one by one.
    pub(super) fn is_suspicion(&self, now_ms: u64) -> bool {
        self.deaths >= SUSPECT_FROM && !self.is_forgotten(now_ms)
    }

    /// A run of the suspect did no harm.
    pub(super) fn survived(&mut self) {
        self.harmless = self.harmless.saturating_add(1);
        if self.deaths >= SUSPECT_FROM && self.harmless >= 1 << self.rounds.min(MOST_ROUNDS) {
            (self.deaths, self.harmless) = (0, 0);
            self.rounds = self.rounds.saturating_add(1);
        }
    }

    fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms > self.last_ms.saturating_add(FORGOTTEN_AFTER_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_death_counts_once_and_two_make_a_suspect_for_an_hour() {
        let mut doubt = Doubt::default();
        for _ in 0..100 {
            doubt.died(Some(1), 1);
        }
        assert!(!doubt.is_suspicion(1), "one death of many runs");
        doubt.died(Some(2), FORGOTTEN_AFTER_MS);
        assert!(doubt.is_suspicion(FORGOTTEN_AFTER_MS));
        assert!(!doubt.is_suspicion(FORGOTTEN_AFTER_MS * 2 + 1));
        doubt.died(Some(3), FORGOTTEN_AFTER_MS * 2 + 1);
        assert!(
            !doubt.is_suspicion(FORGOTTEN_AFTER_MS * 2 + 1),
            "the others are long ago"
        );
    }

    #[test]
    fn who_comes_into_doubt_again_has_to_show_more() {
        let mut doubt = Doubt::default();
        for (round, needed) in [1, 2, 4, 8].into_iter().enumerate() {
            let connection = u64::try_from(round).unwrap() * 2;
            doubt.died(Some(connection), 1);
            doubt.died(Some(connection + 1), 1);
            for _ in 0..needed {
                assert!(doubt.is_suspicion(1), "round {round}");
                doubt.survived();
            }
            assert!(!doubt.is_suspicion(1), "round {round}");
        }
    }
}
