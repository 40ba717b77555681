//! The habits of a deployed node: it forwards before it looks, keeps what it published and heard for catch-up, tries a
//! publication without subscribed peer again for ten seconds, and asks each new peer about every service.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use libp2p::gossipsub::{IdentTopic, PublishError};
use libp2p::request_response::{self, OutboundRequestId};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::submission::topic;
use crate::swarm::{Behaviour, BehaviourEvent, Request, Response, swarm};

/// Entries of one catch-up answer.
const ANSWERED: usize = 100;
/// Entries kept per service.
const STORED: usize = 500;
/// How long an entry is kept.
const LIFE: Duration = Duration::from_secs(300);
/// How long a publication is tried.
const RETRIED: Duration = Duration::from_secs(10);
/// Events that the test has not looked at; beyond it the node waits, so a test has to look.
const EVENTS: usize = 65_536;

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where it listens.
    pub listen: Multiaddr,
    /// Whom it dials at its start, once.
    pub dial: Vec<Multiaddr>,
    /// The services that it takes part in, as 64 lower-case hex digits.
    pub services: Vec<String>,
    /// Gossip parameters of the local mode instead of the remote one.
    pub local: bool,
}

/// What a node noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection stands.
    Connected(PeerId),
    /// The last connection to a peer has ended.
    Disconnected(PeerId),
    /// A message came by gossip: from which peer, on which topic, its bytes.
    Gossiped(PeerId, String, Vec<u8>),
    /// A peer answered for a service: each submission as it was said.
    Answered(PeerId, String, Vec<String>),
    /// A peer asked for a service.
    Asked(PeerId, String),
}

enum Command {
    Join(String),
    Publish(String, Vec<u8>),
    PublishOnly(String, Vec<u8>),
    Store(String, Vec<u8>),
    Ask(PeerId, String),
}

/// A running node; it ends when this is dropped.
#[derive(Debug)]
pub struct Node {
    commands: mpsc::UnboundedSender<Command>,
    events: mpsc::Receiver<Event>,
    /// Its identity, a fresh one at every start.
    pub id: PeerId,
    /// Where it listens.
    pub address: Multiaddr,
}

impl Node {
    /// Starts a node and waits until it listens.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(config: NodeConfig) -> Result<Self> {
        let mut swarm = swarm(config.local)?;
        swarm.listen_on(config.listen.clone())?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let id = *swarm.local_peer_id();
        for service in &config.services {
            swarm
                .behaviour_mut()
                .gossip
                .subscribe(&IdentTopic::new(topic(service)))?;
        }
        for address in &config.dial {
            swarm.dial(address.clone())?;
        }
        let (commands, received) = mpsc::unbounded_channel();
        let (noticed, events) = mpsc::channel(EVENTS);
        let task = Task {
            swarm,
            services: config.services,
            stored: HashMap::new(),
            retried: Vec::new(),
            asked: HashMap::new(),
            noticed,
        };
        tokio::spawn(task.run(received));
        Ok(Self {
            commands,
            events,
            id,
            address,
        })
    }

    /// Takes part in a service, and asks whoever is connected what was missed.
    pub fn join(&self, service: &str) {
        let _ = self.commands.send(Command::Join(service.to_owned()));
    }

    /// Keeps a message and publishes it.
    pub fn publish(&self, service: &str, message: Vec<u8>) {
        let _ = self.commands.send(Command::Publish(service.to_owned(), message));
    }

    /// Publishes bytes without keeping them, whatever they are.
    pub fn publish_only(&self, service: &str, message: Vec<u8>) {
        let _ = self.commands.send(Command::PublishOnly(service.to_owned(), message));
    }

    /// Keeps a message for those who ask, without publishing it.
    pub fn store(&self, service: &str, message: Vec<u8>) {
        let _ = self.commands.send(Command::Store(service.to_owned(), message));
    }

    /// Asks a peer for what it keeps.
    pub fn ask(&self, peer: PeerId, service: &str) {
        let _ = self.commands.send(Command::Ask(peer, service.to_owned()));
    }

    /// Waits for something that `found` takes a value of.
    ///
    /// # Errors
    /// When it does not happen within `limit`.
    pub async fn until<T>(&mut self, limit: Duration, mut found: impl FnMut(&Event) -> Option<T>) -> Result<T> {
        let waiting = async {
            loop {
                let event = self.events.recv().await.context("the node has ended")?;
                if let Some(value) = found(&event) {
                    return Ok(value);
                }
            }
        };
        tokio::time::timeout(limit, waiting)
            .await
            .context("the node of generation 1 did not notice it in time")?
    }
}

