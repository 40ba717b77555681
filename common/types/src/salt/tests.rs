//! Golden vectors: the encoded bytes and the event id that follows from them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    B256, EvmAddress, cosmos_address::CosmosAddress, digest::ServiceId, event_id::EventId,
    trigger_data::CosmosAttribute,
};

const SERVICE: &str = "f1872fc8f2fc194e1f55c47c6524231c445bebd0aadd4ebff81cfc5a567d7e68";
const COSMOS_SERVICE: &str = "a7247717bd4833ffaab20815293785477efcd8e94f9d4a76be51284f00755821";
const CONTRACT: &str = "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2";

/// Compares the encoding, when one is given, and the event id under the default workflow.
fn check(service: &str, data: &TriggerData, salt: &str, event_id: &str) {
    check_workflow(service, "default", data, salt, event_id);
}

fn check_workflow(service: &str, workflow: &str, data: &TriggerData, salt: &str, event_id: &str) {
    let salt = salt.replace([' ', '\n'], "");
    if !salt.is_empty() {
        assert_eq!(hex::encode(data.salt()), salt);
    }
    let service: ServiceId = service.parse().unwrap();
    let id = EventId::for_response(&service, &workflow.parse().unwrap(), data, None);
    assert_eq!(id.to_log(), event_id);
}

struct Evm {
    topics: Vec<u8>,
    data: &'static [u8],
    block: u64,
    log: u64,
    timestamp: Option<u64>,
    tx_index: u64,
}

impl Evm {
    fn base(timestamp: Option<u64>) -> Self {
        Self {
            topics: vec![0x44],
            data: &[1, 2, 3],
            block: 1_000,
            log: 7,
            timestamp,
            tx_index: 2,
        }
    }

    fn data(self) -> TriggerData {
        TriggerData::EvmContractEvent {
            chain: "evm:31337".parse().unwrap(),
            contract_address: EvmAddress::repeat_byte(0x33),
            log_data: LogData {
                topics: self.topics.into_iter().map(B256::repeat_byte).collect(),
                data: self.data.into(),
            },
            tx_hash: B256::repeat_byte(0x55),
            block_number: self.block,
            log_index: self.log,
            block_hash: B256::repeat_byte(0x66),
            block_timestamp: self.timestamp,
            tx_index: self.tx_index,
        }
    }
}

fn hash(prefix: &str, byte: &str) -> String {
    format!("{prefix}{}", byte.repeat(32))
}

#[test]
fn evm_contract_events() {
    let head = format!("01 09 65766d3a3331333337 14 {} ", "33".repeat(20));
    let middle = format!(
        "{}03 010203 {} fbe803 07 {}",
        hash("01 20", "44"),
        hash("20", "55"),
        hash("20", "66")
    );
    check(
        SERVICE,
        &Evm::base(None).data(),
        &format!("{head}{middle} 00 02"),
        "e7bc93f0cf0b3d5f0eaa500416d45650cd58e4a8",
    );
    let dated = || Evm::base(Some(1_700_000_000)).data();
    check(
        SERVICE,
        &dated(),
        &format!("{head}{middle} 01 fc00f15365 02"),
        "4b628dbe365e70cb239ba389784ab33b966d02e5",
    );
    check_workflow(
        SERVICE,
        "wf-1",
        &dated(),
        "",
        "8859f9437f522a7824d5a8dd922797efc897f660",
    );
    let large = Evm {
        topics: vec![0x44, 0x45, 0x46],
        data: &[],
        block: 21_000_000,
        log: 251,
        timestamp: Some(1_700_000_000),
        tx_index: 65_536,
    };
    let topics = format!("03 {}{}{}", hash("20", "44"), hash("20", "45"), hash("20", "46"));
    let tail = format!(
        "00 {} fc406f4001 fbfb00 {} 01 fc00f15365 fc00000100",
        hash("20", "55"),
        hash("20", "66")
    );
    check(
        SERVICE,
        &large.data(),
        &format!("{head}{topics}{tail}"),
        "4cdbd34c4800ef27ecddeeee9d64d23ee84838ed",
    );
}

