//! A submission that contradicts itself in any one place is refused. Recovery gives an address for nearly every signature,
//! so a fixed one stands in here; who the signer ought to be is not this crate's question.

use serde_json::{Value, json};
use wavs_types::{SignatureKind, Submission, SubmissionError};

const SIGNATURE: &str = "3e522058d696b622236ef897194eb530765409a3a449a91e7dfeeec6ad3bab4b56569f1812ac5fad2fea6515591162362060a152b3ba821433cc9d62ab4863f51c";

fn valid() -> Value {
    let mut record = json!({
        "trigger_action": {
            "config": {"service_id": "ab".repeat(32), "workflow_id": "main", "trigger": "manual"},
            "data": {"Raw": [1, 2, 3]},
        },
        "operator_response": {"payload": "0x0102", "ordering": 5, "event_id_salt": null},
        "event_id": format!("0x{}", "00".repeat(20)),
        "envelope": {"eventId": format!("0x{}", "00".repeat(20)), "ordering": "0x000000000000000500000000", "payload": "0x0102"},
        "envelope_signature": {"data": hex::decode(SIGNATURE).unwrap(), "kind": {"algorithm": "secp256k1", "prefix": "eip191"}},
    });
    let parsed: Submission = serde_json::from_value(record.clone()).unwrap();
    let id = parsed
        .operator_response
        .event_id(&parsed.trigger_action.config, &parsed.trigger_action.data);
    record["event_id"] = json!(id);
    record["envelope"]["eventId"] = json!(id);
    record
}

fn verify(record: &Value) -> Result<wavs_types::EvmAddress, SubmissionError> {
    serde_json::from_value::<Submission>(record.clone())
        .unwrap()
        .verify(SignatureKind::EIP191)
}

#[test]
fn a_consistent_one_names_its_signer() {
    assert!(verify(&valid()).is_ok());
}

#[test]
fn the_exchanged_form_is_fixed() {
    let submission: Submission = serde_json::from_value(valid()).unwrap();
    let id = submission.event_id;
    let bytes = hex::decode(SIGNATURE)
        .unwrap()
        .iter()
        .map(u8::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let expected = format!(
        r#"{{"trigger_action":{{"config":{{"service_id":"{}","workflow_id":"main","trigger":"manual"}},"data":{{"Raw":[1,2,3]}}}},"operator_response":{{"payload":"0x0102","ordering":5,"event_id_salt":null}},"event_id":"{id}","envelope":{{"eventId":"{id}","ordering":"0x000000000000000500000000","payload":"0x0102"}},"envelope_signature":{{"data":[{bytes}],"kind":{{"algorithm":"secp256k1","prefix":"eip191"}}}}}}"#,
        "ab".repeat(32)
    );
    assert_eq!(serde_json::to_string(&submission).unwrap(), expected);
}

#[test]
fn every_single_change_is_noticed() {
    let other_id = json!(format!("0x{}", "11".repeat(20)));
    for (pointer, value) in [
        ("/trigger_action/config/service_id", json!("cd".repeat(32))),
        ("/trigger_action/config/workflow_id", json!("other")),
        ("/trigger_action/data", json!({"Raw": [1, 2]})),
        ("/operator_response/payload", json!("0x")),
        ("/operator_response/ordering", json!(6)),
        ("/operator_response/ordering", json!(null)),
        ("/operator_response/event_id_salt", json!("0x")),
        ("/event_id", other_id.clone()),
        ("/envelope/eventId", other_id),
        ("/envelope/ordering", json!("0x000000000000000500000001")),
        ("/envelope/payload", json!("0x0103")),
        ("/envelope_signature/kind/prefix", json!(null)),
    ] {
        let mut record = valid();
        *record.pointer_mut(pointer).unwrap() = value;
        assert!(verify(&record).is_err(), "{pointer}");
    }
}

#[test]
fn another_signature_is_by_another_signer() {
    let mut record = valid();
    record["envelope_signature"]["data"][64] = json!(27);
    assert_ne!(verify(&record).ok(), verify(&valid()).ok());
}

#[test]
fn reading_canonicalises_the_signature() {
    let mut record = valid();
    record["envelope_signature"]["data"][64] = json!(38);
    let read: Submission = serde_json::from_value(record).unwrap();
    assert_eq!(hex::encode(read.envelope_signature.data.as_bytes()), SIGNATURE);
}
