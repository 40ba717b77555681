//! Records: topics, what comes in and what goes out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::gossipsub::{Event, MessageAcceptance, PublishError};
use wavs_types::{B256, EvmAddress, ServiceId, SignedRecord, Statement};

use super::gossip::topic_scores;
use super::task::{Task, now_ms};
use crate::aside::Waiting;
use crate::gate::Judgement;
use crate::members::Members;
use crate::wire::v2;

/// What one invalid record costs its sender; a few of them are a ban.
const INVALID: f64 = 45.0;
/// What a record beyond the budget costs its sender.
const FLOOD: f64 = 0.5;
/// Peers that are asked for what they have of a service when it has a new operator.
const ASKED_FOR_NEWCOMER: usize = 3;

impl Task {
    /// Takes new topics and tables over.
    pub(super) fn sync(&mut self, members: Members) {
        let before: BTreeSet<ServiceId> = self.members.services().map(|(service, _)| *service).collect();
        let after: BTreeSet<ServiceId> = members.services().map(|(service, _)| *service).collect();
        let hellos = |members: &Members| {
            members
                .services()
                .filter_map(|(_, topic)| topic.hello.as_ref())
                .map(SignedRecord::id)
                .collect::<BTreeSet<_>>()
        };
        let news = hellos(&members).difference(&hellos(&self.members)).count() > 0;
        for service in before.difference(&after) {
            self.swarm.behaviour_mut().gossip.unsubscribe(&v2::topic(service));
        }
        for service in after.difference(&before) {
            let topic = v2::topic(service);
            let gossip = &mut self.swarm.behaviour_mut().gossip;
            match gossip.subscribe(&topic) {
                Ok(_) => drop(gossip.set_topic_params(topic, topic_scores())),
                Err(error) => tracing::error!(service_id = %service, %error, "cannot join the topic of a service"),
            }
        }
        let grown: Vec<ServiceId> = members
            .services()
            .filter(|(service, topic)| {
                let before = self.members.topic(service);
                before.is_some_and(|before| topic.has_more_than(before))
            })
            .map(|(service, _)| *service)
            .collect();
        self.members = members;
        let (members, now) = (&self.members, Instant::now());
        let is_member = |service: &ServiceId, author: &EvmAddress| {
            members
                .topic(service)
                .is_some_and(|topic| topic.standing(author) == crate::members::Standing::Member)
        };
        self.peers.retain_operators(is_member, now);
        for waiting in self.aside.take_all() {
            self.reconsider(waiting);
        }
        self.tell_unknown();
        for service in grown {
            self.ask_for_newcomer(service);
        }
        if news {
            self.announce();
        }
    }

    /// A service has a new operator. What it said before it was one was dropped here, and gossip does not repeat itself.
    fn ask_for_newcomer(&mut self, service: ServiceId) {
        let operators = self.peers.iter().filter(|(_, peer)| peer.may_ask(&service));
        let asked: Vec<_> = operators.map(|(peer, _)| *peer).take(ASKED_FOR_NEWCOMER).collect();
        for peer in asked {
            self.catch_up(peer, service);
        }
    }

