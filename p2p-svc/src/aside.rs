//! What authors said whose standing is not known yet. It waits here, in a bounded room per service, until aggregator-svc
//! has looked the author up; operators do sign a little before their registration is mined.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use wavs_types::{B256, EvmAddress, ServiceId, SignedRecord};

use crate::members::{Members, Standing};

/// What is kept aside per service; more is dropped.
const MAX_ASIDE: usize = 64;
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
    pub since: Instant,
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
    pub fn put(&mut self, said: T, from: PeerId, now: Instant) -> bool {
        let service = said.service();
        if !self.waiting.contains_key(&service) && self.waiting.len() >= MAX_SERVICES {
            return false;
        }
        let list = self.waiting.entry(service).or_default();
        if list.len() >= MAX_ASIDE || list.iter().any(|waiting| waiting.said.id() == said.id()) {
            return false;
        }
        list.push(Waiting { said, from, since: now });
        true
    }

    /// The authors to look up, given who is known already.
    pub fn unknown(&self, members: &Members) -> Vec<(ServiceId, EvmAddress)> {
        let authors: BTreeSet<_> = self
            .waiting
            .iter()
            .flat_map(|(service, list)| list.iter().map(|waiting| (*service, waiting.said.author())))
            .filter(|(service, author)| {
                let topic = members.topic(service);
                topic.is_some_and(|topic| topic.standing(author) == Standing::Unknown)
            })
            .collect();
        authors.into_iter().collect()
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
    use crate::testing::{Operator, service, topics};

    #[test]
    fn what_waits_is_bounded_and_its_authors_are_asked_about() {
        let (mut aside, now, from) = (Aside::default(), Instant::now(), PeerId::random());
        for event in 0..2 * u32::try_from(MAX_ASIDE).unwrap() {
            let kept = aside.put(Operator(9).attest(event, 1, 1), from, now);
            assert_eq!(kept, (event as usize) < MAX_ASIDE);
        }
        let nobody = Members::read(&topics(1, &[], None)).unwrap();
        assert_eq!(aside.unknown(&nobody), [(service(), Operator(9).address())]);
        let known = Members::read(&topics(1, &[Operator(9)], None)).unwrap();
        assert!(aside.unknown(&known).is_empty());
        aside.expire(now + ASIDE_TIME);
        assert!(aside.take_all().is_empty());
    }
}
