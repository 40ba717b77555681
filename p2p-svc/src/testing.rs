//! Operators, records and nodes for tests.

use std::sync::Arc;
use std::time::Duration;

use k256::ecdsa::SigningKey;
use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::gossip::{Topic, TopicSet};
use wavs_service::Metrics;
use wavs_types::{
    Attestation, B256, CanonicalSignature, EventId, EvmAddress, Hello, Record, ServiceId, SignatureKind, SignedRecord,
    Statement,
};

use crate::metrics::NetworkMetrics;
use crate::network::{self, Network, now_ms};
use crate::service::GossipService;
use crate::settings::{Discovery, Listen, Settings};
use crate::store::Store;

/// Life of records in tests.
pub(crate) const TTL: Duration = Duration::from_secs(3_600);

/// The service of the tests.
pub(crate) fn service() -> ServiceId {
    ServiceId::new([7; 32])
}

/// An operator whose key is 32 times the same byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operator(pub(crate) u8);

impl Operator {
    pub(crate) fn sign(self, hash: B256) -> CanonicalSignature {
        let key = SigningKey::from_slice(&[self.0; 32]).unwrap();
        let (signature, recovery) = key.sign_prehash_recoverable(hash.as_slice()).unwrap();
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        CanonicalSignature::canonicalise(&bytes).unwrap()
    }

    pub(crate) fn address(self) -> EvmAddress {
        self.sign(B256::ZERO).recover(B256::ZERO).unwrap()
    }

    fn say(self, statement: Statement, issued_ms: u64) -> SignedRecord {
        let record = Record {
            service_id: service(),
            issued_ms,
            statement,
        };
        let signature = self.sign(record.signing_hash());
        record.sign(signature).unwrap()
    }

    /// Backs a digest for an event.
    pub(crate) fn attest(self, event: u32, digest: u8, issued_ms: u64) -> SignedRecord {
        let mut event_id = [0; 20];
        event_id[..4].copy_from_slice(&event.to_be_bytes());
        let digest = B256::repeat_byte(digest);
        let said = Attestation {
            workflow_id: "default".parse().unwrap(),
            event_id: EventId::new(event_id),
            digest,
            kind: SignatureKind::EIP191,
            signature: self.sign(SignatureKind::EIP191.signing_hash(digest)),
            body_digest: B256::repeat_byte(1),
        };
        self.say(Statement::Attestation(said), issued_ms)
    }

    /// Lets a peer speak for the operator.
    pub(crate) fn hello(self, keys: &Keypair) -> SignedRecord {
        let said = Hello {
            peer_id: keys.public().to_peer_id().to_bytes(),
            posts_on: Vec::new(),
            agent: "test".to_owned(),
        };
        self.say(Statement::Hello(said), now_ms())
    }
}

/// The topic with these operators, for a node that is one of them or none.
pub(crate) fn topics(generation: u64, members: &[Operator], hello: Option<SignedRecord>) -> TopicSet {
    TopicSet {
        generation,
        topics: vec![Topic {
            service_id: service(),
            signers: members.iter().map(|member| member.address().into_array()).collect(),
            strangers: Vec::new(),
            ttl_secs: TTL.as_secs(),
            hello: hello.map(|hello| hello.encoded().to_vec()).unwrap_or_default(),
        }],
    }
}

/// A running network on a loopback address of its own.
pub(crate) struct TestNode {
    pub(crate) service: GossipService,
    pub(crate) network: Network,
    pub(crate) keys: Keypair,
    pub(crate) stop: CancellationToken,
    pub(crate) metrics: Arc<NetworkMetrics>,
    _dir: TempDir,
}

/// Settings of a node that enters the network at `peers`.
pub(crate) fn settings(peers: &[Multiaddr]) -> Settings {
    Settings {
        discovery: Discovery::Remote {
            bootstrap: peers.to_vec(),
            interval: Duration::from_secs(60),
        },
        listen: vec![listen("/ip4/127.0.0.1/tcp/0")],
        external: Vec::new(),
        static_peers: Vec::new(),
        allowed: Vec::new(),
    }
}

/// An address that a node has to listen on.
pub(crate) fn listen(address: &str) -> Listen {
    Listen {
        address: address.parse().unwrap(),
        required: true,
    }
}

impl TestNode {
    pub(crate) async fn start(peers: &[Multiaddr]) -> Self {
        Self::start_with(settings(peers)).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keypair::generate_ed25519();
        let store = Store::open(&dir.path().join("p2p.db")).await.unwrap();
        let (stop, metrics) = (CancellationToken::new(), Arc::new(NetworkMetrics::new(&Metrics::new())));
        let (network, _task) = network::start(
            settings,
            keys.clone(),
            store.clone(),
            Arc::clone(&metrics),
            stop.clone(),
        )
        .await
        .unwrap();
        Self {
            service: GossipService::new(network.clone(), store),
            network,
            keys,
            stop,
            metrics,
            _dir: dir,
        }
    }

    /// The address on which it listens.
    pub(crate) async fn address(&self) -> Multiaddr {
        let status = self.until(|status| !status.listen_addresses.is_empty()).await;
        status.listen_addresses[0].parse().unwrap()
    }

    /// Waits until so many records have come to a verdict.
    pub(crate) async fn judged(&self, verdict: &str, count: u64) {
        let mut polls = tokio::time::interval(Duration::from_millis(20));
        let counted = async {
            while self.metrics.messages.with(&["in", verdict]).get() < count {
                polls.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), counted)
            .await
            .expect("the records did not come");
    }

    /// Waits until the network's status satisfies `condition`.
    pub(crate) async fn until(
        &self,
        condition: impl Fn(&wavs_ipc::contract::p2p_admin::NetworkStatus) -> bool,
    ) -> wavs_ipc::contract::p2p_admin::NetworkStatus {
        let mut polls = tokio::time::interval(Duration::from_millis(20));
        let found = async {
            loop {
                polls.tick().await;
                let status = self.network.status().await.unwrap();
                if condition(&status) {
                    return status;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found)
            .await
            .expect("the network did not get there in time")
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
