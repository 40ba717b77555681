//! What answers under way may take of the memory: anybody may ask on this wire, and need not read what comes. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use libp2p::PeerId;

/// Bytes of answers under way to one peer. Beyond it an answer is empty.
const MAX_PER_PEER: usize = 16 * 1024 * 1024;
/// Bytes of all answers under way. Beyond it an answer is empty.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Answers under way, by the swarm's name for their questions.
#[derive(Debug)]
pub(super) struct Answers<Id> {
    under_way: HashMap<Id, (PeerId, usize)>,
}

impl<Id> Default for Answers<Id> {
    fn default() -> Self {
        Self {
            under_way: HashMap::new(),
        }
    }
}

impl<Id: Hash + Eq> Answers<Id> {
    /// Notes an answer of so many bytes. False when there is no room for it.
    pub(super) fn begin(&mut self, id: Id, peer: PeerId, bytes: usize) -> bool {
        let sum = |of_peer: bool| -> usize {
            let answers = self.under_way.values().filter(|(to, _)| !of_peer || *to == peer);
            answers.map(|(_, bytes)| bytes).sum()
        };
        let fits = sum(true).saturating_add(bytes) <= MAX_PER_PEER && sum(false).saturating_add(bytes) <= MAX_BYTES;
        if fits {
            self.under_way.insert(id, (peer, bytes));
        }
        fits
    }

    /// An answer was sent, or will never be.
    pub(super) fn ended(&mut self, id: &Id) {
        self.under_way.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_and_all_peers_have_a_limit_and_room_comes_back() {
        let (mut answers, one) = (Answers::default(), PeerId::random());
        assert!(answers.begin(0, one, MAX_PER_PEER));
        assert!(!answers.begin(1, one, 1));
        for n in 2..5 {
            assert!(answers.begin(n, PeerId::random(), MAX_PER_PEER));
        }
        assert!(!answers.begin(5, PeerId::random(), 1));
        answers.ended(&0);
        assert!(answers.begin(6, one, 1));
    }
}
