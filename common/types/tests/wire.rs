//! The types that contracts between processes use as they are must survive a codec that does not describe itself.

use serde::{Serialize, de::DeserializeOwned};
use wavs_types::{
    B256, CanonicalSignature, Envelope, EventId, Service, ServiceDocument, ServiceId, ServiceManager, SignatureKind,
    Trigger, WasmResponse, WorkflowId,
};

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = postcard::to_stdvec(value).unwrap();
    assert_eq!(&postcard::from_bytes::<T>(&bytes).unwrap(), value);
}

#[test]
fn the_wire_codec_keeps_every_value() {
    let manager = ServiceManager::Cosmos {
        chain: "cosmos:layer-local".parse().unwrap(),
        address: "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2".parse().unwrap(),
    };
    round_trip(&manager);
    round_trip(&ServiceId::of(&manager));
    round_trip(&WorkflowId::default());
    round_trip(&SignatureKind::EIP191);
    round_trip(&Trigger::EvmContractEvent {
        address: [1; 20].into(),
        chain: "evm:1".parse().unwrap(),
        event_hash: B256::repeat_byte(7),
    });
    let event_id = EventId::new([9; 20]);
    round_trip(&Envelope::new(event_id, Some(3), vec![1, 2].into()));
    round_trip(&WasmResponse {
        payload: vec![1].into(),
        ordering: None,
        event_id_salt: Some(vec![].into()),
    });
    let mut signature = [1; 65];
    signature[64] = 27;
    round_trip(&CanonicalSignature::canonicalise(&signature).unwrap());
    let text = r#"{"name":"n","workflows":{"abc":{"trigger":"manual","component":{"source":{"digest":"abababababababababababababababababababababababababababababababab"},"permissions":{},"config":{"k":"v"},"env_keys":["E"]},"submit":"none"}},"status":"active","manager":{"evm":{"chain":"evm:1","address":"0x1111111111111111111111111111111111111111"}}}"#;
    round_trip::<Service>(ServiceDocument::parse(text.as_bytes()).unwrap().service());
}
