//! The work of p2p-svc for aggregator-svc: carry signed records to the other operators of a service, and theirs back.
//!
//! p2p-svc holds no keys and no service configuration: `sync` states the topics and who may speak on them, under a
//! generation number, and is sent again after every reconnect. Records travel as their canonical bytes
//! (`wavs_types::SignedRecord`); aggregator-svc checks each again. What was received waits in a durable inbox.

use serde::{Deserialize, Serialize};
use wavs_types::{B256, EventId, ServiceId};

use crate::error::WireError;

/// Longest wait of one `pull` or `body`, in milliseconds; a longer one is cut to it.
pub const MAX_GOSSIP_WAIT_MS: u32 = 20_000;
/// Most items in one batch; a larger `max` is cut to it.
pub const MAX_GOSSIP_ITEMS: u32 = 512;
/// Most events in one `retire`.
pub const MAX_RETIRED: usize = 1_024;
/// Most signers per service in a [`TopicSet`].
pub const MAX_SIGNERS: usize = 4_096;

#[tarpc::service]
pub trait Gossip {
    /// Replace the topics and their signer tables. Idempotent; an older generation than the last one is refused with
    /// `Conflict`. `Unavailable` with Never while the network is disabled.
    async fn sync(topics: TopicSet) -> Result<NetworkIdentity, WireError>;

    /// Send a record of our own, and offer it again to whoever missed it, until it is retired or too old. The answer means
    /// that it is on disk. A repeat changes nothing. `TooLarge` for a record or body above the limits of the wire.
    async fn publish(publication: Publication) -> Result<(), WireError>;

    /// These events are over: forget their attestations, and ignore further ones.
    async fn retire(service_id: ServiceId, events: Vec<EventId>) -> Result<(), WireError>;

    /// What was received after `after`, oldest first, at most `max`. Waits up to `wait_ms` for the first one.
    async fn pull(after: InboxCursor, max: u32, wait_ms: u32) -> Result<InboxBatch, WireError>;

    /// What aggregator-svc found out about a record after it was taken: the peers that sent a rejected one are blamed.
    async fn verdict(record: B256, verdict: RecordVerdict) -> Result<(), WireError>;

    /// Everything up to and including `upto` is committed elsewhere; it may be displaced by what is new.
    async fn ack(upto: InboxCursor) -> Result<(), WireError>;

    /// The body behind an attestation, from the own store or from peers; none when nobody has it within `wait_ms`.
    async fn body(service_id: ServiceId, digest: B256, wait_ms: u32) -> Result<Option<Bytes>, WireError>;
}

/// The complete desired state of p2p-svc.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSet {
    /// Grows with every change; survives restarts of aggregator-svc.
    pub generation: u64,
    /// One topic per service that takes part.
    pub topics: Vec<Topic>,
}

/// One service's topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// The service.
    pub service_id: ServiceId,
    /// Service keys of operators with weight, as far as they are known.
    pub signers: Vec<[u8; 20]>,
    /// Service keys that were looked up lately and have no weight, so that they are not asked about again.
    pub strangers: Vec<[u8; 20]>,
    /// Life of a record, in seconds: the time in which events of this service collect signatures.
    pub ttl_secs: u64,
    /// This node's own `Hello` record for the service; empty when it has no key or there is none yet.
    #[serde(with = "serde_bytes")]
    pub hello: Vec<u8>,
}

/// Who p2p-svc is in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkIdentity {
    /// Its peer id as a raw multihash, for `Hello` records.
    #[serde(with = "serde_bytes")]
    pub peer_id: Vec<u8>,
    /// Drawn when the store was made. A change means that everything has to be published again.
    pub store: u128,
}

/// A record to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Canonical bytes of the record.
    #[serde(with = "serde_bytes")]
    pub record: Vec<u8>,
    /// The body that an attestation names; empty otherwise.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// A position in the inbox, with the store that it belongs to: a `pull` with a foreign one starts at the oldest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboxCursor {
    /// Which store; zero means none seen yet.
    pub store: u128,
    /// The last item that was taken; 0 before the first.
    pub seq: u64,
}

/// Records of other operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxBatch {
    /// The store that answered.
    pub store: u128,
    /// In ascending order of `seq`; empty when the wait ended.
    pub items: Vec<InboxItem>,
    /// Authors of well-formed records whose weight is not known, each told once until it is in the table.
    pub unknown: Vec<(ServiceId, [u8; 20])>,
}

/// A received record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxItem {
    /// Position in the inbox; never used twice.
    pub seq: u64,
    /// Which generation it came by.
    pub generation: Generation,
    /// Its bytes.
    #[serde(with = "serde_bytes")]
    pub record: Vec<u8>,
}

/// Generations of the network of operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generation {
    /// A submission as JSON text, which nobody signed but its envelope.
    V1,
    /// A signed record in its canonical bytes.
    V2,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordVerdict {
    /// It counts.
    Accept,
    /// It contradicts itself; whoever sent it should have known.
    Reject,
    /// It is of no use, without fault of those who sent it.
    Ignore,
}

/// Bytes that travel as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(with = "serde_bytes")] pub Vec<u8>);
