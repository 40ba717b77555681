//! The network as people see it.

use std::collections::HashSet;
use std::time::Instant;

use libp2p::PeerId;
use wavs_ipc::contract::p2p_admin::{MAX_PEERS, NetworkStatus, PeerView};

use super::peers::Peer;
use super::task::Task;
use crate::wire::v2;

impl Task {
    /// The shape of `GET /p2p/status`.
    pub(super) fn status(&self) -> NetworkStatus {
        let local = *self.swarm.local_peer_id();
        let gossip = &self.swarm.behaviour().gossip;
        let topics: Vec<String> = self
            .members
            .services()
            .map(|(service, _)| v2::topic(service).to_string())
            .collect();
        let subscribed = |topic: &String| {
            let peers = gossip
                .all_peers()
                .filter(|(_, topics)| topics.iter().any(|known| known.as_str() == topic));
            peers.count() as u64
        };
        let peers: Vec<String> = self.peers.iter().map(|(peer, _)| peer.to_string()).collect();
        NetworkStatus {
            enabled: true,
            local_peer_id: Some(local.to_string()),
            listen_addresses: self
                .swarm
                .listeners()
                .map(|address| {
                    address
                        .clone()
                        .with_p2p(local)
                        .unwrap_or_else(|other| other)
                        .to_string()
                })
                .collect(),
            external_addresses: self.swarm.external_addresses().map(ToString::to_string).collect(),
            connected_peers: peers.len() as u64,
            peer_ids: peers,
            topic_peer_counts: topics.iter().map(|topic| (topic.clone(), subscribed(topic))).collect(),
            subscribed_topics: topics,
        }
    }

    /// The rows of `GET /v1/p2p/peers`.
    pub(super) fn peer_views(&self) -> Vec<PeerView> {
        let now = Instant::now();
        let mut views: Vec<PeerView> = self
            .peers
            .iter()
            .map(|(peer, state)| self.view(peer, state, now))
            .collect();
        views.sort_by(|a, b| b.score.total_cmp(&a.score));
        let banned = self.peers.bans.views(now);
        let connected: HashSet<String> = views.iter().map(|view| view.id.clone()).collect();
        views.extend(banned.filter(|view| !connected.contains(&view.id)));
        views.truncate(MAX_PEERS);
        views
    }

    fn view(&self, peer: &PeerId, state: &Peer, now: Instant) -> PeerView {
        let gossip = &self.swarm.behaviour().gossip;
        PeerView {
            agent: state.agent.clone(),
            score: gossip.peer_score(peer).unwrap_or_else(|| state.own_score(now)),
            operators: state
                .operators
                .iter()
                .map(|(service, author)| (service.to_string(), author.to_string()))
                .collect(),
            round_trip_ms: state.round_trip.and_then(|took| u64::try_from(took.as_millis()).ok()),
            reasons: state.conduct.reasons(),
            ..state.connections.view(peer, gossip)
        }
    }
}
