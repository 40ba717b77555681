//! One document per rule: a sound one is changed in one place, and exactly the rule for that place speaks up.

use serde_json::{Value, json};
use wavs_types::{Finding, Level, MAX_CONFIG_BYTES, ServiceDocument};

const DAY: u64 = 86_400 * 1_000_000_000;

/// A document without findings.
fn sound() -> Value {
    let component = json!({"source": {"digest": "ab".repeat(32)}, "permissions": {}, "config": {}, "env_keys": []});
    json!({
        "name": "demo", "status": "active",
        "manager": {"evm": {"chain": "evm:31337", "address": "0x1111111111111111111111111111111111111111"}},
        "workflows": {"main": {
            "trigger": "manual", "component": component,
            "submit": {"aggregator": {"component": component, "signature_kind": {"algorithm": "secp256k1", "prefix": "eip191"}}},
        }},
    })
}

fn findings(document: &Value) -> Vec<Finding> {
    ServiceDocument::parse(document.to_string().as_bytes())
        .unwrap()
        .findings()
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut document = sound();
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

/// Expects exactly one finding, at a place whose pointer ends in `suffix`.
#[track_caller]
fn expect(document: &Value, level: Level, code: &str, suffix: &str) {
    let found = findings(document);
    let [finding] = found.as_slice() else {
        panic!("expected one finding {code}, got {found:?}")
    };
    assert_eq!((finding.level, finding.code.as_str()), (level, code), "{finding}");
    assert!(finding.pointer.ends_with(suffix), "{finding}");
    assert!(!finding.detail.is_empty());
}

fn with_trigger(trigger: Value) -> Value {
    changed("/workflows/main/trigger", trigger)
}

#[test]
fn a_sound_document_has_none() {
    assert_eq!(findings(&sound()), []);
}

#[test]
fn names() {
    expect(&changed("/name", json!("")), Level::Warning, "name-empty", "/name");
    expect(
        &changed("/name", json!("é".repeat(129))),
        Level::Error,
        "name-too-long",
        "/name",
    );
    assert_eq!(findings(&changed("/name", json!("é".repeat(128)))), []);
}

#[test]
fn workflow_ids() {
    let workflow = sound()["workflows"]["main"].clone();
    let with = |ids: &[&str]| {
        let workflows: serde_json::Map<_, _> = ids.iter().map(|id| ((*id).to_owned(), workflow.clone())).collect();
        changed("/workflows", Value::Object(workflows))
    };
    expect(
        &with(&["foo", "foobar", "fob"]),
        Level::Warning,
        "workflow-id-prefix",
        "/workflows/foobar",
    );
    assert_eq!(findings(&with(&["foo", "foo-b", "foo-b-c"])).len(), 3);
    expect(
        &with(&["wf\u{661}"]),
        Level::Warning,
        "workflow-id-not-ascii",
        "/workflows/wf\u{661}",
    );
    let many: Vec<_> = (0..257).map(|number| format!("w{number:03}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    expect(&with(&many), Level::Error, "too-many-workflows", "/workflows");
    assert_eq!(findings(&with(&many[..256])), []);
}

#[test]
fn chains_of_the_wrong_family() {
    let address = "0x1111111111111111111111111111111111111111";
    let layer = "layer1yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3z7zyyk2";
    expect(
        &changed("/manager/evm/chain", json!("cosmos:a")),
        Level::Error,
        "chain-family",
        "/manager/evm/chain",
    );
    assert_eq!(findings(&changed("/manager/evm/chain", json!("dev:a"))), []);
    let evm = |chain: &str| {
        with_trigger(json!({"evm_contract_event": {"address": address, "chain": chain, "event_hash": "ab".repeat(32)}}))
    };
    let cosmos = |chain: &str, kind: &str| {
        with_trigger(json!({"cosmos_contract_event": {"address": layer, "chain": chain, "event_type": kind}}))
    };
    expect(
        &evm("cosmos:a"),
        Level::Error,
        "chain-family",
        "/evm_contract_event/chain",
    );
    expect(
        &cosmos("evm:1", "x"),
        Level::Error,
        "chain-family",
        "/cosmos_contract_event/chain",
    );
    expect(&cosmos("cosmos:a", ""), Level::Error, "event-type-empty", "/event_type");
    expect(
        &cosmos("cosmos:a", "wasm-x"),
        Level::Warning,
        "event-type-prefix",
        "/event_type",
    );
    assert_eq!(findings(&evm("dev:a")), []);
    assert_eq!(findings(&cosmos("cosmos:a", "x")), []);
}

#[test]
fn block_windows() {
    let with = |start: Option<u64>, end: Option<u64>| {
        with_trigger(
            json!({"block_interval": {"chain": "evm:1", "n_blocks": 3, "start_block": start, "end_block": end}}),
        )
    };
    expect(&with(Some(3), Some(2)), Level::Error, "block-window", "/start_block");
    expect(&with(None, Some(2)), Level::Warning, "start-block-none", "/start_block");
    assert_eq!(findings(&with(Some(2), Some(2))), []);
}

fn cron(schedule: &str, start: Option<u64>, end: Option<u64>) -> Value {
    with_trigger(json!({"cron": {"schedule": schedule, "start_time": start, "end_time": end}}))
}

#[test]
fn schedules_of_the_dialect() {
    for good in [
        "*/5 * * * * *",
        "10-20/3 * * * * *",
        "0 0 0 * * SUN",
        "0 0 0 * * 7",
        "@weekly",
        "0  0 0 1 1 *  2020",
        "0 0 0 15 * mon",
    ] {
        assert_eq!(findings(&cron(good, None, None)), [], "{good}");
    }
    for bad in [
        "* * * * *",
        "0 0 0 * * 0",
        "0 0 0 * * FRI-MON",
        "50-10 * * * * *",
        "*/0 * * * * *",
        "? * * * * *",
        "0 0 0 L * *",
        "@midnight",
        "@annually",
        "@reboot",
        "0 0 0 1 1 * 1969",
        "0 0 0 1 1 * 2101",
        "",
        &"0,".repeat(1_000),
    ] {
        expect(&cron(bad, None, None), Level::Error, "cron-schedule", "/cron/schedule");
    }
    expect(
        &cron("0 0 0 31 2 *", None, None),
        Level::Warning,
        "cron-impossible",
        "/cron/schedule",
    );
    expect(
        &cron("@hourly", Some(2), Some(1)),
        Level::Error,
        "cron-window",
        "/cron/start_time",
    );
    assert_eq!(findings(&cron("@hourly", Some(2), Some(2))), []);
}

#[test]
fn schedules_that_are_over() {
    let now = 20_000 * DAY;
    let codes = |document: &Value| {
        let document = ServiceDocument::parse(document.to_string().as_bytes()).unwrap();
        document
            .service()
            .schedule_findings(now)
            .into_iter()
            .map(|finding| finding.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&cron("@daily", None, Some(now - 1))), ["cron-window-over"]);
    assert_eq!(codes(&cron("@daily", None, Some(now + DAY - 1))), ["cron-no-slot"]);
    assert_eq!(codes(&cron("0 0 0 1 1 * 2020", None, None)), ["cron-no-slot"]);
    assert_eq!(codes(&cron("@daily", None, Some(now + DAY))), [""; 0]);
    assert_eq!(codes(&cron("@daily", Some(now + 9 * DAY), None)), [""; 0]);
    assert_eq!(codes(&cron("@daily", Some(u64::MAX), None)), ["cron-no-slot"]);
    assert_eq!(codes(&sound()), [""; 0]);
}

#[test]
fn feeds_and_collections() {
    let feed = |key: &str| with_trigger(json!({"hypercore_append": {"feed_key": key}}));
    assert_eq!(findings(&feed(&format!("0x{}", "Cd".repeat(32)))), []);
    for bad in ["../x", &"ab".repeat(31), &"zz".repeat(32)] {
        expect(&feed(bad), Level::Error, "feed-key", "/hypercore_append/feed_key");
    }
    let at = |collection: &str, did: Option<&str>| {
        with_trigger(json!({"at_proto_event": {"collection": collection, "repo_did": did}}))
    };
    assert_eq!(
        findings(&at("app.bsky.feed.*", Some("did:plc:ewvi7nxzyoun6zhxrhs64oiz"))),
        []
    );
    expect(
        &at("app.bsky", None),
        Level::Error,
        "collection",
        "/at_proto_event/collection",
    );
    expect(
        &at("app.*.post", None),
        Level::Warning,
        "collection-wildcard",
        "/at_proto_event/collection",
    );
    expect(
        &at("*", None),
        Level::Warning,
        "collection-wildcard",
        "/at_proto_event/collection",
    );
    expect(
        &at("identity", Some("alice")),
        Level::Error,
        "repo-did",
        "/at_proto_event/repo_did",
    );
}

/// Every rule of components holds for both components of a workflow.
#[test]
fn components() {
    for at in [
        "/workflows/main/component",
        "/workflows/main/submit/aggregator/component",
    ] {
        let with = |member: &str, value: Value| {
            let mut document = sound();
            document.pointer_mut(at).unwrap()[member] = value;
            document
        };
        let expect_at = |document: &Value, level, code, suffix: &str| {
            expect(document, level, code, &format!("{at}{suffix}"));
        };
        expect_at(
            &with("fuel_limit", json!(0)),
            Level::Warning,
            "limit-zero",
            "/fuel_limit",
        );
        expect_at(
            &with("time_limit_seconds", json!(0)),
            Level::Warning,
            "limit-zero",
            "/time_limit_seconds",
        );
        expect_at(
            &with("env_keys", json!(["HOME"])),
            Level::Warning,
            "env-key-prefix",
            "/env_keys",
        );
        let keys: Vec<_> = (0..65).map(|number| format!("WAVS_ENV_{number}")).collect();
        expect_at(
            &with("env_keys", json!(keys)),
            Level::Error,
            "too-many-env-keys",
            "/env_keys",
        );
        let value = "x".repeat(MAX_CONFIG_BYTES - 1);
        assert_eq!(findings(&with("config", json!({"a": value}))), []);
        expect_at(
            &with("config", json!({"ab": value})),
            Level::Error,
            "config-too-large",
            "/config",
        );
        let hosts = json!({"allowed_http_hosts": {"only": ["a.b", "a*b"]}});
        expect_at(
            &with("permissions", hosts),
            Level::Warning,
            "host-pattern",
            "/permissions/allowed_http_hosts/only/1",
        );

        let digest = "ab".repeat(32);
        let download = |uri: &str| with("source", json!({"download": {"uri": uri, "digest": digest}}));
        expect_at(
            &download("ftp://x/y"),
            Level::Error,
            "uri-scheme",
            "/source/download/uri",
        );
        expect_at(&download("x/y"), Level::Error, "uri-scheme", "/source/download/uri");
        expect_at(&download("https://"), Level::Error, "uri", "/source/download/uri");
        expect_at(&download("https://x/a b"), Level::Error, "uri", "/source/download/uri");
        let registry = |domain: Value, version: Value, package: &str| {
            with(
                "source",
                json!({"registry": {"digest": digest, "domain": domain, "version": version, "package": package}}),
            )
        };
        assert_eq!(
            findings(&registry(json!("localhost:8090"), json!("1.2.3-rc.1+b"), "wavs:demo-2")),
            []
        );
        expect_at(
            &registry(json!(null), json!(null), "wavs"),
            Level::Error,
            "registry-package",
            "/source/registry/package",
        );
        expect_at(
            &registry(json!(null), json!("1.2"), "wavs:a"),
            Level::Error,
            "registry-version",
            "/source/registry/version",
        );
        expect_at(
            &registry(json!("a b"), json!(null), "wavs:a"),
            Level::Error,
            "registry-domain",
            "/source/registry/domain",
        );
    }
}

#[test]
fn a_missing_prefix_is_doubtful() {
    let at = "/workflows/main/submit/aggregator/signature_kind/prefix";
    expect(&changed(at, json!(null)), Level::Warning, "signature-prefix-none", at);
}

#[test]
fn all_findings_are_reported_together() {
    let mut document = cron("never", Some(2), Some(1));
    document["name"] = json!("");
    let codes: Vec<_> = findings(&document).into_iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["name-empty", "cron-schedule", "cron-window"]);
}
