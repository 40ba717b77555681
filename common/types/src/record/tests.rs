use alloy_primitives::keccak256;
use k256::ecdsa::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::{Trigger, TriggerAction, TriggerConfig, TriggerData, WasmResponse};

/// Signs with a key that is 32 times the same byte.
fn sign(key: u8, hash: B256) -> CanonicalSignature {
    let key = SigningKey::from_slice(&[key; 32]).unwrap();
    let (signature, recovery) = key.sign_prehash_recoverable(hash.as_slice()).unwrap();
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + recovery.to_byte());
    CanonicalSignature::canonicalise(&bytes).unwrap()
}

fn action() -> TriggerAction {
    TriggerAction {
        config: TriggerConfig {
            service_id: ServiceId::new([7; 32]),
            workflow_id: "default".parse().unwrap(),
            trigger: Trigger::Manual,
        },
        data: TriggerData::Raw(vec![1, 2, 3]),
    }
}

fn response(payload: &'static [u8]) -> WasmResponse {
    WasmResponse {
        payload: payload.into(),
        ordering: Some(3),
        event_id_salt: None,
    }
}

/// An attestation by `key`, with its body.
fn attestation(key: u8, payload: &'static [u8]) -> (Attestation, Vec<u8>) {
    let (action, response) = (action(), response(payload));
    let event_id = response.event_id(&action.config, &action.data);
    let digest = response.envelope(event_id).digest();
    let body = RecordBody::encode(&serde_json::to_vec(&action).unwrap(), &response);
    let said = Attestation {
        workflow_id: action.config.workflow_id,
        event_id,
        digest,
        kind: SignatureKind::EIP191,
        signature: sign(key, SignatureKind::EIP191.signing_hash(digest)),
        body_digest: RecordBody::digest(&body),
    };
    (said, body)
}

fn record(statement: Statement) -> Record {
    Record {
        service_id: ServiceId::new([7; 32]),
        issued_ms: 1_700_000_000_000,
        statement,
    }
}

fn signed(key: u8, record: Record) -> Result<SignedRecord, RecordError> {
    let signature = sign(key, record.signing_hash());
    record.sign(signature)
}

#[test]
fn a_record_comes_back_as_it_was_and_names_its_author() {
    let (said, body) = attestation(1, b"payload");
    let sent = signed(1, record(Statement::Attestation(said.clone()))).unwrap();
    let got = SignedRecord::decode(sent.encoded()).unwrap();
    assert_eq!(got, sent);
    assert_eq!(got.author(), said.signer().unwrap());
    assert_eq!(got.record().event_id(), Some(said.event_id));
    let opened = RecordBody::open(&body, &ServiceId::new([7; 32]), &said).unwrap();
    assert_eq!((opened.action, opened.response), (action(), response(b"payload")));
}

#[test]
fn the_encoding_is_frozen() {
    let hello = Hello {
        peer_id: vec![1, 2],
        posts_on: vec!["evm:1".parse().unwrap()],
        agent: "a".to_owned(),
    };
    let sent = signed(1, record(Statement::Hello(hello))).unwrap();
    let content = hex::encode(proto::content(sent.record()));
    assert_eq!(
        content,
        "0a20070707070707070707070707070707070707070707070707070707070707070710\
         80d095ffbc312a0e0a020102120565766d3a311a0161"
            .replace(char::is_whitespace, "")
    );
    assert_eq!(
        sent.record().signing_hash(),
        keccak256([DOMAIN, &proto::content(sent.record())].concat())
    );
}

#[test]
fn nobody_speaks_for_another_operator() {
    let (said, _) = attestation(1, b"payload");
    let error = signed(2, record(Statement::Attestation(said))).unwrap_err();
    assert!(matches!(error, RecordError::Author { .. }), "{error}");
}

#[test]
fn a_relabelled_record_has_another_author() {
    let (said, _) = attestation(1, b"payload");
    let honest = record(Statement::Attestation(said));
    let signature = sign(1, honest.signing_hash());
    let mut moved = honest;
    moved.service_id = ServiceId::new([8; 32]);
    assert!(moved.sign(signature).is_err());
}

#[test]
fn mangled_signatures_are_refused() {
    let (said, _) = attestation(1, b"payload");
    let sent = signed(1, record(Statement::Attestation(said))).unwrap();
    let frame = proto::Frame::decode(sent.encoded()).unwrap();
    for v in [0, 1, 2, 26, 29, 37, 38] {
        let mut frame = frame.clone();
        frame.signature[64] = v;
        assert!(SignedRecord::decode(&frame.encode_to_vec()).is_err(), "v = {v}");
    }
    let mut frame = frame;
    frame.signature.pop();
    assert!(SignedRecord::decode(&frame.encode_to_vec()).is_err());
}

#[test]
fn only_one_encoding_is_taken() {
    let (said, _) = attestation(1, b"payload");
    let sent = signed(1, record(Statement::Attestation(said))).unwrap();
    // An unknown field, which a lenient decoder would skip.
    let more = [sent.encoded(), &[0x78, 0x01]].concat();
    assert!(matches!(SignedRecord::decode(&more), Err(RecordError::Malformed(_))));
    let large = vec![0; MAX_RECORD_BYTES + 1];
    assert!(matches!(
        SignedRecord::decode(&large),
        Err(RecordError::TooLarge { .. })
    ));
}

#[test]
fn a_body_that_differs_in_anything_is_refused() {
    let service = ServiceId::new([7; 32]);
    let (said, body) = attestation(1, b"payload");
    let (_, other) = attestation(1, b"another");
    assert_eq!(
        RecordBody::open(&other, &service, &said),
        Err(BodyError::Differs { field: "digest" })
    );
    // A member that signs a body which its own envelope does not follow from.
    let lying = Attestation {
        body_digest: RecordBody::digest(&other),
        ..said.clone()
    };
    assert_eq!(
        RecordBody::open(&other, &service, &lying),
        Err(BodyError::Differs { field: "envelope" })
    );
    let lying = Attestation {
        event_id: EventId::new([9; 20]),
        ..said.clone()
    };
    assert_eq!(
        RecordBody::open(&body, &service, &lying),
        Err(BodyError::Differs { field: "event id" })
    );
    let elsewhere = ServiceId::new([1; 32]);
    assert_eq!(
        RecordBody::open(&body, &elsewhere, &said),
        Err(BodyError::Differs { field: "service" })
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_the_same(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(record) = SignedRecord::decode(&bytes) {
            prop_assert_eq!(record.encoded(), &bytes[..]);
        }
    }

    #[test]
    fn one_flipped_bit_makes_another_author_or_no_record(position in 0_usize..300, bit in 0_u8..8) {
        let (said, _) = attestation(1, b"payload");
        let sent = signed(1, record(Statement::Attestation(said))).unwrap();
        let mut bytes = sent.encoded().to_vec();
        let position = position % bytes.len();
        bytes[position] ^= 1 << bit;
        if let Ok(other) = SignedRecord::decode(&bytes) {
            prop_assert_ne!(other.author(), sent.author());
        }
    }
}