struct Task {
    swarm: Swarm<Behaviour>,
    services: Vec<String>,
    stored: HashMap<String, VecDeque<(Instant, Vec<u8>)>>,
    retried: Vec<(Instant, String, Vec<u8>)>,
    asked: HashMap<OutboundRequestId, String>,
    noticed: mpsc::Sender<Event>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.event(event).await,
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                _ = tick.tick() => self.retry(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Join(service) => {
                let topic = IdentTopic::new(topic(&service));
                // A plain topic is always allowed.
                let _ = self.swarm.behaviour_mut().gossip.subscribe(&topic);
                let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
                for peer in peers {
                    self.ask(&peer, service.clone());
                }
                self.services.push(service);
            }
            Command::Publish(service, message) => {
                self.store(&service, message.clone());
                self.publish(service, message, Instant::now() + RETRIED);
            }
            Command::PublishOnly(service, message) => self.publish(service, message, Instant::now() + RETRIED),
            Command::Store(service, message) => self.store(&service, message),
            Command::Ask(peer, service) => self.ask(&peer, service),
        }
    }

    fn store(&mut self, service: &str, message: Vec<u8>) {
        let stored = self.stored.entry(service.to_owned()).or_default();
        stored.push_back((Instant::now(), message));
        if stored.len() > STORED {
            stored.pop_front();
        }
    }

    fn publish(&mut self, service: String, message: Vec<u8>, until: Instant) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let published = gossip.publish(IdentTopic::new(topic(&service)), message.clone());
        if matches!(published, Err(PublishError::NoPeersSubscribedToTopic)) {
            self.retried.push((until, service, message));
        }
    }

    fn retry(&mut self) {
        let now = Instant::now();
        for (until, service, message) in std::mem::take(&mut self.retried) {
            if until > now {
                self.publish(service, message, until);
            }
        }
    }

    fn ask(&mut self, peer: &PeerId, service_id: String) {
        let request = Request {
            service_id: service_id.clone(),
        };
        let id = self.swarm.behaviour_mut().catch_up.send_request(peer, request);
        self.asked.insert(id, service_id);
    }

    async fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let noticed = match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                num_established,
                ..
            } if num_established.get() == 1 => {
                // What deployed nodes do with those whom they discover: small networks are a full flood.
                self.swarm.behaviour_mut().gossip.add_explicit_peer(&peer_id);
                for service in self.services.clone() {
                    self.ask(&peer_id, service);
                }
                Event::Connected(peer_id)
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => Event::Disconnected(peer_id),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message,
                ..
            })) => {
                let topic = message.topic.into_string();
                if let Some(service) = topic
                    .strip_prefix("wavs/")
                    .and_then(|rest| rest.strip_suffix("/topic/v1"))
                {
                    self.store(service, message.data.clone());
                }
                Event::Gossiped(propagation_source, topic, message.data)
            }
            SwarmEvent::Behaviour(BehaviourEvent::CatchUp(request_response::Event::Message {
                peer, message, ..
            })) => match message {
                request_response::Message::Request { request, channel, .. } => {
                    let response = self.oldest(&request.service_id);
                    let _ = self.swarm.behaviour_mut().catch_up.send_response(channel, response);
                    Event::Asked(peer, request.service_id)
                }
                request_response::Message::Response { request_id, response } => {
                    let service = self.asked.remove(&request_id).unwrap_or_default();
                    let said = response.submissions.iter().map(|said| said.get().to_owned());
                    Event::Answered(peer, service, said.collect())
                }
            },
            _ => return,
        };
        // A test that has ended looks no more.
        let _ = self.noticed.send(noticed).await;
    }

    fn oldest(&self, service: &str) -> Response {
        let stored = self.stored.get(service).into_iter().flatten();
        let fresh = stored.filter(|(since, _)| since.elapsed() < LIFE).take(ANSWERED);
        let said =
            fresh.filter_map(|(_, message)| RawValue::from_string(String::from_utf8(message.clone()).ok()?).ok());
        Response {
            submissions: said.collect(),
        }
    }
}
