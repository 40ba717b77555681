//! The exchange: hellos after connecting, records that were missed, bodies by digest.
//!
//! Records that were missed are found by comparing sets: the asker names what it holds of a stretch of time, newest first,
//! the other sends what is not among it, page by page. It is asked of every operator when it connects, and of one at random
//! now and then. Records prove themselves, so it does not matter who hands them over.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::request_response::{Event, Message, ResponseChannel};
use tokio::sync::oneshot;
use wavs_types::{B256, RecordBody, ServiceId};

use super::task::{Done, Task, now_ms};
use crate::store::Window;
use crate::wire::v2::{Answer, MAX_HAVE, MAX_HELLOS, Question};

/// Records in one answer.
const PAGE: usize = 256;
/// Pages asked of one peer in a row; the rest is left to the next round.
const MAX_PAGES: u32 = 64;
/// Delay before a peer is asked again that did not know this node as an operator yet, and how often.
const REFUSED_DELAY: Duration = Duration::from_millis(500);
const MAX_REFUSED: u32 = 8;
/// Seconds between two rounds with a peer at random.
const ROUND: u64 = 10;
/// Peers asked for one body, one after the other.
const MAX_ASKED_FOR_BODY: usize = 5;
/// Bodies searched for at once; a further search ends at once without result.
const MAX_SEARCHES: usize = 256;
/// Largest body that is taken from a peer, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024 - 4_096;
/// What an answer that makes no sense costs.
const NONSENSE: f64 = 25.0;

/// What a question was about.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Hello,
    CatchUp {
        service: ServiceId,
        from_ms: u64,
        to_ms: u64,
        page: u32,
        refused: u32,
    },
    Body(B256),
}

/// A body that is looked for.
pub(super) struct Search {
    service: ServiceId,
    left: Vec<PeerId>,
    waiting: Vec<oneshot::Sender<Vec<u8>>>,
}

impl Task {
    /// Tells a peer whom this node speaks for.
    pub(super) fn greet(&mut self, peer: PeerId) {
        let records = self.hellos();
        self.ask(peer, Question::Hello { records }, Asked::Hello);
    }

    fn hellos(&self) -> Vec<Vec<u8>> {
        let own = self.members.services().filter_map(|(_, topic)| topic.hello.as_ref());
        own.take(MAX_HELLOS).map(|hello| hello.encoded().to_vec()).collect()
    }

    pub(super) fn ask(&mut self, peer: PeerId, question: Question, asked: Asked) {
        let id = self.swarm.behaviour_mut().exchange.send_request(&peer, question);
        self.asked.insert(id, (peer, asked));
    }

