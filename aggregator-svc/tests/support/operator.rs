//! Other operators, honest or not: keys of the test phrase that sign records.

use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use wavs_types::{
    Attestation, B256, CanonicalSignature, EvmAddress, Landed, Record, RecordBody, ServiceId, SignatureKind,
    SignedRecord, Statement, TriggerAction, WasmResponse,
};

pub struct Operator(PrivateKeySigner);

/// A record, and the body behind it.
pub type Said = (SignedRecord, Vec<u8>);

impl Operator {
    pub fn new(index: u32) -> Self {
        Self(e2e::contracts::development_key(index).unwrap())
    }

    /// Somebody whom nobody knows.
    pub fn stranger() -> Self {
        Self(PrivateKeySigner::random())
    }

    pub fn address(&self) -> EvmAddress {
        self.0.address()
    }

    fn sign(&self, hash: B256) -> CanonicalSignature {
        let signature = self.0.sign_hash_sync(&hash).unwrap();
        CanonicalSignature::canonicalise(&signature.as_bytes()).unwrap()
    }

    pub fn say(&self, service_id: ServiceId, statement: Statement) -> SignedRecord {
        let record = Record {
            service_id,
            issued_ms: now_ms(),
            statement,
        };
        let signature = self.sign(record.signing_hash());
        record.sign(signature).unwrap()
    }

    /// Backs `payload` as the result of `action`.
    pub fn attest(&self, action: &TriggerAction, payload: &[u8]) -> Said {
        self.attest_as(action, action, payload)
    }

    /// Backs `payload` for the event of `action`, and gives `told` as what fired.
    pub fn attest_as(&self, action: &TriggerAction, told: &TriggerAction, payload: &[u8]) -> Said {
        let response = WasmResponse {
            payload: payload.to_vec().into(),
            ordering: None,
            event_id_salt: None,
        };
        let event_id = response.event_id(&action.config, &action.data);
        let digest = response.envelope(event_id).digest();
        let body = RecordBody::encode(&serde_json::to_vec(told).unwrap(), &response);
        let said = Attestation {
            workflow_id: action.config.workflow_id.clone(),
            event_id,
            digest,
            kind: SignatureKind::EIP191,
            signature: self.sign(SignatureKind::EIP191.signing_hash(digest)),
            body_digest: RecordBody::digest(&body),
        };
        (self.say(action.config.service_id, Statement::Attestation(said)), body)
    }

    /// Says that something landed.
    pub fn claim(&self, service: ServiceId, landed: Landed) -> SignedRecord {
        self.say(service, Statement::Landed(landed))
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}
