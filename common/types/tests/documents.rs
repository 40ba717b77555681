//! Golden vectors of service documents, and what parsing accepts, refuses and preserves.

use proptest::prelude::*;
use serde_json::{Value, json};
use wavs_types::{DocumentError, MAX_DOCUMENT_BYTES, ServiceDocument, Submit};

const SD_1: &str = r#"{"name":"demo","workflows":{"default":{"trigger":"manual","component":{"source":{"digest":"abababababababababababababababababababababababababababababababab"},"permissions":{"allowed_http_hosts":"none","file_system":false,"raw_sockets":false,"dns_resolution":false},"fuel_limit":null,"time_limit_seconds":null,"config":{},"env_keys":[]},"submit":"none"}},"status":"active","manager":{"evm":{"chain":"evm:31337","address":"0x1111111111111111111111111111111111111111"}}}"#;
const SD_1_DIGEST: &str = "f68a2ca9592b3ab0dfcdbfb4ef6694f94fd1f645479879330972d83c9feb2026";
const SD_2: &str = r#"{"name":"demo","workflows":{"zzz":{"trigger":{"cron":{"schedule":"@hourly","start_time":null,"end_time":null}},"component":{"source":{"download":{"uri":"https://x.y/a.wasm","digest":"abababababababababababababababababababababababababababababababab"}},"permissions":{"allowed_http_hosts":{"only":["a.b"]},"file_system":true,"raw_sockets":false,"dns_resolution":false},"fuel_limit":5,"time_limit_seconds":null,"config":{"a":"1","b":"2"},"env_keys":["WAVS_ENV_A","WAVS_ENV_B"]},"submit":{"aggregator":{"component":{"source":{"registry":{"digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","domain":null,"version":null,"package":"wavs:demo"}},"permissions":{"allowed_http_hosts":"all","file_system":false,"raw_sockets":false,"dns_resolution":false},"fuel_limit":null,"time_limit_seconds":null,"config":{},"env_keys":[]},"signature_kind":{"algorithm":"secp256k1","prefix":"eip191"}}}}},"status":"paused","manager":{"cosmos":{"chain":"cosmos:layer-local","address":"layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2"}}}"#;
const SD_2_DIGEST: &str = "2864481e27fd2d34025c806bd11c2ed366a07b26b07952f870ac24b1023beb13";
/// As a service author writes it: no particular order, mixed case, and a member of an older version.
const EXAMPLE: &str = r#"{"name":"eth-gas-watch","status":"active",
 "manager":{"evm":{"chain":"evm:31337","address":"0x5FbDB2315678afecb367f032d93F642f64180aa3"}},
 "workflows":{
  "on-request":{
   "trigger":{"evm_contract_event":{"address":"0xe7f1725e7734ce288f8367e1bb143e90bb3f0512","chain":"evm:31337",
     "event_hash":"0x86eacd23610d81706516de1ed0476c87772fdf939c7c771fbbd7f0230d619e68"}},
   "component":{"source":{"registry":{"digest":"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
       "domain":"wa.dev","version":"0.3.1","package":"acme:gas"}},
     "permissions":{"allowed_http_hosts":{"only":["api.example.org"]},"file_system":true},
     "fuel_limit":1000000000000,"time_limit_seconds":30,"config":{"unit":"gwei"},"env_keys":["WAVS_ENV_GAS_KEY"]},
   "submit":{"aggregator":{"url":"http://127.0.0.1:8040",
     "component":{"source":{"download":{"uri":"ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
         "digest":"4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"}},
       "permissions":{},"config":{"evm:31337":"0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0"},"env_keys":[]},
     "signature_kind":{"algorithm":"secp256k1","prefix":"eip191"}}}},
  "heartbeat":{"trigger":{"cron":{"schedule":"0 */5 * * * *"}},
   "component":{"source":{"digest":"dbc1b4c900ffe48d575b5da5c638040125f65db0fe3e24494b76ea986457d986"},
     "permissions":{"allowed_http_hosts":"none"},"config":{},"env_keys":[]},
   "submit":"none"}}}"#;
