//! The contracts: what aggregator-svc and the supervisor ask, answered from the store, the network and the other wires.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::select_all;
use tarpc::context::Context;
use tokio::time::Instant;
use wavs_ipc::contract::gossip::{
    Bytes, Gossip, InboxBatch, InboxCursor, MAX_GOSSIP_ITEMS, MAX_GOSSIP_WAIT_MS, MAX_RETIRED, NetworkIdentity,
    Publication, RecordVerdict, TopicSet,
};
use wavs_ipc::contract::p2p_admin::{MAX_PEERS, NetworkStatus, P2pAdmin, PeerView};
use wavs_ipc::{ErrorCode, WireError};
use wavs_store::StoreError;
use wavs_types::{B256, EventId, EvmAddress, ServiceId, SignedRecord};

use crate::members::Members;
use crate::network::{Network, Stopping, now_ms};
use crate::store::Store;
use crate::wire::{PublishError, Wire};

/// How long a retired event is remembered, at least.
const RETIRED_FOR: Duration = Duration::from_secs(48 * 3_600);
/// Largest body that is taken for publication: with its frame it has to fit an answer of the exchange.
const MAX_BODY: usize = 4 * 1024 * 1024 - 8_192;

/// Serves both contracts.
#[derive(Clone)]
pub struct GossipService {
    network: Network,
    wires: Vec<Wire>,
    store: Store,
    synced: Arc<tokio::sync::Mutex<Synced>>,
    told: Arc<Mutex<HashSet<(ServiceId, EvmAddress)>>>,
}

/// The desired state in force.
#[derive(Debug, Default)]
struct Synced {
    generation: u64,
    /// Lives of records by service, in milliseconds.
    ttls: std::collections::BTreeMap<ServiceId, u64>,
}

impl GossipService {
    /// A server over a running network.
    #[must_use]
    pub fn new(network: Network, store: Store) -> Self {
        Self {
            wires: vec![Wire::V2(network.clone())],
            network,
            store,
            synced: Arc::default(),
            told: Arc::default(),
        }
    }

    /// The same with a further wire beside the network.
    #[must_use]
    pub fn with(mut self, wire: Wire) -> Self {
        self.wires.push(wire);
        self
    }

    /// Authors to look up that aggregator-svc was not told about yet.
    fn news(&self, unknown: &[(ServiceId, EvmAddress)]) -> Vec<(ServiceId, [u8; 20])> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|author| unknown.contains(author));
        let news: Vec<_> = unknown
            .iter()
            .filter(|author| !told.contains(author))
            .copied()
            .collect();
        told.extend(news.iter().copied());
        news.into_iter()
            .map(|(service, author)| (service, author.into_array()))
            .collect()
    }
}

impl Gossip for GossipService {
    async fn sync(self, _: Context, topics: TopicSet) -> Result<NetworkIdentity, WireError> {
        let mut synced = self.synced.lock().await;
        if topics.generation < synced.generation {
            let text = format!(
                "generation {} is older than {}, which is in force",
                topics.generation, synced.generation
            );
            return Err(WireError::never(ErrorCode::Conflict, text));
        }
        let members =
            Members::read(&topics).map_err(|error| WireError::never(ErrorCode::Invalid, error.to_string()))?;
        for (service, topic) in members.services() {
            if let Some(hello) = &topic.hello {
                let ttl = ttl_ms(topic.ttl);
                self.store
                    .publish(hello.clone(), Vec::new(), now_ms(), ttl)
                    .await
                    .map_err(failed)?;
                tracing::debug!(service_id = %service, "the own hello is in place");
            }
        }
        synced.ttls = members
            .services()
            .map(|(service, topic)| (*service, ttl_ms(topic.ttl)))
            .collect();
        synced.generation = topics.generation;
        for wire in &self.wires {
            wire.sync(&members).await.map_err(stopping)?;
        }
        // Whoever was told and is still not known has to be asked about again.
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(NetworkIdentity {
            peer_id: self.network.local().to_bytes(),
            store: self.store.id(),
        })
    }

    async fn publish(self, _: Context, publication: Publication) -> Result<(), WireError> {
        let Publication { record, body } = publication;
        if body.len() > MAX_BODY {
            let text = format!(
                "the body has {} bytes, at most {MAX_BODY} can be sent to other operators",
                body.len()
            );
            return Err(WireError::never(ErrorCode::TooLarge, text));
        }
        let record =
            SignedRecord::decode(&record).map_err(|error| WireError::never(ErrorCode::Invalid, error.to_string()))?;
        let service = record.record().service_id;
        let ttl = self.synced.lock().await.ttls.get(&service).copied();
        let ttl = ttl.ok_or_else(|| {
            WireError::backoff(
                ErrorCode::NotFound,
                format!("service {service} has no topic yet; sync it first"),
            )
        })?;
        self.store
            .publish(record.clone(), body.clone(), now_ms(), ttl)
            .await
            .map_err(failed)?;
        // What one wire cannot carry goes out on the others all the same.
        let mut refused = Ok(());
        for wire in &self.wires {
            match wire.publish(&record, &body).await {
                Ok(()) => {}
                Err(PublishError::Stopping(cause)) => return Err(stopping(cause)),
                Err(PublishError::Refused(cause)) => {
                    refused = Err(WireError::never(ErrorCode::TooLarge, cause.to_string()));
                }
            }
        }
        refused
    }

