//! What authors said whose standing is not known yet. It waits here, in a bounded room per service, until aggregator-svc
//! has looked the author up; operators do sign a little before their registration is mined.
//!
//! Anybody can make up authors, so each peer has a share of the room, and when it is full, whose author was looked up in
//! vain goes first: junk makes way for a newcomer, and not the other way round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use wavs_types::{B256, EvmAddress, ServiceId, SignedRecord};

use crate::members::{Members, Standing};

/// What is kept aside per service; beyond it something whose author was looked up makes way, else more is dropped.
const MAX_ASIDE: usize = 64;
/// What is kept of one peer per service; more is dropped.
const MAX_PER_PEER: usize = 8;
/// Services with something aside; what a further one says is dropped.
const MAX_SERVICES: usize = 256;
/// How long it is kept.
const ASIDE_TIME: Duration = Duration::from_secs(600);

/// Something that somebody signed.
pub trait Authored {
    /// About which service.
    fn service(&self) -> ServiceId;
    /// Who signed it.
    fn author(&self) -> EvmAddress;
    /// What tells it from others.
    fn id(&self) -> B256;
}

impl Authored for SignedRecord {
    fn service(&self) -> ServiceId {
        self.record().service_id
    }

    fn author(&self) -> EvmAddress {
        Self::author(self)
    }

    fn id(&self) -> B256 {
        Self::id(self)
    }
}

/// Something whose author is to be looked up.
#[derive(Debug)]
pub struct Waiting<T> {
    /// What was said.
    pub said: T,
    /// The peer that sent it.
    pub from: PeerId,
    /// Since when it waits.
    since: Instant,
    /// Its author was looked up before, in vain.
    looked_up: bool,
}

impl<T> Waiting<T> {
    /// Something that has just come.
    pub fn new(said: T, from: PeerId, now: Instant) -> Self {
        Self {
            said,
            from,
            since: now,
            looked_up: false,
        }
    }

    /// The same, after its author was looked up in vain.
    #[must_use]
    pub fn looked_up(self) -> Self {
        Self {
            looked_up: true,
            ..self
        }
    }
}

/// All that waits.
#[derive(Debug)]
pub struct Aside<T> {
    waiting: BTreeMap<ServiceId, Vec<Waiting<T>>>,
}

impl<T> Default for Aside<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
        }
    }
}

impl<T: Authored> Aside<T> {
    /// Keeps something. False when there is no room, or it is there.
    pub fn put(&mut self, new: Waiting<T>) -> bool {
        let service = new.said.service();
        if !self.waiting.contains_key(&service) && self.waiting.len() >= MAX_SERVICES {
            return false;
        }
        let list = self.waiting.entry(service).or_default();
        let of_peer = list.iter().filter(|waiting| waiting.from == new.from).count();
        if of_peer >= MAX_PER_PEER || list.iter().any(|waiting| waiting.said.id() == new.said.id()) {
            return false;
        }
        if list.len() >= MAX_ASIDE {
            let Some(at) = list.iter().position(|waiting| waiting.looked_up) else {
                return false;
            };
            list.remove(at);
        }
        list.push(new);
        true
    }

    /// The authors to look up, given who is known already, in the order in which they came.
    pub fn unknown(&self, members: &Members) -> Vec<(ServiceId, EvmAddress)> {
        let mut authors = Vec::new();
        for (service, list) in &self.waiting {
            for waiting in list {
                let author = (*service, waiting.said.author());
                let topic = members.topic(service);
                let is_unknown = topic.is_some_and(|topic| topic.standing(&author.1) == Standing::Unknown);
                if is_unknown && !authors.contains(&author) {
                    authors.push(author);
                }
            }
        }
        authors
    }

    /// Takes everything out, to be judged again.
    pub fn take_all(&mut self) -> Vec<Waiting<T>> {
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// Drops what has waited for too long.
    pub fn expire(&mut self, now: Instant) {
        self.waiting.retain(|_, list| {
            list.retain(|waiting| now.saturating_duration_since(waiting.since) < ASIDE_TIME);
            !list.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Operator, topics};

    fn waiting(author: u8, event: u32, from: PeerId) -> Waiting<SignedRecord> {
        Waiting::new(Operator(author).attest(event, 1, 1), from, Instant::now())
    }

    #[test]
    fn a_peer_has_its_share_and_junk_makes_way_for_a_newcomer() {
        let mut aside = Aside::default();
        let peer = PeerId::random();
        let kept = (0..100).filter(|event| aside.put(waiting(9, *event, peer))).count();
        assert_eq!(kept, MAX_PER_PEER);
        let others = (0..100).filter(|event| aside.put(waiting(9, 1_000 + event, PeerId::random())));
        assert_eq!(others.count(), MAX_ASIDE - MAX_PER_PEER);
        assert!(!aside.put(waiting(8, 1, PeerId::random())), "nothing was looked up yet");
        for junk in aside.take_all() {
            assert!(aside.put(junk.looked_up()));
        }
        assert!(aside.put(waiting(8, 1, PeerId::random())));
        assert_eq!(aside.take_all().len(), MAX_ASIDE);
    }

    #[test]
    fn authors_are_asked_about_in_their_order_and_once() {
        let mut aside = Aside::default();
        for (author, event) in [(5, 1), (3, 1), (5, 2), (4, 1)] {
            assert!(aside.put(waiting(author, event, PeerId::random())));
        }
        let asked = |members: &[Operator]| -> Vec<_> {
            let members = Members::read(&topics(1, members, None)).unwrap();
            aside.unknown(&members).into_iter().map(|(_, author)| author).collect()
        };
        assert_eq!(asked(&[]), [5, 3, 4].map(|author| Operator(author).address()));
        assert_eq!(asked(&[Operator(3)]), [5, 4].map(|author| Operator(author).address()));
        aside.expire(Instant::now() + ASIDE_TIME);
        assert!(aside.take_all().is_empty());
    }
}