const EXAMPLE_DIGEST: &str = "e05e377ee5a45d809a9c9d3742d1f642028e0c46183c3e747a95b7b34581f759";

fn parse(text: &str) -> ServiceDocument {
    ServiceDocument::parse(text.as_bytes()).unwrap()
}

fn shape_error(value: &Value) -> (String, String) {
    match ServiceDocument::parse(value.to_string().as_bytes()) {
        Err(DocumentError::Shape { pointer, cause }) => (pointer, cause),
        other => panic!("expected a shape error, got {other:?}"),
    }
}

#[test]
fn canonical_documents_are_fixed_points() {
    for (text, digest) in [(SD_1, SD_1_DIGEST), (SD_2, SD_2_DIGEST)] {
        let document = parse(text);
        assert_eq!(document.canonical(), text);
        assert_eq!(document.echo(), text);
        assert_eq!(document.digest().to_string(), digest);
    }
}

#[test]
fn the_example_has_its_hash() {
    let document = parse(EXAMPLE);
    assert_eq!(document.canonical().len(), 1_664);
    assert_eq!(document.digest().to_string(), EXAMPLE_DIGEST);
    assert_eq!(document.raw(), EXAMPLE.as_bytes());
    assert_eq!(
        document.service().id().to_string(),
        "76d41ff256803de151fce2ed99d145cf985af50e6def0809072e9f68932f5d11"
    );
    assert_eq!(document.findings(), []);
}

#[test]
fn prefixed_digests_and_capitals_give_the_same_hash() {
    let text = EXAMPLE
        .replace("\"dbc1b4c9", "\"0xDBC1B4C9")
        .replace("\"4bf5122f", "\"0x4bf5122f")
        .replace("0x86eacd", "86EACD");
    assert_eq!(parse(&text).digest().to_string(), EXAMPLE_DIGEST);
    let text = SD_2.replace(
        "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2",
        "LAYER1YG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3Z7ZYYK2",
    );
    assert_eq!(parse(&text).digest().to_string(), SD_2_DIGEST);
}

