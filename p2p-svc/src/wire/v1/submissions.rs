//! Submissions: what comes in is judged before it is stored or sent on, what the store has of ours goes out.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::gossipsub::{Message, MessageAcceptance, PublishError};
use tokio::sync::mpsc;
use wavs_types::{EventId, ServiceId, Statement, record_id};

use super::kept::Entry;
use super::message::{self, Heard, MessageError};
use super::peers::By;
use super::task::Task;
use super::{service_of, topic};
use crate::aside::{Authored as _, Waiting};
use crate::gate::Admission;
use crate::network::now_ms;
use crate::store::{Outgoing, Store};

/// What one invalid submission costs the peer that said it; a few of them are a ban.
const INVALID: f64 = 45.0;
/// What a submission beyond the budget costs the peer that said it.
const FLOOD: f64 = 0.5;
/// Attestations that are read from the store at once.
const BATCH: usize = 64;
/// Submissions in one commit of the keeper.
const KEEPER_BATCH: usize = 256;

/// A submission that found no subscribed peer.
pub(super) struct Retried {
    service: ServiceId,
    event: EventId,
    message: Vec<u8>,
    /// When it is given up.
    pub(super) until: Instant,
}

impl Task {
    pub(super) fn gossiped(&mut self, from: PeerId, message: &Message) -> MessageAcceptance {
        let Some(service) = service_of(message.topic.as_str()) else {
            return MessageAcceptance::Ignore;
        };
        let by = if message.source == Some(from) {
            By::Author
        } else {
            By::Relay
        };
        self.heard(from, by, &service, &message.data)
    }

    /// Takes a submission from a peer.
    pub(super) fn heard(&mut self, from: PeerId, by: By, service: &ServiceId, bytes: &[u8]) -> MessageAcceptance {
        self.metrics.bytes.with(&["bridge_in"]).add(bytes.len() as u64);
        let (result, acceptance) = self.judge(from, by, service, bytes);
        self.count(result);
        acceptance
    }

    fn judge(&mut self, from: PeerId, by: By, service: &ServiceId, bytes: &[u8]) -> (&'static str, MessageAcceptance) {
        let now = Instant::now();
        if self.members.topic(service).is_none() || !self.settings.bridges(service) {
            return ("no_service", MessageAcceptance::Ignore);
        }
        let id = record_id(bytes);
        if self.seen.get(&id).is_some() {
            return ("repeated", MessageAcceptance::Ignore);
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return ("gone", MessageAcceptance::Ignore);
        };
        if !peer.may_speak(by, now) {
            if by == By::Author {
                self.blame(&from, FLOOD, "too many submissions");
            }
            return ("peer_quota", MessageAcceptance::Ignore);
        }
        match Heard::read(service, bytes) {
            Ok(heard) => match self.admit(&heard, now) {
                Ok(()) if self.keep(heard.clone()) => {
                    self.seen.put(id, ());
                    ("accepted", MessageAcceptance::Accept)
                }
                Ok(()) => ("store_full", MessageAcceptance::Ignore),
                Err("unknown") => {
                    self.aside_changed |= self.aside.put(Waiting::new(heard, from, now));
                    ("unknown", MessageAcceptance::Ignore)
                }
                Err(reason) => (reason, MessageAcceptance::Ignore),
            },
            Err(error) => {
                tracing::debug!(peer = %from, %error, "a submission of generation 1 is invalid");
                // Deployed nodes send on without looking, and keep whatever can be read.
                let is_own_fault = match by {
                    By::Author => true,
                    By::Answer => !matches!(error, MessageError::Contradicts(_)),
                    By::Relay => false,
                };
                if is_own_fault {
                    self.blame(&from, INVALID, "an invalid submission");
                }
                ("invalid", MessageAcceptance::Reject)
            }
        }
    }

