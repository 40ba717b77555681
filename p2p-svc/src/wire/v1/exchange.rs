//! Catch-up: what this node offers to whoever asks, and what it asks of whom.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::request_response::{Event, Message};
use serde_json::value::RawValue;
use wavs_types::ServiceId;

use super::peers::By;
use super::task::Task;
use super::{Missed, Wanted};

/// Submissions of one answer that are looked at; deployed nodes send 100 unless told otherwise.
const MAX_CAUGHT_UP: usize = 1_000;

impl Task {
    pub(super) fn exchange_event(&mut self, event: Event<Wanted, Missed>) {
        match event {
            Event::Message { peer, message, .. } => match message {
                Message::Request {
                    request_id,
                    request,
                    channel,
                } => {
                    let mut missed = self.missed(&peer, &request.service_id);
                    let bytes = missed.submissions.iter().map(|said| said.get().len()).sum();
                    if !self.answers.begin(request_id, peer, bytes) {
                        self.count_question("bridge_in", "too_many_bytes");
                        missed = Missed::default();
                    }
                    // The peer may be gone; its question has failed there then.
                    if self
                        .swarm
                        .behaviour_mut()
                        .catch_up
                        .send_response(channel, missed)
                        .is_err()
                    {
                        self.answers.ended(&request_id);
                    }
                }
                Message::Response { request_id, response } => {
                    if let Some(service) = self.asks.ended(&request_id) {
                        self.count_question("bridge_out", "answered");
                        self.caught_up(peer, &service, &response);
                    }
                    self.ask_next();
                }
            },
            Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                tracing::debug!(%peer, %error, "a node of generation 1 did not answer what was missed");
                self.asks.ended(&request_id);
                self.count_question("bridge_out", "failed");
                self.ask_next();
            }
            Event::ResponseSent { request_id, .. } | Event::InboundFailure { request_id, .. } => {
                self.answers.ended(&request_id);
            }
        }
    }

    fn caught_up(&mut self, peer: PeerId, service: &ServiceId, missed: &Missed) {
        for submission in missed.submissions.iter().take(MAX_CAUGHT_UP) {
            self.heard(peer, By::Answer, service, submission.get().as_bytes());
        }
    }

    /// What a peer may have missed. Anybody may ask on this wire, so often.
    fn missed(&mut self, peer: &PeerId, service: &ServiceId) -> Missed {
        let now = Instant::now();
        let may_ask = self.peers.get_mut(peer).is_some_and(|peer| peer.questions.take(now));
        if !may_ask || !self.settings.bridges(service) || self.members.topic(service).is_none() {
            self.count_question("bridge_in", "refused");
            return Missed::default();
        }
        self.count_question("bridge_in", "answered");
        let newest = self.kept.newest(service, self.settings.max_answered, now);
        let text = |message: &[u8]| RawValue::from_string(String::from_utf8(message.to_vec()).ok()?).ok();
        Missed {
            submissions: newest.into_iter().filter_map(text).collect(),
        }
    }

    /// Asks as many of the waiting questions as may be under way at once.
    pub(super) fn ask_next(&mut self) {
        while let Some((peer, service_id)) = self.asks.next() {
            let wanted = Wanted { service_id };
            let id = self.swarm.behaviour_mut().catch_up.send_request(&peer, wanted);
            self.asks.sent(id, peer, service_id);
        }
    }

    /// Asks some peer about each service.
    pub(super) fn ask_around(&mut self) {
        let peers: Vec<PeerId> = self.peers.iter().map(|(peer, _)| *peer).collect();
        if peers.is_empty() {
            return;
        }
        for service in self.topics() {
            self.asks.want(peers[rand::random_range(0..peers.len())], service);
        }
    }

    fn count_question(&self, direction: &str, result: &str) {
        self.metrics.catchup.with(&[direction, result]).inc();
    }
}