#[test]
fn unknown_members_are_echoed_behind_the_known_ones() {
    let text = EXAMPLE
        .replacen('{', r#"{"zeta":{"b":1,"a":[1.5,null]},"alpha":true,"#, 1)
        .replace(
            r#""chain":"evm:31337","address":"0x5"#,
            r#""note":"é\u0001","chain":"evm:31337","address":"0x5"#,
        );
    let document = parse(&text);
    let echo = document.echo();
    assert!(
        echo.ends_with(r#""note":"é\u0001"}},"zeta":{"b":1,"a":[1.5,null]},"alpha":true}"#),
        "{echo}"
    );
    assert!(
        echo.contains(r#""signature_kind":{"algorithm":"secp256k1","prefix":"eip191"},"url":"http://127.0.0.1:8040"}"#),
        "{echo}"
    );
    assert_eq!(document.digest().to_string(), EXAMPLE_DIGEST);
    assert_eq!(parse(&echo).digest(), document.digest());
    assert_eq!(parse(&echo).echo(), echo);
}

#[test]
fn env_keys_collapse_and_sort_but_hosts_keep_their_order() {
    let text = SD_2
        .replace(
            r#"["WAVS_ENV_A","WAVS_ENV_B"]"#,
            r#"["WAVS_ENV_B","WAVS_ENV_A","WAVS_ENV_B"]"#,
        )
        .replace(r#"["a.b"]"#, r#"["z.b","a.b","z.b"]"#);
    let canonical = parse(&text).canonical();
    assert!(canonical.contains(r#""env_keys":["WAVS_ENV_A","WAVS_ENV_B"]"#));
    assert!(canonical.contains(r#"{"only":["z.b","a.b","z.b"]}"#));
}

#[test]
fn strings_escape_only_what_json_must() {
    let text = SD_1.replacen("demo", r#"\/ \u00e9 \u001f \b\f\n\r\t \" \\ \u007f"#, 1);
    assert!(
        parse(&text)
            .canonical()
            .starts_with("{\"name\":\"/ é \\u001f \\b\\f\\n\\r\\t \\\" \\\\ \u{7f}\"")
    );
}

#[test]
fn a_document_built_here_is_its_own_canonical_form() {
    let service = parse(EXAMPLE).into_service();
    let document = ServiceDocument::from_service(service);
    assert_eq!(document.raw(), document.canonical().as_bytes());
    assert_eq!(document.digest().to_string(), EXAMPLE_DIGEST);
}

#[test]
fn shape_errors_point_to_their_place() {
    let base: Value = serde_json::from_str(SD_2).unwrap();
    let component = "/workflows/zzz/component";
    for (member, needle) in [
        ("config", "config"),
        ("env_keys", "env_keys"),
        ("permissions", "permissions"),
        ("source", "source"),
    ] {
        let mut value = base.clone();
        value
            .pointer_mut(component)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(member);
        let (pointer, cause) = shape_error(&value);
        assert_eq!(pointer, component);
        assert!(cause.contains(needle), "{cause}");
    }
    for (pointer, wrong, found_at) in [
        ("/manager/cosmos/address", json!("layer1abc"), "/manager/cosmos/address"),
        ("/manager/cosmos/chain", json!("EVM:1"), "/manager/cosmos/chain"),
        ("/manager", json!("unset"), "/manager"),
        ("/status", json!("stopped"), "/status"),
        ("/workflows/zzz/trigger", json!("unset"), "/workflows/zzz/trigger"),
        (
            "/workflows/zzz/trigger",
            json!({"atproto_event": {"collection": "identity"}}),
            "/workflows/zzz/trigger",
        ),
        (
            "/workflows/zzz/trigger",
            json!({"block_interval": {"chain": "evm:1", "n_blocks": 0}}),
            "/workflows/zzz/trigger/block_interval/n_blocks",
        ),
        (
            "/workflows/zzz/component/fuel_limit",
            json!(1.0),
            "/workflows/zzz/component/fuel_limit",
        ),
        (
            "/workflows/zzz/component/fuel_limit",
            json!("5"),
            "/workflows/zzz/component/fuel_limit",
        ),
        (
            "/workflows/zzz/component/fuel_limit",
            json!(-1),
            "/workflows/zzz/component/fuel_limit",
        ),
        (
            "/workflows/zzz/component/env_keys/1",
            json!(7),
            "/workflows/zzz/component/env_keys/1",
        ),
        (
            "/workflows/zzz/component/source/download/digest",
            json!("ab".repeat(31)),
            "/workflows/zzz/component/source/download/digest",
        ),
        (
            "/workflows/zzz/submit/aggregator/signature_kind/prefix",
            json!("eip712"),
            "/workflows/zzz/submit/aggregator/signature_kind/prefix",
        ),
    ] {
        let mut value = base.clone();
        *value.pointer_mut(pointer).unwrap() = wrong;
        let (found, cause) = shape_error(&value);
        assert!(found.starts_with(found_at), "{found} instead of {found_at}: {cause}");
        assert!(!cause.is_empty());
    }
}

#[test]
fn a_second_tag_is_an_error() {
    let text = SD_1.replace(r#"{"evm":{"#, r#"{"cosmos":{},"evm":{"#);
    assert!(matches!(
        ServiceDocument::parse(text.as_bytes()),
        Err(DocumentError::Shape { .. })
    ));
    let text = SD_1.replace(r#"111"}}}"#, r#"111"},"later":1}}"#);
    assert!(matches!(
        ServiceDocument::parse(text.as_bytes()),
        Err(DocumentError::Shape { .. })
    ));
}

#[test]
fn repeated_members_are_an_error_wherever_they_are() {
    for text in [
        SD_1.replacen(r#""name":"demo""#, r#""name":"demo","name":"demo""#, 1),
        SD_1.replace(r#""config":{}"#, r#""config":{"a":"1","\u0061":"2"}"#),
        SD_1.replacen('{', r#"{"unknown":{"x":1,"x":1},"#, 1),
    ] {
        let error = ServiceDocument::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DocumentError::Json { .. }), "{error}");
        assert!(error.to_string().contains("twice"), "{error}");
    }
}

#[test]
fn hostile_documents_cost_an_error() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(
        ServiceDocument::parse(deep.as_bytes()),
        Err(DocumentError::Json { .. })
    ));
    let large = vec![b' '; MAX_DOCUMENT_BYTES + 1];
    assert!(matches!(
        ServiceDocument::parse(&large),
        Err(DocumentError::Size { .. })
    ));
    for bytes in [&b""[..], b"\xff", b"{}", b"null", b"{\"name\":\"x\"} trailing"] {
        assert!(ServiceDocument::parse(bytes).is_err());
    }
    // Trailing bytes behind a whole document are not part of JSON either.
    assert!(ServiceDocument::parse(format!("{SD_1} x").as_bytes()).is_err());
}

#[test]
fn an_empty_paused_service_is_valid() {
    let text = r#"{"name":"new","workflows":{},"status":"paused","manager":{"evm":{"chain":"evm:31337","address":"0x5fbdb2315678afecb367f032d93f642f64180aa3"}}}"#;
    assert_eq!(parse(text).findings(), []);
}

#[test]
fn absent_and_null_prefix_are_one() {
    let absent = SD_2.replace(r#","prefix":"eip191""#, "");
    let null = SD_2.replace(r#""eip191""#, "null");
    assert_eq!(parse(&absent).canonical(), null);
    assert_eq!(parse(&absent).digest(), parse(&null).digest());
}

/// Writes a value with the members of every object in an order that depends on `seed`.
fn shuffled(value: &Value, seed: u64) -> String {
    match value {
        Value::Array(items) => format!(
            "[{}]",
            items
                .iter()
                .map(|item| shuffled(item, seed))
                .collect::<Vec<_>>()
                .join(",")
        ),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| {
                name.bytes().fold(seed | 1, |hash, byte| {
                    hash.rotate_left(7).wrapping_mul(seed | 1) ^ u64::from(byte)
                })
            });
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}: {}", json!(name), shuffled(value, seed)))
                .collect();
            format!("{{ {} }}", members.join(" ,\n"))
        }
        scalar => scalar.to_string(),
    }
}

proptest! {
    #[test]
    fn the_order_of_members_does_not_matter(seed in any::<u64>()) {
        for (text, digest) in [(SD_1, SD_1_DIGEST), (SD_2, SD_2_DIGEST), (EXAMPLE, EXAMPLE_DIGEST)] {
            let value: Value = serde_json::from_str(text).unwrap();
            let document = parse(&shuffled(&value, seed));
            prop_assert_eq!(document.digest().to_string(), digest);
        }
    }

    #[test]
    fn canonical_form_is_stable(name in "\\PC{0,40}", config in proptest::collection::btree_map("\\PC{0,9}", "\\PC{0,9}", 0..5), fuel in any::<Option<u64>>()) {
        let mut service = parse(EXAMPLE).into_service();
        service.name = name;
        let workflow = service.workflows.values_mut().next().unwrap();
        workflow.component.config = config;
        workflow.component.fuel_limit = fuel;
        workflow.submit = Submit::None;
        let document = ServiceDocument::from_service(service);
        let again = parse(&document.canonical());
        prop_assert_eq!(again.service(), document.service());
        prop_assert_eq!(again.canonical(), document.canonical());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ServiceDocument::parse(&bytes);
    }
}
