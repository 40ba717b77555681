//! Golden vectors of service ids and event ids with explicit salts.

use wavs_types::{CosmosAddress, EventId, ServiceId, ServiceManager, WorkflowId};

fn evm(chain: &str, address: &str) -> ServiceManager {
    ServiceManager::Evm {
        chain: chain.parse().unwrap(),
        address: address.parse().unwrap(),
    }
}

fn cosmos(chain: &str, address: &str) -> ServiceManager {
    ServiceManager::Cosmos {
        chain: chain.parse().unwrap(),
        address: address.parse().unwrap(),
    }
}

#[test]
fn service_ids() {
    let ones = format!("0x{}", "11".repeat(20));
    let deployed = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
    for (manager, id) in [
        (
            evm("evm:31337", &ones),
            "f1872fc8f2fc194e1f55c47c6524231c445bebd0aadd4ebff81cfc5a567d7e68",
        ),
        (
            evm("evm:1", deployed),
            "c229b166079686dc69343ab6fd280206c11cf294033b0e088bbdd9a46ee332ed",
        ),
        (
            evm("dev:local", &ones),
            "532fb597a5aa20ef45a42e96d9dfee0fca0034be9247d917d162ef6ecd973ad4",
        ),
        (
            evm("evm:31337", deployed),
            "76d41ff256803de151fce2ed99d145cf985af50e6def0809072e9f68932f5d11",
        ),
        (
            evm("dev:local", deployed),
            "c28b926e288d764b6b91130161f547a245fed9422158688c7cd5aa2978dbc6c6",
        ),
        (
            cosmos("cosmos:layer-local", "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2"),
            "a7247717bd4833ffaab20815293785477efcd8e94f9d4a76be51284f00755821",
        ),
        (
            cosmos("cosmos:layer-local", "wasm1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyur3nn"),
            "a7247717bd4833ffaab20815293785477efcd8e94f9d4a76be51284f00755821",
        ),
        (
            cosmos(
                "cosmos:layer-local",
                "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3ql5urrs",
            ),
            "0a3810443947b954677d4c8442c922269bb9f2ea1fda6e1d6264a81ad2470ff4",
        ),
        (
            cosmos(
                "cosmos:pion-1",
                "neutron1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5z5tpwxqergd3c8g7rusqpsa9eu",
            ),
            "2b1f51b23e24a81216bf82142501f10ca97d51d4ea138a0cebd2fdc3acfff03a",
        ),
    ] {
        assert_eq!(manager.service_id().to_string(), id, "{manager:?}");
    }
}

#[test]
fn long_contract_addresses_decode() {
    let address: CosmosAddress = "neutron1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5z5tpwxqergd3c8g7rusqpsa9eu"
        .parse()
        .unwrap();
    assert_eq!(address.bytes(), (1..=32).collect::<Vec<u8>>());
    assert_eq!((address.prefix(), address.prefix_len()), ("neutron", 7));
}

#[test]
fn event_ids_with_a_salt() {
    let service = evm("evm:31337", "0x1111111111111111111111111111111111111111").service_id();
    for (workflow, salt, id) in [
        ("default", &[0xaa][..], "b065056833133bf1947cf538b706df6afb857f77"),
        ("default", &[], "3a5e3d5ea74c2a7342496e30a13fdd3980539a46"),
        ("default", &[7; 32], "cb3c3adf226f5df161d474c087d0023f02dd0c5b"),
        (
            "foo",
            &[0x62, 0x61, 0x72, 0x58],
            "a71178c6fd3dea6a18452bd659d87a135562b1fc",
        ),
        ("foobar", &[0x58], "a71178c6fd3dea6a18452bd659d87a135562b1fc"),
    ] {
        let workflow: WorkflowId = workflow.parse().unwrap();
        let event_id = EventId::derive(&service, &workflow, salt);
        assert_eq!(event_id.to_log(), id);
        assert_eq!(serde_json::to_string(&event_id).unwrap(), format!("\"0x{id}\""));
    }
}

#[test]
fn a_service_id_is_read_with_prefix_and_in_capitals() {
    let text = "F1872FC8F2FC194E1F55C47C6524231C445BEBD0AADD4EBFF81CFC5A567D7E68";
    let id: ServiceId = serde_json::from_str(&format!("\"0x{text}\"")).unwrap();
    assert_eq!(id.to_string(), text.to_lowercase());
}
