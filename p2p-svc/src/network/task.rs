//! The task that owns the swarm: takes events and commands, and a tick for what is due by time.
//!
//! Nothing here waits: what needs the store is done by a short task of its own that reports back as [`Done`].

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use lru::LruCache;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wavs_types::{B256, EvmAddress, ServiceId, SignedRecord};

use super::Command;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::dial::Dialler;
use super::exchange::{Asked, Search};
use super::peers::Peers;
use crate::aside::Aside;
use crate::conduct::BAN_SCORE;
use crate::gate::Gate;
use crate::members::Members;
use crate::metrics::NetworkMetrics;
use crate::settings::{Discovery, Settings};
use crate::store::{KnownPeer, Store};
use crate::wire::v2::{Answer, Question};

/// How often what is due by time is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two rounds of scores and metrics.
const SCORE_TICKS: u64 = 4;
/// Ticks between two removals of what is too old.
const SWEEP_TICKS: u64 = 240;
/// Records that wait for the keeper. When it is full, further ones are ignored and come again by catch-up.
const KEEPER_QUEUE: usize = 8_192;
/// Records in one commit of the keeper.
const KEEPER_BATCH: usize = 512;
/// Reports of short tasks that wait. When it is full, the short tasks wait.
const DONE_QUEUE: usize = 256;
/// Records whose senders are remembered for a later verdict; the oldest are forgotten.
const MAX_SENDERS: usize = 16_384;
/// Ticks between two greetings of peers that are not known to speak for anybody: an earlier one may have come too soon.
const GREET_TICKS: u64 = 120;
/// Ticks between two looks at the address book.
const BOOK_TICKS: u64 = 1_200;
/// Peers of the address book that are tried at once, the latest first.
const REMEMBERED: usize = 64;

/// What a short task reports.
pub(super) enum Done {
    Answer(ResponseChannel<Answer>, Answer),
    Ask(PeerId, Box<Question>, Asked),
    Book(Vec<KnownPeer>),
}

/// The state of the task. Its methods are spread over the files of this module.
pub(super) struct Task {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) settings: Settings,
    pub(super) trusted: Vec<PeerId>,
    pub(super) store: Store,
    pub(super) metrics: Arc<NetworkMetrics>,
    pub(super) members: Members,
    pub(super) gate: Gate,
    pub(super) peers: Peers,
    pub(super) dialler: Dialler,
    pub(super) dials: HashMap<ConnectionId, Multiaddr>,
    pub(super) aside: Aside<SignedRecord>,
    pub(super) unknown: watch::Sender<Vec<(ServiceId, EvmAddress)>>,
    pub(super) senders: LruCache<B256, PeerId>,
    pub(super) keeper: mpsc::Sender<(SignedRecord, u64)>,
    pub(super) done: mpsc::Sender<Done>,
    pub(super) asked: HashMap<OutboundRequestId, (PeerId, Asked)>,
    pub(super) searches: HashMap<B256, Search>,
    /// Catch-up to try again: when, with whom, about what, for the how manieth time.
    pub(super) again: Vec<(Instant, PeerId, ServiceId, u32)>,
    pub(super) next_search: Instant,
    /// Peers through which others reach this node.
    pub(super) relays: BTreeSet<PeerId>,
    ticks: u64,
    finished: mpsc::Receiver<Done>,
}

impl Task {
    /// Listens, and reads what is remembered.
    pub(super) async fn new(
        mut swarm: Swarm<Behaviour>,
        settings: Settings,
        store: Store,
        metrics: Arc<NetworkMetrics>,
        unknown: watch::Sender<Vec<(ServiceId, EvmAddress)>>,
    ) -> anyhow::Result<Self> {
        for listen in &settings.listen {
            match swarm.listen_on(listen.address.clone()) {
                Ok(_) => {}
                Err(error) if listen.required => {
                    let address = &listen.address;
                    return Err(anyhow::Error::from(error).context(format!(
                        "cannot listen on {address}: is the port taken, or listen_address not one of this host?"
                    )));
                }
                Err(error) => {
                    tracing::warn!(address = %listen.address, %error, "cannot listen there; going on without");
                }
            }
        }
        for address in &settings.external {
            swarm.add_external_address(address.clone());
        }
        let mut gate = Gate::default();
        for (service, event) in store.retired().await.context("cannot read the store")? {
            gate.retire(service, event);
        }
        let now = Instant::now();
        let mut dialler = Dialler::default();
        let bootstrap = match &settings.discovery {
            Discovery::Local => &[][..],
            Discovery::Remote { bootstrap, .. } => bootstrap,
        };
        for address in settings.static_peers.iter().chain(bootstrap) {
            dialler.list(address.clone(), now);
        }
        for known in store.known_peers().await?.into_iter().take(REMEMBERED) {
            dialler.found(known.peer, &known.address, now);
        }
        let (keeper, kept) = mpsc::channel(KEEPER_QUEUE);
        tokio::spawn(keep(store.clone(), kept));
        let (done, finished) = mpsc::channel(DONE_QUEUE);
        Ok(Self {
            trusted: settings.trusted(),
            swarm,
            settings,
            store,
            metrics,
            members: Members::default(),
            gate,
            peers: Peers::default(),
            dialler,
            dials: HashMap::new(),
            aside: Aside::default(),
            unknown,
            senders: LruCache::new(NonZeroUsize::new(MAX_SENDERS).unwrap_or(NonZeroUsize::MIN)),
            keeper,
            done,
            asked: HashMap::new(),
            searches: HashMap::new(),
            again: Vec::new(),
            next_search: now,
            relays: BTreeSet::new(),
            ticks: 0,
            finished,
        })
    }

