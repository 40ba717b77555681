//! Golden messages, and what is wrong with others.

use serde_json::Value;
use wavs_types::{CanonicalSignature, ServiceId};

use super::super::message::of_record;
use super::super::*;
use super::support::{OWN, attest, result, submission};
use crate::aside::Authored as _;
use crate::testing::{Operator, service};

#[test]
fn an_attestation_becomes_the_message_of_deployed_nodes_to_the_byte() {
    let service_id: ServiceId = "f1872fc8f2fc194e1f55c47c6524231c445bebd0aadd4ebff81cfc5a567d7e68"
        .parse()
        .unwrap();
    let (action, response) = result(service_id, &[1, 2, 3]);
    let (record, body) = attest(OWN, &action, &response);
    let message = String::from_utf8(of_record(&record, &body).unwrap().unwrap()).unwrap();
    // Everything but the signature is fixed by the encoding; the event id is that of other implementations.
    let (before, rest) = message.split_once(r#"{"data":["#).unwrap();
    let expect = concat!(
        r#"{"trigger_action":{"config":{"service_id":"f1872fc8f2fc194e1f55c47c6524231c445bebd0aadd4ebff81cfc5a567d7e68","#,
        r#""workflow_id":"default","trigger":"manual"},"data":{"Raw":[1,2,3]}},"#,
        r#""operator_response":{"payload":"0x010203","ordering":null,"event_id_salt":null},"#,
        r#""event_id":"0xa6fc5f71e2995f593bca8ff15ecefcfcf2e8793d","#,
        r#""envelope":{"eventId":"0xa6fc5f71e2995f593bca8ff15ecefcfcf2e8793d","ordering":"0x000000000000000000000000","payload":"0x010203"},"#,
        r#""envelope_signature":"#,
    );
    assert_eq!(before, expect);
    let (signature, kind) = rest.split_once(']').unwrap();
    assert_eq!(signature.split(',').count(), 65);
    assert_eq!(kind, r#","kind":{"algorithm":"secp256k1","prefix":"eip191"}}}"#);
    // A node that shares no code with this one writes the same bytes and finds the same signer.
    assert_eq!(message.as_bytes(), submission(OWN, service_id, &[1, 2, 3]));
    let theirs = gen1peer::Submission::read(message.as_bytes()).unwrap();
    assert_eq!(theirs.signer().unwrap(), OWN.address());
    assert_eq!(
        of_record(&record, &body).unwrap().unwrap(),
        message.as_bytes(),
        "and again"
    );
}

#[test]
fn what_is_no_attestation_is_no_message_and_a_large_one_is_refused_with_its_size() {
    let hello = OWN.hello(&libp2p::identity::Keypair::generate_ed25519());
    assert!(of_record(&hello, &[]).unwrap().is_none());
    let (action, response) = result(service(), &vec![7; 16_000]);
    let (record, body) = attest(OWN, &action, &response);
    let error = of_record(&record, &body).unwrap_err();
    assert!(error.to_string().starts_with("too_large_for_gen1"), "{error}");
    assert!(of_record(&record, b"another body").is_err());
}

#[test]
fn a_message_is_read_and_its_signer_found() {
    let message = submission(Operator(2), service(), b"x");
    let heard = Heard::read(&service(), &message).unwrap();
    assert_eq!(heard.author(), Operator(2).address());
    assert_eq!(heard.text(), message);
    // Members that are not known and another spelling of the same are the same submission.
    let mut value: Value = serde_json::from_slice(&message).unwrap();
    value["later"] = Value::from(1);
    let other = serde_json::to_vec_pretty(&value).unwrap();
    assert_eq!(Heard::read(&service(), &other).unwrap(), heard);
}

#[test]
fn every_single_change_is_found() {
    let message = submission(Operator(2), service(), b"x");
    let fresh: Value = serde_json::from_slice(&message).unwrap();
    let id = |byte: &str| Value::from(format!("0x{}", byte.repeat(20)));
    let changes: [(&str, Value); 8] = [
        ("/trigger_action/config/workflow_id", Value::from("other")),
        ("/trigger_action/data/Raw", serde_json::json!([9])),
        ("/operator_response/payload", Value::from("0x79")),
        ("/operator_response/ordering", Value::from(5)),
        ("/operator_response/event_id_salt", Value::from("0x01")),
        ("/event_id", id("01")),
        ("/envelope/eventId", id("01")),
        ("/envelope/payload", Value::from("0x79")),
    ];
    for (path, changed) in changes {
        let mut value = fresh.clone();
        *value.pointer_mut(path).unwrap() = changed;
        let error = Heard::read(&service(), &serde_json::to_vec(&value).unwrap()).unwrap_err();
        assert!(matches!(error, MessageError::Contradicts(_)), "{path}: {error}");
    }
    assert!(matches!(
        Heard::read(&ServiceId::new([1; 32]), &message),
        Err(MessageError::OtherService)
    ));
    for junk in [&b"{}"[..], b"", b"\xff\xfe", b"[1,2]", &message[..message.len() - 1]] {
        assert!(matches!(Heard::read(&service(), junk), Err(MessageError::Malformed(_))));
    }
}

#[test]
fn mangled_forms_of_a_signature_are_the_same_submission() {
    let message = submission(Operator(2), service(), b"x");
    let heard = Heard::read(&service(), &message).unwrap();
    let value: Value = serde_json::from_slice(&message).unwrap();
    let bytes: Vec<u8> = serde_json::from_value(value["envelope_signature"]["data"].clone()).unwrap();
    let canonical = CanonicalSignature::canonicalise(&bytes).unwrap();
    for v in [bytes[64] - 27, bytes[64] + 10] {
        let mut mangled = value.clone();
        mangled["envelope_signature"]["data"][64] = Value::from(v);
        let again = Heard::read(&service(), &serde_json::to_vec(&mangled).unwrap()).unwrap();
        assert_eq!(again.text(), heard.text());
        assert_eq!(again.submission().envelope_signature.data, canonical);
    }
}