    async fn retire(self, _: Context, service_id: ServiceId, events: Vec<EventId>) -> Result<(), WireError> {
        if events.len() > MAX_RETIRED {
            let text = format!("{} events in one call, at most {MAX_RETIRED} are taken", events.len());
            return Err(WireError::never(ErrorCode::Invalid, text));
        }
        let until = now_ms() + ttl_ms(RETIRED_FOR);
        self.store
            .retire(service_id, events.clone(), until)
            .await
            .map_err(failed)?;
        for wire in &self.wires {
            wire.retire(service_id, &events).await.map_err(stopping)?;
        }
        Ok(())
    }

    async fn pull(self, _: Context, after: InboxCursor, max: u32, wait_ms: u32) -> Result<InboxBatch, WireError> {
        let until = Instant::now() + Duration::from_millis(u64::from(wait_ms.min(MAX_GOSSIP_WAIT_MS)));
        let mut arrivals = self.store.arrivals();
        let mut unknown: Vec<_> = self.wires.iter().map(Wire::unknown).collect();
        loop {
            arrivals.mark_unchanged();
            let mut authors: Vec<_> = unknown
                .iter_mut()
                .flat_map(|unknown| unknown.borrow_and_update().clone())
                .collect();
            authors.sort_unstable();
            authors.dedup();
            let news = self.news(&authors);
            let items = self
                .store
                .inbox(after, max.min(MAX_GOSSIP_ITEMS))
                .await
                .map_err(failed)?;
            let batch = InboxBatch {
                store: self.store.id(),
                items,
                unknown: news,
            };
            if !batch.items.is_empty() || !batch.unknown.is_empty() {
                return Ok(batch);
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(batch),
                changed = arrivals.changed() => changed.map_err(|_| stopping(Stopping))?,
                (changed, ..) = select_all(unknown.iter_mut().map(|unknown| Box::pin(unknown.changed()))) => {
                    changed.map_err(|_| stopping(Stopping))?;
                }
            }
        }
    }

    async fn verdict(self, _: Context, record: B256, verdict: RecordVerdict) -> Result<(), WireError> {
        match verdict {
            RecordVerdict::Accept => Ok(()),
            RecordVerdict::Ignore => self.store.remove(record).await.map_err(failed),
            RecordVerdict::Reject => {
                self.store.remove(record).await.map_err(failed)?;
                for wire in &self.wires {
                    wire.blame(record).await.map_err(stopping)?;
                }
                Ok(())
            }
        }
    }

    async fn ack(self, _: Context, upto: InboxCursor) -> Result<(), WireError> {
        self.store.ack(upto).await.map_err(failed)
    }

    async fn body(
        self,
        _: Context,
        service_id: ServiceId,
        digest: B256,
        wait_ms: u32,
    ) -> Result<Option<Bytes>, WireError> {
        if let Some(body) = self.store.body(digest).await.map_err(failed)? {
            return Ok(Some(Bytes(body)));
        }
        let wait = Duration::from_millis(u64::from(wait_ms.min(MAX_GOSSIP_WAIT_MS)));
        match tokio::time::timeout(wait, self.network.body(service_id, digest)).await {
            Ok(found) => Ok(found.map_err(stopping)?.map(Bytes)),
            Err(_) => Ok(None),
        }
    }
}

impl P2pAdmin for GossipService {
    async fn network_status(self, _: Context) -> Result<NetworkStatus, WireError> {
        self.network.status().await.map_err(stopping)
    }

    async fn peers(self, _: Context) -> Result<Vec<PeerView>, WireError> {
        let mut peers = Vec::new();
        for wire in &self.wires {
            peers.extend(wire.peers().await.map_err(stopping)?);
        }
        peers.truncate(MAX_PEERS);
        Ok(peers)
    }
}

fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

fn failed(cause: StoreError) -> WireError {
    WireError::backoff(
        ErrorCode::Internal,
        format!("the store of the network could not be used: {cause}"),
    )
}

fn stopping(cause: Stopping) -> WireError {
    WireError::backoff(ErrorCode::Draining, cause.to_string())
}
