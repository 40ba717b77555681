//! The chain table's JSON shape, its defaults, and what is refused.

use serde_json::json;
use wavs_types::{ChainConfig, ChainConfigError, ChainKey, FinalizedTag, SubmitConfirmations};

fn evm() -> serde_json::Value {
    json!({"type": "evm", "chain_id": "1337", "ws_endpoints": ["ws://h:8546"], "http_endpoint": "http://h:8545", "faucet_endpoint": null, "ws_priority_endpoint_index": null})
}

fn cosmos() -> serde_json::Value {
    json!({"type": "cosmos", "chain_id": "test-1", "bech32_prefix": "cosmos", "rpc_endpoint": "http://h:26657", "grpc_endpoint": null, "gas_price": 0.025, "gas_denom": "uatom", "faucet_endpoint": null})
}

fn read(value: serde_json::Value) -> ChainConfig {
    serde_json::from_value(value).unwrap()
}

fn key(text: &str) -> ChainKey {
    text.parse().unwrap()
}

#[test]
fn api_shapes_are_read_and_defaults_filled_in() {
    let config = read(evm());
    let evm = config.as_evm().unwrap();
    assert_eq!(
        (
            config.chain_id(),
            evm.max_getlogs_range,
            evm.request_timeout_secs,
            evm.max_gas
        ),
        ("1337", 2_000, 10, 30_000_000)
    );
    assert_eq!(evm.submit_confirmations, SubmitConfirmations::Depth(12));
    let config = read(cosmos());
    assert_eq!(
        (config.chain_id(), config.as_cosmos().unwrap().gas_denom.as_str()),
        ("test-1", "uatom")
    );
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(
        (&written["type"], &written["gas_price"]),
        (&json!("cosmos"), &json!(0.025_f32))
    );
}

#[test]
fn every_configuration_round_trips() {
    for mut value in [evm(), cosmos()] {
        value["submit_confirmations"] = json!("finalized");
        value["something_newer"] = json!({"a": 1});
        let config = read(value);
        let again = read(serde_json::to_value(&config).unwrap());
        assert_eq!(again, config);
        if let Some(evm) = again.as_evm() {
            assert_eq!(
                evm.submit_confirmations,
                SubmitConfirmations::Tag(FinalizedTag::Finalized)
            );
        }
    }
}

#[test]
fn debug_output_hides_keys() {
    let mut value = evm();
    value["ws_endpoints"] = json!(["wss://h/v3/0123456789abcdef0123"]);
    value["http_endpoint"] = json!("https://user:secret@h/?apikey=secret");
    let shown = format!("{:?}", read(value.clone()));
    assert!(
        !shown.contains("secret") && !shown.contains("0123456789abcdef"),
        "{shown}"
    );
    let mut value = cosmos();
    value["rpc_endpoints"] = json!(["https://h/?k=secret"]);
    value["grpc_endpoint"] = json!("https://a:secret@h");
    let shown = format!("{:?}", read(value));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn keys_and_configurations_must_agree() {
    assert_eq!(read(evm()).check(&key("evm:1337")), Ok(()));
    assert_eq!(read(evm()).check(&key("dev:local")), Ok(()));
    assert_eq!(read(cosmos()).check(&key("cosmos:test-1")), Ok(()));
    assert!(matches!(
        read(evm()).check(&key("evm:1")),
        Err(ChainConfigError::ChainId { .. })
    ));
    assert!(matches!(
        read(evm()).check(&key("cosmos:1337")),
        Err(ChainConfigError::Family { .. })
    ));
    assert!(matches!(
        read(evm()).check(&key("svm:1337")),
        Err(ChainConfigError::Namespace { .. })
    ));
    let with = |mut value: serde_json::Value, member: &str, new: serde_json::Value| {
        value[member] = new;
        read(value)
    };
    assert!(matches!(
        with(evm(), "ws_priority_endpoint_index", json!(1)).check(&key("evm:1337")),
        Err(ChainConfigError::PriorityIndex {
            index: 1,
            endpoints: 1,
            ..
        })
    ));
    assert!(matches!(
        with(cosmos(), "gas_denom", json!("")).check(&key("cosmos:test-1")),
        Err(ChainConfigError::Missing {
            member: "gas_denom",
            ..
        })
    ));
    assert!(matches!(
        with(evm(), "chain_id", json!("")).check(&key("dev:a")),
        Err(ChainConfigError::Missing { member: "chain_id", .. })
    ));
}