    /// Whether a submission is taken; else why not.
    fn admit(&mut self, heard: &Heard, now: Instant) -> Result<(), &'static str> {
        let (service, author) = (heard.service(), heard.author());
        let topic = self.members.topic(&service).ok_or("no_service")?;
        if topic.hello.as_ref().is_some_and(|hello| hello.author() == author) {
            return Err("own");
        }
        let submission = heard.submission();
        match self.gate.admit(topic, &service, Some(submission.event_id), author, now) {
            Admission::Accept => {}
            Admission::Unknown => return Err("unknown"),
            Admission::Stranger => return Err("no_operator"),
            Admission::Ignore(reason) => return Err(reason),
        }
        let digest = submission.envelope.digest();
        if self.kept.contradicts(&service, &submission.event_id, &digest) {
            // Deployed nodes count an event for the first envelope that they see, so ours may be lost there.
            self.count("gen1_conflict");
            tracing::warn!(event_id = %submission.event_id, operator = %author, "an operator of generation 1 has another result for an event than this node");
        }
        Ok(())
    }

    /// A submission whose author may be known now.
    pub(super) fn reconsider(&mut self, waiting: Waiting<Heard>) {
        match self.admit(&waiting.said, Instant::now()) {
            Ok(()) => {
                self.count("accepted_late");
                self.keep(waiting.said);
            }
            Err("unknown") => drop(self.aside.put(waiting)),
            // Looked up and none: it may be registered a moment later.
            Err("no_operator") => drop(self.aside.put(waiting.looked_up())),
            Err(_) => {}
        }
    }

    /// Hands a submission to the keeper. False when there is no room.
    fn keep(&mut self, heard: Heard) -> bool {
        let Some(topic) = self.members.topic(&heard.service()) else {
            return false;
        };
        let ttl = u64::try_from(topic.ttl.as_millis()).unwrap_or(u64::MAX);
        self.keeper.try_send((heard, ttl)).is_ok()
    }

    /// Offers what is new in the store.
    pub(super) async fn follow_store(&mut self) {
        loop {
            let life = u64::try_from(self.settings.life.as_millis()).unwrap_or(u64::MAX);
            let since_ms = now_ms().saturating_sub(life);
            let read = self.store.outgoing(self.followed, since_ms, self.settings.relay, BATCH);
            let batch = match read.await {
                Ok(batch) => batch,
                Err(cause) => {
                    tracing::warn!(%cause, "the bridge cannot read the store; it looks again with the next record");
                    return;
                }
            };
            let is_last = batch.len() < BATCH;
            for outgoing in batch {
                self.followed = outgoing.seq;
                self.offer(&outgoing);
                if outgoing.own && self.settings.relay {
                    self.relay_event(&outgoing).await;
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// What others signed for an event before this node had the body, which it needs for telling it.
    async fn relay_event(&mut self, own: &Outgoing) {
        let said = own.record.record();
        let Some(event) = said.event_id() else { return };
        match self.store.relayed(said.service_id, event).await {
            Ok(others) => others.iter().for_each(|other| self.offer(other)),
            Err(cause) => tracing::warn!(%cause, "the bridge cannot read the store; an event is not sent on"),
        }
    }

    fn offer(&mut self, outgoing: &Outgoing) {
        let said = outgoing.record.record();
        let service = said.service_id;
        let Statement::Attestation(attested) = &said.statement else {
            return;
        };
        if !self.settings.bridges(&service) || self.members.topic(&service).is_none() {
            return;
        }
        let message = match message::of_record(&outgoing.record, &outgoing.body) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                // It was said when it was published.
                tracing::debug!(event_id = %attested.event_id, %error, "a submission is not offered to nodes of generation 1");
                self.metrics.messages.with(&["bridge_out", "refused"]).inc();
                return;
            }
        };
        let now = Instant::now();
        let entry = Entry {
            event: attested.event_id,
            signer: outgoing.record.author(),
            digest: attested.digest,
            message: message.clone(),
            since: now,
        };
        // Other bytes for an event and signer must never be sent, and the same ones only by catch-up.
        if self.kept.put(service, entry) {
            self.publish(Retried {
                service,
                event: attested.event_id,
                message,
                until: now + self.settings.retry_for,
            });
        }
    }

    fn publish(&mut self, submission: Retried) {
        let topic = topic(&submission.service);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let result = match gossip.publish(topic, submission.message.clone()) {
            Ok(_) => "sent",
            Err(PublishError::Duplicate) => "repeated",
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                self.retried.push_back(submission);
                if self.retried.len() > self.settings.max_retried {
                    self.retried.pop_front();
                }
                "no_peers"
            }
            Err(error) => {
                tracing::warn!(service_id = %submission.service, event_id = %submission.event, %error, "a submission could not be gossiped to nodes of generation 1; they get it by catch-up");
                "failed"
            }
        };
        self.metrics.messages.with(&["bridge_out", result]).inc();
    }

    /// Tries again what found nobody.
    pub(super) fn retry(&mut self, now: Instant) {
        for retried in std::mem::take(&mut self.retried) {
            if retried.until > now {
                self.publish(retried);
            }
        }
    }

    /// These events are over.
    pub(super) fn retire(&mut self, service: ServiceId, events: &[EventId]) {
        self.kept.over(&service, events);
        self.retried
            .retain(|retried| retried.service != service || !events.contains(&retried.event));
        for event in events {
            self.gate.retire(service, *event);
        }
    }

    fn count(&self, result: &str) {
        self.metrics.messages.with(&["bridge_in", result]).inc();
    }
}

/// Commits what was accepted, many at a time.
pub(super) async fn keep(store: Store, mut received: mpsc::Receiver<(Heard, u64)>) {
    let mut batch = Vec::with_capacity(KEEPER_BATCH);
    while received.recv_many(&mut batch, KEEPER_BATCH).await > 0 {
        if let Err(cause) = store.bridge(std::mem::take(&mut batch), now_ms()).await {
            tracing::warn!(%cause, "submissions of generation 1 could not be stored; they come again by catch-up");
        }
    }
}