    pub(super) fn exchange_event(&mut self, event: Event<Question, Answer>) {
        match event {
            Event::Message { peer, message, .. } => match message {
                Message::Request { request, channel, .. } => self.questioned(peer, request, channel),
                Message::Response { request_id, response } => {
                    if let Some((_, asked)) = self.asked.remove(&request_id) {
                        self.answered(peer, asked, response);
                    }
                }
            },
            Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                tracing::debug!(%peer, %error, "a question was not answered");
                if let Some((_, asked)) = self.asked.remove(&request_id) {
                    self.answered(peer, asked, Answer::Refused);
                }
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    fn questioned(&mut self, peer: PeerId, question: Question, channel: ResponseChannel<Answer>) {
        let now = Instant::now();
        let within = self.peers.get_mut(&peer).is_some_and(|peer| peer.questions.take(now));
        let refuse = |task: &mut Self, channel| {
            task.metrics.catchup.with(&["in", "refused"]).inc();
            let _ = task
                .swarm
                .behaviour_mut()
                .exchange
                .send_response(channel, Answer::Refused);
        };
        if !within {
            return refuse(self, channel);
        }
        match question {
            Question::Hello { records } => {
                self.heard_hellos(peer, records, now);
                let answer = Answer::Hello { records: self.hellos() };
                let _ = self.swarm.behaviour_mut().exchange.send_response(channel, answer);
            }
            Question::CatchUp {
                service,
                from_ms,
                to_ms,
                have,
            } => {
                if !self.may_ask(&peer, &service) {
                    return refuse(self, channel);
                }
                self.metrics.catchup.with(&["in", "answered"]).inc();
                let (store, done) = (self.store.clone(), self.done.clone());
                tokio::spawn(async move {
                    let window = Window {
                        service,
                        from_ms,
                        to_ms,
                        have,
                        max: PAGE,
                    };
                    let answer = match store.missing(window).await {
                        Ok((records, more)) => Answer::Records { records, more },
                        Err(_) => Answer::Refused,
                    };
                    let _ = done.send(Done::Answer(channel, answer)).await;
                });
            }
            Question::Body { service, digest } => {
                if !self.may_ask(&peer, &service) {
                    return refuse(self, channel);
                }
                let (store, done) = (self.store.clone(), self.done.clone());
                tokio::spawn(async move {
                    let answer = match store.body(digest).await {
                        Ok(body) => Answer::Body { body },
                        Err(_) => Answer::Refused,
                    };
                    let _ = done.send(Done::Answer(channel, answer)).await;
                });
            }
        }
    }

    /// Records and bodies of a service are for its operators, and for the peers that this node trusts.
    fn may_ask(&self, peer: &PeerId, service: &ServiceId) -> bool {
        self.members.topic(service).is_some() && self.peers.get(peer).is_some_and(|peer| peer.may_ask(service))
    }

    fn heard_hellos(&mut self, peer: PeerId, records: Vec<Vec<u8>>, now: Instant) {
        for encoded in records {
            // Services that this node does not run are skipped before anything is verified.
            let Some(service) = self.service_in(&encoded) else {
                continue;
            };
            if !self.peers.get_mut(&peer).is_some_and(|peer| peer.records.take(now)) {
                return;
            }
            if let Ok(record) = self.judge(peer, &service, &encoded, now) {
                self.keep(record);
            }
        }
    }

    /// The service of ours that encoded bytes claim to be about. Looks for the id in the bytes: cheaper than verifying.
    fn service_in(&self, encoded: &[u8]) -> Option<ServiceId> {
        let found = |service: &ServiceId| encoded.windows(32).take(16).any(|window| window == service.as_bytes());
        self.members.services().map(|(service, _)| *service).find(found)
    }

    fn answered(&mut self, peer: PeerId, asked: Asked, answer: Answer) {
        match (asked, answer) {
            (Asked::Hello, Answer::Hello { records }) => self.heard_hellos(peer, records, Instant::now()),
            (
                Asked::CatchUp {
                    service,
                    from_ms,
                    to_ms,
                    page,
                    ..
                },
                Answer::Records { records, more },
            ) => self.caught_up(peer, service, (from_ms, to_ms), page, &records, more),
            (Asked::CatchUp { service, refused, .. }, Answer::Refused) => {
                self.metrics.catchup.with(&["out", "refused"]).inc();
                if refused < MAX_REFUSED && self.peers.get(&peer).is_some() {
                    let at = Instant::now() + REFUSED_DELAY * (refused + 1);
                    self.again.push((at, peer, service, refused + 1));
                }
            }
            (Asked::Body(digest), Answer::Body { body: Some(body) }) => self.found_body(peer, digest, body),
            (Asked::Body(digest), Answer::Body { body: None } | Answer::Refused) => self.search_on(digest),
            (Asked::Hello, Answer::Refused) => {}
            _ => self.blame(&peer, NONSENSE, "an answer to another question"),
        }
    }

    /// Asks a peer for what this node misses of a service.
    pub(super) fn catch_up(&mut self, peer: PeerId, service: ServiceId) {
        self.metrics.catchup.with(&["out", "asked"]).inc();
        self.ask_window(peer, service, u64::MAX, 0, 0, Vec::new());
    }

    /// Stores `records`, then asks for what is still missing of the window that ends at `to_ms`.
    fn ask_window(
        &mut self,
        peer: PeerId,
        service: ServiceId,
        to_ms: u64,
        page: u32,
        refused: u32,
        records: Vec<(wavs_types::SignedRecord, u64)>,
    ) {
        let (store, done) = (self.store.clone(), self.done.clone());
        tokio::spawn(async move {
            if !records.is_empty()
                && let Err(cause) = store.receive(records, now_ms()).await
            {
                tracing::warn!(%cause, "missed records could not be stored; they are asked for again");
                return;
            }
            let Ok(held) = store.held(service, to_ms, MAX_HAVE).await else {
                return;
            };
            let question = Question::CatchUp {
                service,
                from_ms: held.from_ms,
                to_ms,
                have: held.short_ids.as_chunks().0.iter().copied().collect(),
            };
            let asked = Asked::CatchUp {
                service,
                from_ms: held.from_ms,
                to_ms,
                page,
                refused,
            };
            let _ = done.send(Done::Ask(peer, Box::new(question), asked)).await;
        });
    }

    fn caught_up(
        &mut self,
        peer: PeerId,
        service: ServiceId,
        (from_ms, to_ms): (u64, u64),
        page: u32,
        records: &[Vec<u8>],
        more: bool,
    ) {
        let now = Instant::now();
        let mut accepted = Vec::new();
        for encoded in records.iter().take(PAGE) {
            if !self.peers.get_mut(&peer).is_some_and(|peer| peer.catch_up.take(now)) {
                return;
            }
            if let Ok(record) = self.judge(peer, &service, encoded, now) {
                accepted.push((record, self.ttl_ms(&service)));
            }
        }
        let progress = !accepted.is_empty();
        self.metrics.catchup.with(&["out", "answered"]).inc();
        self.metrics.caught_up.add(accepted.len() as u64);
        if page >= MAX_PAGES || (more && !progress) {
            // A peer that has nothing but what this node does not take would be asked for ever.
            let store = self.store.clone();
            tokio::spawn(async move { store.receive(accepted, now_ms()).await });
        } else if more {
            self.ask_window(peer, service, to_ms, page + 1, 0, accepted);
        } else if from_ms > 0 {
            self.ask_window(peer, service, from_ms, page + 1, 0, accepted);
        } else if progress {
            let store = self.store.clone();
            tokio::spawn(async move { store.receive(accepted, now_ms()).await });
        }
    }

    /// Asks again where a peer did not know this node yet.
    pub(super) fn catch_up_again(&mut self, now: Instant) {
        let due: Vec<_> = self.again.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, peer, service, refused) in due {
            if self.peers.get(&peer).is_some() && self.members.topic(&service).is_some() {
                self.ask_window(peer, service, u64::MAX, 0, refused, Vec::new());
            }
        }
    }

    /// Compares with one operator of each service now and then, so that nothing stays missed.
    pub(super) fn catch_up_somewhere(&mut self) {
        let services: Vec<_> = self.members.services().map(|(service, _)| *service).collect();
        for service in services {
            let operators = self
                .peers
                .iter()
                .filter(|(_, peer)| peer.may_ask(&service))
                .map(|(peer, _)| *peer);
            let operators: Vec<_> = operators.collect();
            // Called once a second: a round per service and operator count takes `ROUND` seconds on average.
            if !operators.is_empty() && rand::random_range(0..ROUND) == 0 {
                let peer = operators[rand::random_range(0..operators.len())];
                self.catch_up(peer, service);
            }
        }
    }

    /// Looks for a body among the operators of a service.
    pub(super) fn search(&mut self, service: ServiceId, digest: B256, reply: oneshot::Sender<Vec<u8>>) {
        if let Some(search) = self.searches.get_mut(&digest) {
            // A caller that went away makes room for the next.
            search.waiting.retain(|waiting| !waiting.is_closed());
            search.waiting.push(reply);
            return;
        }
        if self.searches.len() >= MAX_SEARCHES {
            return;
        }
        let mut left: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.may_ask(&service)).collect();
        // The quickest last, because the last is asked first.
        left.sort_by_key(|(_, peer)| std::cmp::Reverse(peer.round_trip.unwrap_or(Duration::MAX)));
        let left = left
            .into_iter()
            .rev()
            .take(MAX_ASKED_FOR_BODY)
            .map(|(peer, _)| *peer)
            .rev()
            .collect();
        self.searches.insert(
            digest,
            Search {
                service,
                left,
                waiting: vec![reply],
            },
        );
        self.search_on(digest);
    }

    fn search_on(&mut self, digest: B256) {
        let Some(search) = self.searches.get_mut(&digest) else {
            return;
        };
        let service = search.service;
        match search.left.pop() {
            Some(peer) => self.ask(peer, Question::Body { service, digest }, Asked::Body(digest)),
            // Dropping the senders tells that nobody has it.
            None => drop(self.searches.remove(&digest)),
        }
    }

    fn found_body(&mut self, peer: PeerId, digest: B256, body: Vec<u8>) {
        if body.len() > MAX_BODY || RecordBody::digest(&body) != digest {
            self.blame(&peer, NONSENSE, "a body that is another one");
            return self.search_on(digest);
        }
        let Some(search) = self.searches.remove(&digest) else {
            return;
        };
        let (store, service, expires) = (
            self.store.clone(),
            search.service,
            now_ms() + self.ttl_ms(&search.service),
        );
        let copy = body.clone();
        tokio::spawn(async move { store.keep_body(service, copy, expires).await });
        for waiting in search.waiting {
            let _ = waiting.send(body.clone());
        }
    }
}
