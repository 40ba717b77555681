//! The task that owns the swarm of the bridge: events of the swarm, news of the store and the handle, and a tick for what is
//! due by time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::request_response::{InboundRequestId, OutboundRequestId};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub, identify};
use lru::LruCache;
use tokio::sync::mpsc;
use wavs_ipc::contract::p2p_admin::PeerView;
use wavs_types::{B256, ServiceId};

use super::answers::Answers;
use super::asks::Asks;
use super::bridge::Links;
use super::kept::Kept;
use super::message::Heard;
use super::peers::{Peer, Peers};
use super::settings::BridgeSettings;
use super::submissions::{Retried, keep};
use super::swarm::{Behaviour, BehaviourEvent, swarm};
use super::topic;
use crate::aside::Aside;
use crate::gate::Gate;
use crate::members::Members;
use crate::metrics::NetworkMetrics;
use crate::network::Dialler;
use crate::store::Store;

/// How often what is due by time is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Ticks between two pictures of the peers.
const VIEW_TICKS: u64 = 5;
/// Time between two rounds in which some peer is asked about each service, so that nothing stays missed.
const ROUND: Duration = Duration::from_secs(60);
/// Submissions that wait for the keeper. When it is full, further ones are ignored and come again by catch-up.
const KEEPER_QUEUE: usize = 2_048;
/// Messages that are remembered as taken; a copy of a forgotten one costs a recovery and nothing else.
const MAX_SEEN: usize = 16_384;
/// Longest name of a peer's software that is shown, in bytes.
const MAX_AGENT: usize = 64;

/// The state of the bridge. Its methods are spread over the files of this module.
pub(super) struct Task {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) settings: Arc<BridgeSettings>,
    pub(super) store: Store,
    pub(super) metrics: Arc<NetworkMetrics>,
    pub(super) members: Members,
    pub(super) gate: Gate,
    pub(super) peers: Peers,
    pub(super) aside: Aside<Heard>,
    /// Whether there may be other authors to look up.
    pub(super) aside_changed: bool,
    pub(super) seen: LruCache<B256, ()>,
    pub(super) keeper: mpsc::Sender<(Heard, u64)>,
    pub(super) kept: Kept,
    pub(super) retried: std::collections::VecDeque<Retried>,
    pub(super) asks: Asks<OutboundRequestId>,
    pub(super) answers: Answers<InboundRequestId>,
    /// How far the store was followed.
    pub(super) followed: u64,
    dialler: Dialler,
    dials: HashMap<ConnectionId, Multiaddr>,
    retry_at: Instant,
    sweep_at: Instant,
    round_at: Instant,
    ticks: u64,
}

impl Task {
    /// Listens, and reads what is remembered.
    pub(super) async fn new(
        settings: Arc<BridgeSettings>,
        store: Store,
        metrics: Arc<NetworkMetrics>,
    ) -> anyhow::Result<Self> {
        let mut swarm = swarm(settings.answer_limit)?;
        swarm.listen_on(settings.listen.clone()).with_context(|| {
            format!(
                "the bridge cannot listen on {}: is p2p_bridge.listen_port taken, or listen_address not one of this host?",
                settings.listen
            )
        })?;
        let mut gate = Gate::default();
        for (service, event) in store.retired().await.context("cannot read the store")? {
            gate.retire(service, event);
        }
        let now = Instant::now();
        let mut dialler = Dialler::default();
        for node in &settings.nodes {
            dialler.list(node.clone(), now);
        }
        let (keeper, received) = mpsc::channel(KEEPER_QUEUE);
        tokio::spawn(keep(store.clone(), received));
        Ok(Self {
            kept: Kept::new(settings.max_kept, settings.life),
            asks: Asks::new(settings.max_asked),
            answers: Answers::default(),
            swarm,
            settings,
            store,
            metrics,
            members: Members::default(),
            gate,
            peers: Peers::default(),
            aside: Aside::default(),
            aside_changed: true,
            seen: LruCache::new(NonZeroUsize::new(MAX_SEEN).unwrap_or(NonZeroUsize::MIN)),
            keeper,
            retried: std::collections::VecDeque::new(),
            followed: 0,
            dialler,
            dials: HashMap::new(),
            retry_at: now,
            sweep_at: now,
            round_at: now + ROUND,
            ticks: 0,
        })
    }

