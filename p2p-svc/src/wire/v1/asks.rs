//! Which peer is asked next for what was missed of which service: every new peer once about every service, a few at once.
//! Pure; the task sends what this decides.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use libp2p::PeerId;
use wavs_types::ServiceId;

/// Questions that wait. Beyond it a further one is not asked; the round of the next minutes makes up for it.
const MAX_WAITING: usize = 8_192;
/// Questions under way in all: each answer may have megabytes.
const MAX_UNDER_WAY: usize = 16;
/// Questions under way to one peer, so that a slow one does not hold up the others.
const MAX_PER_PEER: usize = 4;

/// Questions that wait and those under way, by the swarm's name for them.
#[derive(Debug)]
pub(super) struct Asks<Id> {
    waiting: VecDeque<(PeerId, ServiceId)>,
    under_way: HashMap<Id, (PeerId, ServiceId)>,
    max_per_service: usize,
}

impl<Id: Hash + Eq> Asks<Id> {
    pub(super) fn new(max_per_service: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: HashMap::new(),
            max_per_service: max_per_service.max(1),
        }
    }

    /// Wants to know what a peer has of a service.
    pub(super) fn want(&mut self, peer: PeerId, service: ServiceId) {
        if self.waiting.len() < MAX_WAITING && !self.waiting.contains(&(peer, service)) {
            self.waiting.push_back((peer, service));
        }
    }

    /// The next question that may be asked now.
    pub(super) fn next(&mut self) -> Option<(PeerId, ServiceId)> {
        if self.under_way.len() >= MAX_UNDER_WAY {
            return None;
        }
        let count =
            |is_it: &dyn Fn(&(PeerId, ServiceId)) -> bool| self.under_way.values().filter(|asked| is_it(asked)).count();
        let at = self.waiting.iter().position(|(peer, service)| {
            count(&|asked| asked.0 == *peer) < MAX_PER_PEER
                && count(&|asked| asked.1 == *service) < self.max_per_service
        })?;
        self.waiting.remove(at)
    }

    /// A question was sent.
    pub(super) fn sent(&mut self, id: Id, peer: PeerId, service: ServiceId) {
        self.under_way.insert(id, (peer, service));
    }

    /// A question has ended. Answers what it was about.
    pub(super) fn ended(&mut self, id: &Id) -> Option<ServiceId> {
        self.under_way.remove(id).map(|(_, service)| service)
    }

    /// A peer is gone, and nothing more is wanted of it.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        self.waiting.retain(|(waiting, _)| waiting != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(n: u8) -> ServiceId {
        ServiceId::new([n; 32])
    }

    #[test]
    fn every_question_gets_its_turn_and_few_are_under_way_at_once() {
        let mut asks = Asks::new(3);
        let peers: Vec<_> = (0..8).map(|_| PeerId::random()).collect();
        for peer in &peers {
            for n in 0..100 {
                asks.want(*peer, service(n));
                asks.want(*peer, service(n));
            }
        }
        let (mut id, mut asked) = (0, 0);
        let mut open = VecDeque::new();
        loop {
            while let Some((peer, about)) = asks.next() {
                asks.sent(id, peer, about);
                open.push_back(id);
                id += 1;
                asked += 1;
            }
            assert!(open.len() <= MAX_UNDER_WAY);
            let Some(first) = open.pop_front() else { break };
            assert!(asks.ended(&first).is_some());
        }
        assert_eq!(asked, 800);
    }

    #[test]
    fn one_service_and_one_peer_have_their_share() {
        let mut asks = Asks::new(3);
        let peers: Vec<_> = (0..8).map(|_| PeerId::random()).collect();
        for peer in &peers {
            asks.want(*peer, service(1));
        }
        for n in 2..10 {
            asks.want(peers[0], service(n));
        }
        let mut taken = Vec::new();
        while let Some((peer, about)) = asks.next() {
            asks.sent(taken.len(), peer, about);
            taken.push((peer, about));
        }
        assert_eq!(taken.iter().filter(|(_, about)| *about == service(1)).count(), 3);
        assert_eq!(taken.iter().filter(|(peer, _)| *peer == peers[0]).count(), MAX_PER_PEER);
        asks.gone(&peers[1]);
        assert!(asks.ended(&99).is_none());
    }
}
