//! Bridges and submissions for the tests.

use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::gossip::{Generation, InboxCursor};
use wavs_service::Metrics;
use wavs_types::{
    Attestation, Record, RecordBody, ServiceId, SignatureKind, SignedRecord, Statement, Trigger, TriggerAction,
    TriggerConfig, TriggerData, WasmResponse,
};

use super::super::*;
use crate::members::Members;
use crate::metrics::NetworkMetrics;
use crate::network::now_ms;
use crate::store::Store;
use crate::testing::{Operator, service, topics};

/// How long something may take until it counts as failed.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// Life of records in these tests, in milliseconds.
const TTL_MS: u64 = 3_600_000;

/// The operator that the bridge speaks for.
pub(super) const OWN: Operator = Operator(1);
/// The operators of the service; the first is the bridge's own.
pub(super) const MEMBERS: [Operator; 3] = [OWN, Operator(2), Operator(3)];

/// The topic of the tests' service for the node of generation 1.
pub(super) fn service_text() -> String {
    service().to_string()
}

/// What fired, and what the component made of it.
pub(super) fn result(service_id: ServiceId, data: &[u8]) -> (TriggerAction, WasmResponse) {
    let action = TriggerAction {
        config: TriggerConfig {
            service_id,
            workflow_id: "default".parse().unwrap(),
            trigger: Trigger::Manual,
        },
        data: TriggerData::Raw(data.to_vec()),
    };
    let response = WasmResponse {
        payload: data.to_vec().into(),
        ordering: None,
        event_id_salt: None,
    };
    (action, response)
}

/// Our attestation of a result, with its body.
pub(super) fn attest(operator: Operator, action: &TriggerAction, response: &WasmResponse) -> (SignedRecord, Vec<u8>) {
    let event_id = response.event_id(&action.config, &action.data);
    let digest = response.envelope(event_id).digest();
    let body = RecordBody::encode(&serde_json::to_vec(action).unwrap(), response);
    let record = Record {
        service_id: action.config.service_id,
        issued_ms: now_ms(),
        statement: Statement::Attestation(Attestation {
            workflow_id: action.config.workflow_id.clone(),
            event_id,
            digest,
            kind: SignatureKind::EIP191,
            signature: operator.sign(SignatureKind::EIP191.signing_hash(digest)),
            body_digest: RecordBody::digest(&body),
        }),
    };
    let signature = operator.sign(record.signing_hash());
    (record.sign(signature).unwrap(), body)
}

/// What an operator of generation 1 says about the same result, in the bytes of its own software.
pub(super) fn submission(operator: Operator, service_id: ServiceId, data: &[u8]) -> Vec<u8> {
    let (action, response) = result(service_id, data);
    let event_id = response.event_id(&action.config, &action.data).to_string();
    let said = gen1peer::manual(&service_id.to_string(), "default", &event_id, data, data).unwrap();
    gen1peer::Operator::of(operator.0).sign(said).unwrap().write()
}

/// A bridge with its store.
pub(super) struct Side {
    pub(super) bridge: Bridge,
    pub(super) store: Store,
    pub(super) stop: CancellationToken,
    _dir: TempDir,
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The settings of a bridge that listens on `listen` and dials `nodes`.
pub(super) fn settings(listen: &str, nodes: &[&str]) -> BridgeSettings {
    BridgeSettings {
        services: None,
        relay: false,
        listen: listen.parse().unwrap(),
        nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        life: Duration::from_secs(300),
        sweep_every: Duration::from_secs(60),
        max_kept: 500,
        max_answered: 100,
        retry_for: Duration::from_secs(10),
        retry_every: Duration::from_millis(200),
        max_retried: 1_000,
        answer_limit: Duration::from_secs(30),
        max_asked: 3,
    }
}

impl Side {
    /// A bridge that takes part for the tests' service.
    pub(super) async fn start(settings: BridgeSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("p2p.db")).await.unwrap();
        let (stop, metrics) = (
            CancellationToken::new(),
            std::sync::Arc::new(NetworkMetrics::new(&Metrics::new())),
        );
        let bridge = Bridge::start(settings, store.clone(), metrics, stop.clone());
        let side = Self {
            bridge,
            store,
            stop,
            _dir: dir,
        };
        side.know(&MEMBERS);
        side
    }

    /// Knows these operators from now on.
    pub(super) fn know(&self, members: &[Operator]) {
        let hello = OWN.hello(&libp2p::identity::Keypair::generate_ed25519());
        let set = topics(1, members, Some(hello));
        self.bridge.sync(Members::read(&set).unwrap());
    }

    /// Publishes our own attestation of a result, and answers the message that it has to become.
    pub(super) async fn publish(&self, data: &[u8]) -> Vec<u8> {
        let (action, response) = result(service(), data);
        let (record, body) = attest(OWN, &action, &response);
        self.store.publish(record, body, now_ms(), TTL_MS).await.unwrap();
        submission(OWN, service(), data)
    }

    /// What is in the inbox.
    pub(super) async fn inbox(&self) -> Vec<Vec<u8>> {
        let items = self.store.inbox(InboxCursor::default(), 1_000).await.unwrap();
        assert!(items.iter().all(|item| item.generation == Generation::V1));
        items.into_iter().map(|item| item.record).collect()
    }

    /// Waits until `count` submissions are in the inbox.
    pub(super) async fn receives(&self, count: usize) -> Vec<Vec<u8>> {
        let mut arrivals = self.store.arrivals();
        let found = async {
            loop {
                arrivals.mark_unchanged();
                let inbox = self.inbox().await;
                if inbox.len() >= count {
                    return inbox;
                }
                arrivals.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LIMIT, found)
            .await
            .expect("the submissions did not arrive")
    }
}
