//! p2p-svc as a script: what it was told is kept, and tests put into the inbox whatever other operators are to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use wavs_ipc::contract::gossip::{
    Bytes, Generation, Gossip, GossipClient, InboxBatch, InboxCursor, InboxItem, NetworkIdentity, Publication,
    RecordVerdict, Topic, TopicSet,
};
use wavs_ipc::{Context, Identity, Role, Router, WireError, handler, socket};
use wavs_types::{B256, EventId, EvmAddress, RecordBody, ServiceId, SignedRecord, Statement};

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct FakeGossip {
    said: watch::Sender<Said>,
    heard: watch::Sender<Heard>,
    bodies: Arc<Mutex<BTreeMap<B256, Vec<u8>>>>,
}

/// What the node told.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub topics: Vec<Topic>,
    pub published: Vec<SignedRecord>,
    pub retired: Vec<EventId>,
    pub rejected: Vec<B256>,
    pub acked: u64,
}

/// What waits for the node.
#[derive(Debug, Clone)]
struct Heard {
    store: u128,
    records: Vec<Vec<u8>>,
    unknown: Vec<(ServiceId, [u8; 20])>,
}

impl Said {
    /// The attestations among what was published.
    pub fn attestations(&self) -> Vec<&SignedRecord> {
        let is_one = |record: &&SignedRecord| matches!(record.record().statement, Statement::Attestation(_));
        self.published.iter().filter(is_one).collect()
    }
}

impl FakeGossip {
    pub fn serve(path: &Path) -> Self {
        let gossip = Self {
            said: watch::Sender::default(),
            heard: watch::Sender::new(Heard {
                store: 1,
                records: Vec::new(),
                unknown: Vec::new(),
            }),
            bodies: Arc::default(),
        };
        let router =
            Router::new(Identity::new(Role::P2p)).serve::<GossipClient, _, _>(handler!(Gossip, gossip.clone()));
        tokio::spawn(router.run(socket::bind(path).unwrap(), std::future::pending()));
        gossip
    }

    /// Waits until what the node has told satisfies `condition`.
    pub async fn until(&self, condition: impl FnMut(&Said) -> bool) -> Said {
        let mut said = self.said.subscribe();
        let met = tokio::time::timeout(PATIENCE, said.wait_for(condition)).await;
        met.expect("the node did not tell it in time").unwrap().clone()
    }

    /// Puts a record into the inbox, with the body behind it.
    pub fn hear(&self, record: &SignedRecord, body: Option<Vec<u8>>) {
        self.hear_bytes(record.encoded().to_vec());
        if let Some(body) = body {
            self.bodies.lock().unwrap().insert(RecordBody::digest(&body), body);
        }
    }

    /// Puts bytes into the inbox, whatever they are.
    pub fn hear_bytes(&self, bytes: Vec<u8>) {
        self.heard.send_modify(|heard| heard.records.push(bytes));
    }

    /// Tells of a key that nobody knows.
    pub fn meet(&self, service: ServiceId, signer: EvmAddress) {
        self.heard
            .send_modify(|heard| heard.unknown.push((service, signer.into_array())));
    }

    /// Waits until the node has taken everything over.
    pub async fn drained(&self) {
        let all = self.heard.borrow().records.len() as u64;
        self.until(|said| said.acked >= all).await;
    }

    /// Forgets what was published, as a new store would.
    pub fn lose_store(&self) {
        self.said.send_modify(|said| said.published.clear());
        self.heard.send_modify(|heard| {
            heard.store += 1;
            heard.records.clear();
        });
    }
}

impl Gossip for FakeGossip {
    async fn sync(self, _: Context, set: TopicSet) -> Result<NetworkIdentity, WireError> {
        self.said.send_modify(|said| said.topics = set.topics);
        Ok(NetworkIdentity {
            peer_id: vec![1; 38],
            store: self.heard.borrow().store,
        })
    }

    async fn publish(self, _: Context, publication: Publication) -> Result<(), WireError> {
        let record = SignedRecord::decode(&publication.record).unwrap();
        self.said.send_modify(|said| said.published.push(record));
        Ok(())
    }

    async fn retire(self, _: Context, _: ServiceId, events: Vec<EventId>) -> Result<(), WireError> {
        self.said.send_modify(|said| said.retired.extend(events));
        Ok(())
    }

    async fn pull(self, _: Context, after: InboxCursor, max: u32, wait_ms: u32) -> Result<InboxBatch, WireError> {
        let mut heard = self.heard.subscribe();
        let wait = Duration::from_millis(u64::from(wait_ms));
        let is_news = |heard: &Heard| {
            let after = if after.store == heard.store { after.seq } else { 0 };
            heard.records.len() as u64 > after || !heard.unknown.is_empty()
        };
        // Empty when the wait ends.
        let _ = tokio::time::timeout(wait, heard.wait_for(is_news)).await;
        let mut batch = None;
        self.heard.send_if_modified(|heard| {
            let after = if after.store == heard.store { after.seq } else { 0 };
            let records = heard.records.iter().enumerate().skip(usize::try_from(after).unwrap());
            let items = records.take(max as usize).map(|(index, record)| InboxItem {
                seq: index as u64 + 1,
                generation: Generation::V2,
                record: record.clone(),
            });
            batch = Some(InboxBatch {
                store: heard.store,
                items: items.collect(),
                unknown: std::mem::take(&mut heard.unknown),
            });
            false
        });
        Ok(batch.unwrap())
    }

    async fn verdict(self, _: Context, record: B256, verdict: RecordVerdict) -> Result<(), WireError> {
        if verdict == RecordVerdict::Reject {
            self.said.send_modify(|said| said.rejected.push(record));
        }
        Ok(())
    }

    async fn ack(self, _: Context, upto: InboxCursor) -> Result<(), WireError> {
        self.said.send_modify(|said| said.acked = upto.seq);
        Ok(())
    }

    async fn body(self, _: Context, _: ServiceId, digest: B256, _: u32) -> Result<Option<Bytes>, WireError> {
        Ok(self.bodies.lock().unwrap().get(&digest).cloned().map(Bytes))
    }
}
