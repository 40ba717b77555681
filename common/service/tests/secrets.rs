//! Credentials: their forms, and that they are never shown.

mod support;

use std::io::Write as _;
use std::os::fd::OwnedFd;

use support::Scratch;
use wavs_service::config::{AggregatorConfig, Audience, EngineConfig, P2pConfig, TriggerConfig};
use wavs_service::handover::HandoverError;
use wavs_service::{Handover, ProcessConfig, ProcessName, Secret};

fn mnemonic(scratch: &Scratch) -> Option<String> {
    scratch
        .loaded()
        .node
        .aggregator
        .signing_mnemonic
        .map(|secret| secret.expose_secret().to_owned())
}

#[test]
fn each_form_of_a_credential() {
    let with = |text: &str| {
        Scratch::new()
            .variable("WAVS_SIGNING_MNEMONIC", text)
            .variable("ELSEWHERE", "from env")
    };
    let check = |scratch: Scratch, expected: Option<&str>| assert_eq!(mnemonic(&scratch).as_deref(), expected);
    check(with("a phrase"), Some("a phrase"));
    check(with("plain:file:x"), Some("file:x"));
    check(with(""), None);
    check(with("env:ELSEWHERE"), Some("from env"));
    check(with("file:secret").file("secret", "from file\r\n"), Some("from file"));
    let scratch = Scratch::new()
        .file("creds/phrase", "from systemd\n")
        .file("creds/wavs.signing_mnemonic", "implicit");
    let directory = scratch.path().join("creds").display().to_string();
    let scratch = scratch.variable("CREDENTIALS_DIRECTORY", &directory);
    assert_eq!(mnemonic(&scratch).as_deref(), Some("implicit"));
    check(
        scratch.variable("WAVS_SIGNING_MNEMONIC", "credential:phrase"),
        Some("from systemd"),
    );
}

#[test]
fn a_credential_that_cannot_be_had_is_named_without_its_value() {
    let refused = |text: &str| Scratch::new().variable("WAVS_SIGNING_MNEMONIC", text).refused();
    for (text, part) in [
        ("env:NOWHERE", "NOWHERE is not set"),
        ("file:/nowhere", "cannot read /nowhere"),
        ("credential:x", "CREDENTIALS_DIRECTORY"),
        ("keystore:/x", "not supported"),
    ] {
        let error = refused(text);
        assert!(error.contains(part) && error.contains("signing_mnemonic"), "{error}");
    }
    let open = |mode| {
        Scratch::new()
            .file_with_mode("secret", "marker", mode)
            .variable("WAVS_SIGNING_MNEMONIC", "file:secret")
    };
    assert!(open(0o604).refused().contains("chmod 600"));
    assert!(open(0o640).loaded().warnings[0].contains("by its group"));
    assert!(open(0o600).loaded().warnings.is_empty());
    // systemd opens its copy by an access list, whose mask shows as the permissions of the group.
    let prepared = Scratch::new().file_with_mode("creds/wavs.signing_mnemonic", "marker", 0o440);
    let directory = prepared.path().join("creds").display().to_string();
    let prepared = prepared.variable("CREDENTIALS_DIRECTORY", &directory).loaded();
    assert!(prepared.warnings.is_empty(), "{:?}", prepared.warnings);
    let in_file = Scratch::new().file_with_mode("wavs.toml", "[wavs]\nsigning_mnemonic = \"marker\"", 0o644);
    assert!(in_file.loaded().warnings[0].contains("holds secrets"));
    let flag = Scratch::new().flags(["--bearer-token", "marker"]).loaded();
    assert!(
        flag.warnings[0].contains("process lists") && !flag.warnings[0].contains("marker"),
        "{:?}",
        flag.warnings
    );
}

/// Every secret of this node contains the marker.
fn marked() -> Scratch {
    let id = "ab".repeat(32);
    let text = format!(
        r#"
        [wavs]
        signing_mnemonic = "marker 1"
        aggregator_evm_credential = "marker 2"
        aggregator_cosmos_credential = "marker 3"
        bearer_token = "marker 4"
        ipfs_gateway = "https://gateway/marker_marker_marker_marker/,https://user:marker@b/ipfs/"
        jaeger = "http://user:marker@jaeger:4317"
        [wavs.component_env]
        WAVS_ENV_A = "marker 5"
        [wavs.service."{id}"]
        schedule_key = "marker 6"
        [wavs.auth]
        tokens = [{{ name = "ci", scope = "read", value = "marker 7" }}]
        [wavs.p2p.local]
        listen_port = 1
        identity = "marker 8"
        [wavs.chains.evm.1]
        ws_endpoints = ["wss://node/v3/marker_marker_marker_marker"]
        http_endpoint = "https://node/?key=marker"
        "#
    );
    Scratch::new()
        .file("wavs.toml", &text)
        .variable("WAVS_ENV_B", "marker 9")
        .variable("STATE_DIRECTORY", "/state")
}