    /// Runs until `stop`.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = self.swarm.select_next_some() => self.event(event),
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return Ok(()),
                },
                done = self.finished.recv() => {
                    if let Some(done) = done {
                        self.finish(done);
                    }
                }
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Sync(members, done) => {
                self.sync(members);
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            Command::Publish(record) => self.publish(&record),
            Command::Retire(service, events) => {
                for event in events {
                    self.gate.retire(service, event);
                }
            }
            Command::Blame(id) => self.blame_senders(&id),
            Command::Body(service, digest, reply) => self.search(service, digest, reply),
            Command::Status(reply) => drop(reply.send(self.status())),
            Command::Peers(reply) => drop(reply.send(self.peer_views())),
            #[cfg(test)]
            Command::Inject(topic, bytes) => drop(self.swarm.behaviour_mut().gossip.publish(topic, bytes)),
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Answer(channel, answer) => {
                // The peer may be gone; its question has failed there then.
                let _ = self.swarm.behaviour_mut().exchange.send_response(channel, answer);
            }
            Done::Ask(peer, question, asked) => self.ask(peer, *question, asked),
            Done::Book(known) => {
                let now = Instant::now();
                for known in known.into_iter().take(REMEMBERED) {
                    if self.peers.get(&known.peer).is_none() && !self.peers.bans.has(&known.peer, now) {
                        self.dialler.found(known.peer, &known.address, now);
                    }
                }
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.protocol_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.opened(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id, connection_id, ..
            } => {
                self.peers.closed(&peer_id, connection_id);
                if self.peers.get(&peer_id).is_none() {
                    self.relays.remove(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id, error, ..
            } => self.dial_failed(connection_id, &error),
            SwarmEvent::NewListenAddr { address, .. } => tracing::info!(%address, "listening for other operators"),
            SwarmEvent::ExternalAddrConfirmed { address } => tracing::info!(%address, "reachable for other operators"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "a listening address was lost");
            }
            _ => {}
        }
    }

    fn protocol_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossip(event) => self.gossip_event(event),
            BehaviourEvent::Exchange(event) => self.exchange_event(event),
            BehaviourEvent::Identify(event) => self.identify_event(event),
            BehaviourEvent::Ping(event) => {
                if let (Ok(took), Some(peer)) = (event.result, self.peers.get_mut(&event.peer)) {
                    peer.round_trip = Some(took);
                }
            }
            BehaviourEvent::Mdns(event) => self.mdns_event(event),
            BehaviourEvent::Table(event) => self.table_event(event),
            BehaviourEvent::Relay(event) => tracing::info!(?event, "this node is reached through another one"),
            _ => {}
        }
    }

    fn opened(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let now = Instant::now();
        let address = endpoint.get_remote_address().clone();
        let outbound = endpoint.is_dialer();
        if let Some(target) = self.dials.remove(&connection) {
            self.dialler.reached(&target, peer);
        }
        let trusted = self.trusted.contains(&peer);
        let opened = self
            .peers
            .opened(peer, connection, outbound, address.clone(), trusted, now);
        match opened {
            Ok(is_new) => {
                if outbound {
                    self.remember(KnownPeer { peer, address });
                }
                if is_new {
                    self.greet(peer);
                }
            }
            Err(reason) => {
                tracing::debug!(%peer, reason, "a connection is closed again");
                self.metrics.banned.with(&[reason]).inc();
                self.swarm.close_connection(connection);
            }
        }
    }

    fn dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let Some(target) = self.dials.remove(&connection) else {
            return;
        };
        match error {
            // This node itself: the list is the same for all operators.
            DialError::LocalPeerId { .. } => self.dialler.forget(&target),
            error => {
                tracing::debug!(address = %target, %error, "a peer cannot be reached now");
                self.dialler.failed(&target, Instant::now(), rand::random());
            }
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        let now = Instant::now();
        let connected = self
            .swarm
            .connected_peers()
            .copied()
            .collect::<std::collections::HashSet<_>>();
        for address in self.dialler.due(now, |peer| connected.contains(peer)) {
            let options = DialOpts::from(address.clone());
            let connection = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => drop(self.dials.insert(connection, address)),
                Err(DialError::LocalPeerId { .. }) => self.dialler.forget(&address),
                Err(_) => self.dialler.failed(&address, now, rand::random()),
            }
        }
        self.catch_up_again(now);
        self.aside.expire(now);
        self.look_around(now);
        if self.ticks.is_multiple_of(SCORE_TICKS) {
            self.score(now);
            self.lift_bans(now);
            self.catch_up_somewhere();
        }
        if self.ticks.is_multiple_of(GREET_TICKS) {
            let unknown = self.peers.iter().filter(|(_, peer)| peer.operators.is_empty());
            let unknown: Vec<PeerId> = unknown.map(|(peer, _)| *peer).collect();
            for peer in unknown {
                self.greet(peer);
            }
        }
        if self.ticks.is_multiple_of(BOOK_TICKS) {
            self.reread_book();
        }
        if self.ticks.is_multiple_of(SWEEP_TICKS) {
            let store = self.store.clone();
            tokio::spawn(async move {
                if let Err(cause) = store.sweep(now_ms()).await {
                    tracing::warn!(%cause, "old records could not be removed; they are tried again");
                }
            });
        }
    }

    /// Tells gossip what this node thinks of its peers, and everybody how many there are.
    fn score(&mut self, now: Instant) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        for (peer, state) in self.peers.iter() {
            gossip.set_application_score(peer, state.own_score(now));
        }
        // Gossip does not look at anything of a peer below this score any more, so nothing would lower it further.
        let graylisted = |peer: &PeerId| gossip.peer_score(peer).is_some_and(|score| score <= BAN_SCORE);
        let graylisted: Vec<_> = self.peers.iter().map(|(peer, _)| *peer).filter(graylisted).collect();
        for peer in &graylisted {
            self.blame(peer, -BAN_SCORE, "a bad score");
        }
        let gossip = &self.swarm.behaviour().gossip;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.peers.set(count(self.peers.iter().count()));
        let operators = self.peers.iter().filter(|(_, peer)| !peer.operators.is_empty()).count();
        self.metrics.operators.set(count(operators));
        self.metrics.mesh.set(count(gossip.all_mesh_peers().count()));
    }

    /// Blames a peer and turns it away if that was too much.
    pub(super) fn blame(&mut self, peer: &PeerId, weight: f64, reason: &'static str) {
        if self.peers.blame(peer, weight, reason, Instant::now()) {
            tracing::warn!(%peer, reason, "a peer is turned away for a while because of what it sends");
            self.metrics.banned.with(&[reason]).inc();
            self.swarm.behaviour_mut().banned.block_peer(*peer);
        }
    }

    /// Lets peers in again whose time is over.
    fn lift_bans(&mut self, now: Instant) {
        let banned = &mut self.swarm.behaviour_mut().banned;
        let over = |peer: &&PeerId| !self.peers.bans.has(peer, now);
        let over: Vec<_> = banned.blocked_peers().iter().filter(over).copied().collect();
        for peer in over {
            banned.unblock_peer(peer);
        }
    }

    /// Tries the peers of the address book again that are not connected: one that was away for long may be back.
    fn reread_book(&self) {
        let (store, done) = (self.store.clone(), self.done.clone());
        tokio::spawn(async move {
            match store.known_peers().await {
                Ok(known) => drop(done.send(Done::Book(known)).await),
                Err(cause) => tracing::debug!(%cause, "the address book cannot be read now"),
            }
        });
    }

    pub(super) fn remember(&self, known: KnownPeer) {
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(cause) = store.met(known, now_ms()).await {
                tracing::debug!(%cause, "a peer could not be remembered");
            }
        });
    }
}

/// Commits what was accepted, many at a time.
async fn keep(store: Store, mut received: mpsc::Receiver<(SignedRecord, u64)>) {
    let mut batch = Vec::with_capacity(KEEPER_BATCH);
    while received.recv_many(&mut batch, KEEPER_BATCH).await > 0 {
        if let Err(cause) = store.receive(std::mem::take(&mut batch), now_ms()).await {
            tracing::warn!(%cause, "records could not be stored; they come again by catch-up");
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