fn cosmos(address: CosmosAddress, attributes: &[(&str, &str)]) -> TriggerData {
    let attributes = attributes
        .iter()
        .map(|(key, value)| CosmosAttribute {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    TriggerData::CosmosContractEvent {
        contract_address: address,
        chain: "cosmos:layer-local".parse().unwrap(),
        event: CosmosEvent {
            event_type: "new-message".to_owned(),
            attributes,
        },
        block_height: 300,
        event_index: 5,
    }
}

#[test]
fn cosmos_contract_events() {
    check(
        SERVICE,
        &cosmos(CosmosAddress::unchecked("layer1abc"), &[("id", "1")]),
        "00 09 6c617965723161626312 636f736d6f733a6c617965722d6c6f63616c 0b 6e65772d6d657373616765 01 02 6964 01 31 fb2c01 05",
        "9b5f811c3810088fe96eb8dedfe185348c3d04de",
    );
    check(
        COSMOS_SERVICE,
        &cosmos(
            CONTRACT.parse().unwrap(),
            &[("_contract_address", CONTRACT), ("id", "1")],
        ),
        "002c6c61796572317967337a7967337a7967337a7967337a7967337a7967337a7967337a7967337a377a79796b3212636f736d6f73\
         3a6c617965722d6c6f63616c0b6e65772d6d65737361676502115f636f6e74726163745f616464726573732c6c61796572317967337a\
         7967337a7967337a7967337a7967337a7967337a7967337a7967337a377a79796b320269640131fb2c0105",
        "4f694647ec7ff9fa58c587e8a0bc5fcd0f67ec8c",
    );
}

#[test]
fn blocks_slots_feeds_and_raw_bytes() {
    let block = |chain: &str, block_height| TriggerData::BlockInterval {
        chain: chain.parse().unwrap(),
        block_height,
    };
    let feed = |key: &str, index, data: &[u8]| TriggerData::HypercoreAppend {
        feed_key: key.to_owned(),
        index,
        data: data.to_vec(),
    };
    let slot = TriggerData::Cron {
        trigger_time: 1_700_000_000_000_000_000,
    };
    let long_feed = format!("05 40 {} fb2c01 05 68656c6c6f", "6364".repeat(32));
    let long_raw = format!("06fb2c01{}", "00".repeat(300));
    for (service, data, salt, event_id) in [
        (
            SERVICE,
            block("evm:31337", 100_000),
            "020965766d3a3331333337fca0860100",
            "10cdc00f5648488536ba0a8d194eedc1b62cb85f",
        ),
        (
            COSMOS_SERVICE,
            block("cosmos:layer-local", 250),
            "0212636f736d6f733a6c617965722d6c6f63616cfa",
            "02b67a381c4cd33c5c67bab4b39c297c6ef8f12a",
        ),
        (
            SERVICE,
            slot,
            "03fd00002a36fe9c9717",
            "4fa52b7d4d8e7dd89478f9d0063022a9cfc7badf",
        ),
        (
            SERVICE,
            feed("ab", 0, &[0xff, 0]),
            "050261620002ff00",
            "af297c3e85882fd4fc32f9a1f1173c658e65c204",
        ),
        (
            SERVICE,
            feed(&"cd".repeat(32), 300, b"hello"),
            &long_feed,
            "5e64ab68efe6d588a1cb1db773197c7c6051a5c0",
        ),
        (
            SERVICE,
            TriggerData::Raw(vec![1, 2, 3]),
            "0603010203",
            "a6fc5f71e2995f593bca8ff15ecefcfcf2e8793d",
        ),
        (
            SERVICE,
            TriggerData::Raw(vec![]),
            "0600",
            "fecf217094b0f47d388631dada159d3447bc3cae",
        ),
        (
            SERVICE,
            TriggerData::Raw(vec![0; 300]),
            &long_raw,
            "3508308025440bb6fe79fa396857540303e1f1b9",
        ),
    ] {
        check(service, &data, salt, event_id);
    }
}

fn at_proto(action: AtProtoAction, cid: Option<&str>, record: Option<Value>, op_index: Option<u32>) -> TriggerData {
    TriggerData::AtProtoEvent {
        sequence: 7,
        timestamp: 8,
        repo: "did:example:123".to_owned(),
        collection: "app.bsky.feed.post".to_owned(),
        rkey: "abc".to_owned(),
        action,
        cid: cid.map(String::from),
        record,
        rev: Some("rev1".to_owned()),
        op_index,
    }
}

#[test]
fn at_proto_events() {
    use AtProtoAction::{Create, Delete};
    let post = json!({"$type": "app.bsky.feed.post", "text": "hi", "createdAt": "2025-01-01T00:00:00.000Z"});
    let mixed = json!({"b": 1, "a": true, "n": null, "neg": -5, "f": 1.5, "s": "x", "arr": [1, "y"]});
    let ambiguous = "00 0106636964313233 01 01 016b 01 010472657631 0100";
    for (data, salt, event_id) in [
        (
            at_proto(Create, Some("cid123"), None, Some(0)),
            "00 0106636964313233 00 010472657631 0100",
            "e8819f4f8ba3f7b7e5ea4cd94915c027e4afedac",
        ),
        (
            at_proto(Create, Some("cid123"), Some(mixed), Some(0)),
            "00 0106636964313233 01 07 016101 03617272 02 01 0179 016201 0166000000000000f83f 016e 036e656709 01730178 010472657631 0100",
            "e4cbf48f25482bd6b1a5fb6e55e171f4338b77ab",
        ),
        (
            at_proto(Delete, None, None, None),
            "02 00 00 010472657631 00",
            "6ea2fa5fceccbd96a330533b4ce8bdb35dff4f08",
        ),
        (
            at_proto(Create, Some("cid123"), Some(json!({"k": 1})), Some(0)),
            ambiguous,
            "86f6f462f3887fec3273360bc4d8b2464604918f",
        ),
        (
            at_proto(Create, Some("cid123"), Some(json!({"k": true})), Some(0)),
            ambiguous,
            "86f6f462f3887fec3273360bc4d8b2464604918f",
        ),
        (
            at_proto(Create, Some("cid123"), Some(post), None),
            "00 0106636964313233 01 03 052474797065 126170702e62736b792e666565642e706f7374 09637265617465644174 \
             18323032352d30312d30315430303a30303a30302e3030305a 0474657874 026869 010472657631 00",
            "63b97a1b481ffa27b3a1b194c7f318f2c2a57932",
        ),
    ] {
        let prefix = "0f6469643a6578616d706c653a313233126170702e62736b792e666565642e706f737403616263";
        check(SERVICE, &data, &format!("{prefix}{salt}"), event_id);
    }
}

#[test]
fn at_proto_ids_ignore_the_relay() {
    let event = at_proto(AtProtoAction::Create, None, None, None);
    let mut elsewhere = event.clone();
    if let TriggerData::AtProtoEvent {
        sequence, timestamp, ..
    } = &mut elsewhere
    {
        (*sequence, *timestamp) = (-1, i64::MAX);
    }
    assert_eq!(event.salt(), elsewhere.salt());
}

#[test]
fn integers_switch_width_at_their_bounds() {
    for (value, bytes) in [
        (250, "fa"),
        (251, "fbfb00"),
        (0xffff, "fbffff"),
        (0x1_0000, "fc00000100"),
        (0xffff_ffff, "fcffffffff"),
        (0x1_0000_0000, "fd0000000001000000"),
        (u64::MAX, "fdffffffffffffffff"),
    ] {
        let mut out = Writer::default();
        out.uint(value);
        assert_eq!(hex::encode(out.0), bytes);
    }
    for (value, bytes) in [(0, "00"), (-1, "01"), (1, "02"), (i64::MIN, "fdffffffffffffffff")] {
        let mut out = Writer::default();
        out.int(value);
        assert_eq!(hex::encode(out.0), bytes);
    }
}

#[test]
fn numbers_beyond_u64_are_floats() {
    let record: Value = serde_json::from_str("18446744073709551616").unwrap();
    let mut out = Writer::default();
    out.json(&record);
    assert_eq!(out.0, 18_446_744_073_709_551_616_f64.to_le_bytes());
}

proptest! {
    /// The order in which a relay writes the members of a record must not matter.
    #[test]
    fn records_are_sorted(members in proptest::collection::btree_map("\\PC{0,8}", any::<i64>(), 0..8)) {
        let text = |pairs: Vec<(&String, &i64)>| {
            let members: Vec<_> = pairs.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
            serde_json::from_str::<Value>(&format!("{{{}}}", members.join(","))).unwrap()
        };
        let forward = at_proto(AtProtoAction::Update, None, Some(text(members.iter().collect())), None);
        let backward = at_proto(AtProtoAction::Update, None, Some(text(members.iter().rev().collect())), None);
        prop_assert_eq!(forward.salt(), backward.salt());
    }

    #[test]
    fn json_round_trips(raw in proptest::collection::vec(any::<u8>(), 0..64), time in any::<u64>(), stamp in any::<Option<u64>>()) {
        for data in [TriggerData::Raw(raw), TriggerData::Cron { trigger_time: time }, Evm::base(stamp).data()] {
            let text = serde_json::to_string(&data).unwrap();
            prop_assert_eq!(serde_json::from_str::<TriggerData>(&text).unwrap(), data);
        }
    }
}