    /// Runs until the bridge is told to stop.
    pub(super) async fn run(mut self, links: &mut Links) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut news = self.store.news();
        // A task that begins anew finds the state in force here.
        links.members.mark_changed();
        loop {
            tokio::select! {
                () = links.stop.cancelled() => return,
                event = self.swarm.select_next_some() => self.event(event),
                changed = links.members.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let members = links.members.borrow_and_update().clone();
                    self.sync(members);
                    news.mark_changed();
                }
                Some((service, events)) = links.retired.recv() => self.retire(service, &events),
                Ok(()) = news.changed() => self.follow_store().await,
                _ = tick.tick() => {
                    self.tick();
                    if self.ticks.is_multiple_of(VIEW_TICKS) {
                        links.peers.send_replace(self.views());
                    }
                }
            }
            if std::mem::take(&mut self.aside_changed) {
                links.unknown.send_replace(self.aside.unknown(&self.members));
            }
        }
    }

    /// Takes new topics and tables over.
    fn sync(&mut self, members: Members) {
        let bridged = |members: &Members| -> BTreeSet<ServiceId> {
            let services = members.services().map(|(service, _)| *service);
            services.filter(|service| self.settings.bridges(service)).collect()
        };
        let (before, after) = (bridged(&self.members), bridged(&members));
        self.members = members;
        for service in before.difference(&after) {
            self.swarm.behaviour_mut().gossip.unsubscribe(&topic(service));
        }
        let peers: Vec<PeerId> = self.peers.iter().map(|(peer, _)| *peer).collect();
        for service in after.difference(&before) {
            if let Err(error) = self.swarm.behaviour_mut().gossip.subscribe(&topic(service)) {
                tracing::error!(service_id = %service, %error, "the bridge cannot join the topic of a service");
            }
            for peer in &peers {
                self.asks.want(*peer, *service);
            }
            // Attestations of the service may lie behind what was followed; what was sent is not sent again.
            self.followed = 0;
        }
        self.kept.sweep(|service| after.contains(service), Instant::now());
        for waiting in self.aside.take_all() {
            self.reconsider(waiting);
        }
        self.aside_changed = true;
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => {
                let acceptance = self.gossiped(propagation_source, &message);
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, acceptance);
            }
            SwarmEvent::Behaviour(BehaviourEvent::CatchUp(event)) => self.exchange_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                if let Some(peer) = self.peers.get_mut(&peer_id) {
                    let printable = info.agent_version.chars().filter(|letter| !letter.is_control());
                    peer.agent = printable.take(MAX_AGENT).collect();
                }
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.opened(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id, connection_id, ..
            } if self.peers.closed(&peer_id, connection_id) => {
                self.swarm.behaviour_mut().gossip.remove_explicit_peer(&peer_id);
                self.asks.gone(&peer_id);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id, error, ..
            } => {
                if let Some(target) = self.dials.remove(&connection_id) {
                    tracing::debug!(address = %target, %error, "a node of generation 1 cannot be reached now");
                    self.dialler.failed(&target, Instant::now(), rand::random());
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "the bridge listens for nodes of generation 1");
            }
            _ => {}
        }
    }

    fn opened(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let now = Instant::now();
        let address = endpoint.get_remote_address().clone();
        let target = self.dials.remove(&connection);
        let Some(is_new) = self.peers.opened(peer, connection, endpoint.is_dialer(), address, now) else {
            if let Some(target) = target {
                self.dialler.failed(&target, now, rand::random());
            }
            self.swarm.close_connection(connection);
            return;
        };
        if let Some(target) = target {
            self.dialler.reached(&target, peer);
        }
        if is_new {
            tracing::info!(%peer, "connected to a node of generation 1");
            // Deployed nodes treat each other so, and refuse to be grafted.
            self.swarm.behaviour_mut().gossip.add_explicit_peer(&peer);
            for service in self.topics() {
                self.asks.want(peer, service);
            }
        }
    }

    /// The services that are bridged now.
    pub(super) fn topics(&self) -> Vec<ServiceId> {
        let services = self.members.services().map(|(service, _)| *service);
        services.filter(|service| self.settings.bridges(service)).collect()
    }

    fn tick(&mut self) {
        self.ticks += 1;
        let now = Instant::now();
        let connected: HashSet<PeerId> = self.swarm.connected_peers().copied().collect();
        for address in self.dialler.due(now, |peer| connected.contains(peer)) {
            let options = DialOpts::from(address.clone());
            let connection = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => drop(self.dials.insert(connection, address)),
                Err(DialError::LocalPeerId { .. }) => self.dialler.forget(&address),
                Err(_) => self.dialler.failed(&address, now, rand::random()),
            }
        }
        // While nobody is connected, trying again is of no use; the time runs on, and catch-up makes up for it.
        if now >= self.retry_at && !connected.is_empty() {
            self.retry_at = now + self.settings.retry_every;
            self.retry(now);
        }
        if now >= self.round_at {
            self.round_at = now + ROUND;
            self.ask_around();
        }
        self.ask_next();
        if now >= self.sweep_at {
            self.sweep_at = now + self.settings.sweep_every;
            let topics: BTreeSet<ServiceId> = self.topics().into_iter().collect();
            self.kept.sweep(|service| topics.contains(service), now);
            self.retried.retain(|retried| retried.until > now);
            self.aside.expire(now);
        }
    }

    /// Blames a peer and turns it away if that was too much.
    pub(super) fn blame(&mut self, peer: &PeerId, weight: f64, reason: &'static str) {
        if self.peers.blame(peer, weight, reason, Instant::now()) {
            tracing::warn!(%peer, reason, "a node of generation 1 is turned away for a while because of what it sends");
            self.metrics.banned.with(&[reason]).inc();
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(*peer);
        }
    }

    fn views(&self) -> Vec<PeerView> {
        let now = Instant::now();
        let connected = self.peers.iter().map(|(peer, state)| self.view(peer, state, now));
        connected.chain(self.peers.bans.views(now)).collect()
    }

    fn view(&self, peer: &PeerId, state: &Peer, now: Instant) -> PeerView {
        PeerView {
            agent: state.agent.clone(),
            score: -state.conduct.faults(now),
            reasons: state.conduct.reasons(),
            ..state.connections.view(peer, &self.swarm.behaviour().gossip)
        }
    }
}