    /// Sends this node's hellos to everybody who is connected, and on the topics for the others.
    fn announce(&mut self) {
        let own: Vec<_> = self
            .members
            .services()
            .filter_map(|(_, topic)| topic.hello.clone())
            .collect();
        for hello in &own {
            self.publish(hello);
        }
        let peers: Vec<_> = self.peers.iter().map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.greet(peer);
        }
    }

    /// Sends a record of our own. Whoever is not reached now asks for it later.
    pub(super) fn publish(&mut self, record: &SignedRecord) {
        let topic = v2::topic(&record.record().service_id);
        let published = self
            .swarm
            .behaviour_mut()
            .gossip
            .publish(topic.hash(), record.encoded());
        let result = match published {
            Ok(_) => "sent",
            Err(PublishError::Duplicate) => "repeated",
            Err(PublishError::NoPeersSubscribedToTopic) => "no_peers",
            Err(error) => {
                tracing::warn!(service_id = %record.record().service_id, %error, "a record could not be sent; peers get it by catch-up");
                "failed"
            }
        };
        self.metrics.messages.with(&["out", result]).inc();
        self.metrics.bytes.with(&["out"]).add(record.encoded().len() as u64);
    }

    pub(super) fn gossip_event(&mut self, event: Event) {
        match event {
            Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                let acceptance = self.gossiped(propagation_source, message.topic.as_str(), &message.data);
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, acceptance);
            }
            Event::GossipsubNotSupported { peer_id } => tracing::debug!(peer = %peer_id, "a peer does not gossip"),
            _ => {}
        }
    }

    fn gossiped(&mut self, from: PeerId, topic: &str, bytes: &[u8]) -> MessageAcceptance {
        let now = Instant::now();
        self.metrics.bytes.with(&["in"]).add(bytes.len() as u64);
        let Some(peer) = self.peers.get_mut(&from) else {
            return MessageAcceptance::Ignore;
        };
        if !peer.records.take(now) {
            self.count("peer_quota");
            self.blame(&from, FLOOD, "too many records");
            return MessageAcceptance::Ignore;
        }
        let Some(service) = v2::service_of(topic) else {
            return MessageAcceptance::Ignore;
        };
        match self.judge(from, &service, bytes, now) {
            Ok(record) if self.keep(record.clone()) => MessageAcceptance::Accept,
            Ok(_) => {
                self.count("store_full");
                MessageAcceptance::Ignore
            }
            Err(true) => MessageAcceptance::Reject,
            Err(false) => MessageAcceptance::Ignore,
        }
    }

    /// Decides about a record from a peer, counts, and blames. The error tells whether it was invalid.
    pub(super) fn judge(
        &mut self,
        from: PeerId,
        service: &ServiceId,
        bytes: &[u8],
        now: Instant,
    ) -> Result<SignedRecord, bool> {
        match self.gate.judge(&self.members, service, bytes, now_ms(), now) {
            Judgement::Accept(record) => {
                self.count("accepted");
                self.senders.put(record.id(), from);
                self.heard_hello(&record, now);
                Ok(record)
            }
            Judgement::Unknown(record) => {
                self.count("unknown");
                if self.aside.put(Waiting::new(record, from, now)) {
                    self.tell_unknown();
                }
                Err(false)
            }
            Judgement::Stranger(record) => {
                self.count("no_operator");
                // Said once, and needed as soon as its author is registered.
                if matches!(record.record().statement, Statement::Hello(_)) {
                    self.aside.put(Waiting::new(record, from, now).looked_up());
                }
                Err(false)
            }
            Judgement::Ignore(reason) => {
                self.count(reason);
                Err(false)
            }
            Judgement::Reject(reason) => {
                self.count(reason);
                self.blame(&from, INVALID, reason);
                Err(true)
            }
        }
    }

    /// A record whose author may be known now.
    fn reconsider(&mut self, waiting: Waiting<SignedRecord>) {
        let service = waiting.said.record().service_id;
        let judgement = self.gate.judge(
            &self.members,
            &service,
            waiting.said.encoded(),
            now_ms(),
            Instant::now(),
        );
        match judgement {
            Judgement::Accept(record) => {
                self.count("accepted_late");
                self.heard_hello(&record, Instant::now());
                self.keep(record);
            }
            Judgement::Unknown(_) => drop(self.aside.put(waiting)),
            // Looked up and none: it may be registered a moment later.
            Judgement::Stranger(_) => drop(self.aside.put(waiting.looked_up())),
            Judgement::Ignore(_) | Judgement::Reject(_) => {}
        }
    }

    /// A hello names the peer that speaks for its author. Whoever brought it, the connection proves who that peer is.
    fn heard_hello(&mut self, record: &SignedRecord, now: Instant) {
        let Statement::Hello(hello) = &record.record().statement else {
            return;
        };
        let service = record.record().service_id;
        let Ok(peer) = PeerId::from_bytes(&hello.peer_id) else {
            return;
        };
        if self.peers.speaks_for(&peer, service, record.author(), now) {
            tracing::info!(%peer, service_id = %service, operator = %record.author(), "connected to an operator");
            self.keep_operator(peer);
            self.catch_up(peer, service);
        }
    }

    /// Hands a record to the keeper. False when there is no room.
    pub(super) fn keep(&mut self, record: SignedRecord) -> bool {
        let ttl = self.ttl_ms(&record.record().service_id);
        self.keeper.try_send((record, ttl)).is_ok()
    }

    /// Life of the records of a service.
    pub(super) fn ttl_ms(&self, service: &ServiceId) -> u64 {
        let ttl = self.members.topic(service).map_or(Duration::ZERO, |topic| topic.ttl);
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
    }

    /// aggregator-svc found a record to be bad.
    pub(super) fn blame_senders(&mut self, id: &B256) {
        if let Some(peer) = self.senders.pop(id) {
            self.blame(&peer, INVALID, "rejected by the ledger");
        }
    }

    fn tell_unknown(&mut self) {
        let authors = self.aside.unknown(&self.members);
        self.unknown.send_if_modified(|known| {
            let changed = *known != authors;
            *known = authors;
            changed
        });
    }

    fn count(&self, result: &str) {
        self.metrics.messages.with(&["in", result]).inc();
    }
}