#[test]
fn the_redacted_view_has_the_order_of_the_reference_and_no_secret() {
    let loaded = marked().loaded();
    let text = serde_json::to_string(&loaded.redacted).unwrap();
    assert!(!text.contains("marker"), "{text}");
    assert!(text.contains(r#""signing_mnemonic":"<redacted>""#), "{text}");
    let names = [
        "port",
        "log_level",
        "host",
        "data",
        "cors_allowed_origins",
        "wasm_lru_size",
        "chains",
        "signing_mnemonic",
        "aggregator_cosmos_credential",
        "aggregator_evm_credential",
        "max_wasm_fuel",
        "max_execution_seconds",
        "jaeger",
        "prometheus",
        "prometheus_push_interval_secs",
        "ipfs_gateway",
        "bearer_token",
        "dev_endpoints_enabled",
        "max_body_size_mb",
        "health_check_mode",
        "aggregator",
        "p2p",
        "jetstream_endpoint",
        "jetstream_max_message_size",
        "hyperswarm_bootstrap",
    ];
    let places = names.map(|name| {
        text.find(&format!("\"{name}\":"))
            .unwrap_or_else(|| panic!("{name} is missing: {text}"))
    });
    assert!(places.is_sorted(), "{places:?}");
    assert!(text.starts_with("{\"port\":8000"), "{text}");
    assert!(text.contains(r#""chains":{"cosmos":{},"evm":{"1":{"#), "{text}");
    let bare = serde_json::to_value(Scratch::new().loaded().redacted).unwrap();
    assert_eq!(bare["signing_mnemonic"], serde_json::Value::Null);
    assert_eq!(
        (&bare["p2p"], &bare["max_wasm_fuel"]),
        (&serde_json::json!("disabled"), &serde_json::json!(u64::MAX))
    );
    assert_eq!(
        bare["chains"],
        serde_json::json!({ "cosmos": {}, "evm": {}, "dev": {} })
    );
}

#[test]
fn no_output_of_the_configuration_shows_a_secret() {
    let loaded = marked().loaded();
    let node = &loaded.node;
    // These are what a log line or a status could print; the chain table masks its endpoints itself.
    let shown = [
        format!("{:?}", node.chains),
        format!("{:?} {:?}", loaded.warnings, loaded.overrides),
        serde_json::to_string(&AggregatorConfig {
            chains: Default::default(),
            ..node.aggregator.clone()
        })
        .unwrap(),
        serde_json::to_string(&node.p2p).unwrap(),
    ];
    for text in shown {
        assert!(!text.contains("marker"), "{text}");
    }
}

#[test]
fn each_secret_goes_to_the_one_process_that_may_hold_it() {
    let node = marked().loaded().node;
    let numbers = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap();
        (1..=9)
            .filter(|number| text.contains(&format!("marker {number}")))
            .collect::<Vec<u32>>()
    };
    assert_eq!(
        numbers(&Handover::<AggregatorConfig>::of(&node).to_bytes().unwrap()),
        [1, 2, 3, 5, 6, 9]
    );
    assert_eq!(numbers(&Handover::<P2pConfig>::of(&node).to_bytes().unwrap()), [8]);
    assert_eq!(
        numbers(&Handover::<TriggerConfig>::of(&node).to_bytes().unwrap()),
        Vec::<u32>::new()
    );
    assert_eq!(
        numbers(&Handover::<EngineConfig>::of(&node).to_bytes().unwrap()),
        Vec::<u32>::new()
    );
}

/// The numbers of the markers that a configuration loaded for `audience` holds.
fn held(scratch: &Scratch, audience: Audience) -> Vec<u32> {
    let node = scratch
        .load_for(audience)
        .map_err(|error| error.to_string())
        .unwrap()
        .node;
    let http = &node.http;
    let tokens = http.tokens.iter().map(|token| &token.value).chain(&http.bearer_token);
    let mut text: String = tokens.map(|token| format!("{}\n", token.expose_secret())).collect();
    for document in [
        Handover::<AggregatorConfig>::of(&node).to_bytes().unwrap(),
        Handover::<P2pConfig>::of(&node).to_bytes().unwrap(),
    ] {
        text += std::str::from_utf8(&document).unwrap();
    }
    (1..=9)
        .filter(|number| text.contains(&format!("marker {number}")))
        .collect()
}

#[test]
fn a_process_that_loads_the_file_itself_holds_only_its_own_secrets() {
    let process = Audience::Process;
    for (audience, expected) in [
        (Audience::Node, vec![1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Audience::Api, vec![4, 7]),
        (Audience::Nobody, vec![]),
        (process(ProcessName::Aggregator), vec![1, 2, 3, 5, 6, 9]),
        (process(ProcessName::P2p), vec![8]),
        (process(ProcessName::Trigger), vec![]),
        (process(ProcessName::Engine), vec![]),
    ] {
        assert_eq!(held(&marked(), audience), expected, "{audience:?}");
    }
}

#[test]
fn a_secret_of_another_process_need_not_be_readable() {
    let text = r#"
        [wavs]
        signing_mnemonic = "credential:phrase"
        aggregator_evm_credential = "file:/nowhere"
        bearer_token = "credential:token"
        [wavs.auth]
        tokens = [{ name = "ci", scope = "read", value = "env:NOWHERE" }]
        "#;
    let scratch = || Scratch::new().file("wavs.toml", text);
    for process in [ProcessName::Trigger, ProcessName::Engine, ProcessName::P2p] {
        let loaded = scratch().load_for(Audience::Process(process));
        assert!(loaded.is_ok_and(|loaded| loaded.warnings.is_empty()), "{process}");
    }
    for audience in [
        Audience::Node,
        Audience::Api,
        Audience::Process(ProcessName::Aggregator),
    ] {
        assert!(scratch().load_for(audience).is_err(), "{audience:?}");
    }
}

#[test]
fn a_plain_secret_in_a_file_that_all_processes_read_is_pointed_out() {
    let scratch = || Scratch::new().file("wavs.toml", "[wavs]\nsigning_mnemonic = \"marker\"");
    for process in ProcessName::ALL {
        let loaded = scratch()
            .load_for(Audience::Process(process))
            .map_err(|error| error.to_string());
        let warnings = loaded.unwrap().warnings;
        assert!(
            warnings[0].contains("signing_mnemonic") && !warnings[0].contains("marker"),
            "{process}: {warnings:?}"
        );
    }
    assert!(scratch().loaded().warnings.is_empty(), "the supervisor hands it on");
}

#[test]
fn a_handover_arrives_whole() {
    let node = marked().loaded().node;
    let there = Handover::<AggregatorConfig>::of(&node);
    let descriptor = there.to_descriptor().unwrap();
    let again: OwnedFd = descriptor.try_clone().unwrap();
    let mut tampered = std::fs::File::from(descriptor.try_clone().unwrap());
    assert!(tampered.write_all(b"{}").is_err() && tampered.set_len(0).is_err());
    let here = Handover::<AggregatorConfig>::read(descriptor).unwrap();
    let all = |config: &AggregatorConfig| {
        let secrets = config
            .secrets()
            .into_iter()
            .map(|(name, secret)| (name, secret.expose_secret().to_owned()));
        (serde_json::to_value(config).unwrap(), secrets.collect::<Vec<_>>())
    };
    assert_eq!(all(&here.config), all(&there.config));
    assert_eq!((here.data_dir, here.telemetry), (there.data_dir, there.telemetry));
    // A second child gets the same memory file, although the first one has read it to its end.
    assert!(Handover::<AggregatorConfig>::read(again).is_ok());
}

#[test]
fn a_handover_for_somebody_else_is_refused_without_showing_it() {
    let node = marked().loaded().node;
    let bytes = Handover::<AggregatorConfig>::of(&node).to_bytes().unwrap();
    let refuse = |bytes: &[u8]| match Handover::<TriggerConfig>::from_bytes(bytes) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    };
    let error = refuse(&bytes);
    assert!(
        matches!(error, HandoverError::Shape { .. }) && !error.to_string().contains("marker"),
        "{error}"
    );
    assert!(matches!(refuse(b"{\"marker\":"), HandoverError::Shape { .. }));
    let trigger = Handover::<TriggerConfig>::of(&node).to_bytes().unwrap();
    let other = String::from_utf8(trigger.to_vec())
        .unwrap()
        .replacen(env!("CARGO_PKG_VERSION"), "99.0.0", 1);
    assert!(refuse(other.as_bytes()).to_string().contains("99.0.0"));
    let unwanted = String::from_utf8(trigger.to_vec())
        .unwrap()
        .replace("\"secrets\":[]", "\"secrets\":[[\"key\",\"marker\"]]");
    let error = refuse(unwanted.as_bytes()).to_string();
    assert!(
        error.contains("no use for the secret key") && !error.contains("marker"),
        "{error}"
    );
}

#[test]
fn secrets_compare_without_being_shown() {
    assert!(Secret::new("a".to_owned()) == Secret::new("a".to_owned()));
    assert!(Secret::new("a".to_owned()) != Secret::new("b".to_owned()));
}
