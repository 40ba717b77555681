//! Editing a document: the JSON results, byte for byte where scripts may depend on it, and what an edit leaves alone.

mod common;

use common::Tool;
use serde_json::{Value, json};
use wavs_cli::Exit;

const DIGEST: &str = "abababababababababababababababababababababababababababababababab";
const MANAGER: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

fn begun() -> Tool {
    let tool = Tool::new();
    tool.service("init --name demo");
    tool.service("workflow add --id first");
    tool
}

fn with_component() -> Tool {
    let tool = begun();
    tool.service(&format!(
        "workflow component --id first set-source-digest --digest {DIGEST}"
    ));
    tool
}

#[test]
fn results_have_their_exact_text() {
    let tool = Tool::new();
    let path = tool.document().display().to_string();
    let check = |line: &str, expected: String| {
        let ended = tool.run(&format!("service -f FILE {line} --json true"));
        assert_eq!(ended.exit, Exit::Done, "{line}: {ended:?}");
        assert_eq!(ended.stdout, expected, "{line}");
    };
    check(
        "init --name demo",
        format!(
            "{{\n  \"service\": {{\n    \"name\": \"demo\",\n    \"workflows\": {{}},\n    \"status\": \"active\",\n    \
             \"manager\": \"unset\"\n  }},\n  \"file_path\": \"{path}\"\n}}\n"
        ),
    );
    check(
        "workflow add --id first",
        format!("{{\n  \"workflow_id\": \"first\",\n  \"file_path\": \"{path}\"\n}}\n"),
    );
    check(
        "workflow submit --id first set-none",
        format!("{{\n  \"workflow_id\": \"first\",\n  \"file_path\": \"{path}\"\n}}\n"),
    );
    check(
        "update-status --status paused",
        format!("{{\n  \"status\": \"paused\",\n  \"file_path\": \"{path}\"\n}}\n"),
    );
    check(
        &format!("workflow component --id first set-source-digest --digest 0x{DIGEST}"),
        format!(
            "{{\n  \"SourceDigest\": {{\n    \"context\": {{\n      \"Workflow\": {{\n        \"workflow_id\": \"first\"\n      }}\n    \
             }},\n    \"digest\": \"{DIGEST}\",\n    \"file_path\": \"{path}\"\n  }}\n}}\n"
        ),
    );
}

#[test]
fn the_manager_is_set() {
    let tool = begun();
    let path = tool.document();
    let result = tool.service(&format!("manager set-evm --chain evm:31337 --address {MANAGER}"));
    let lower = MANAGER.to_lowercase();
    assert_eq!(
        result,
        json!({"chain": "evm:31337", "address": lower, "file_path": path})
    );
    assert_eq!(
        tool.written()["manager"],
        json!({"evm": {"chain": "evm:31337", "address": lower}})
    );

    let address = "neutron1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5z5tpwxqergd3c8g7rusqpsa9eu";
    let result = tool.service(&format!("manager set-cosmos --chain cosmos:pion-1 --address {address}"));
    assert_eq!(
        result,
        json!({"chain": "cosmos:pion-1", "address": address, "file_path": path})
    );

    let ended = tool.run(&format!(
        "service -f FILE manager set-evm --chain cosmos:pion-1 --address {MANAGER}"
    ));
    assert_eq!(ended.exit, Exit::Usage, "{ended:?}");
}

#[test]
fn every_trigger_is_set() {
    let tool = begun();
    let check = |line: &str, trigger: Value| {
        let result = tool.service(&format!("workflow trigger --id first {line}"));
        assert_eq!(
            result,
            json!({"workflow_id": "first", "trigger": trigger, "file_path": tool.document()}),
            "{line}"
        );
        assert_eq!(tool.written()["workflows"]["first"]["trigger"], trigger, "{line}");
    };
    let hash = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
    let event =
        json!({"evm_contract_event": {"address": MANAGER.to_lowercase(), "chain": "evm:31337", "event_hash": hash}});
    for text in [hash, &hash[2..], "Transfer(address,address,uint256)"] {
        check(
            &format!("set-evm --address {MANAGER} --chain evm:31337 --event-hash {text}"),
            event.clone(),
        );
    }
    let address = "neutron1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5z5tpwxqergd3c8g7rusqpsa9eu";
    check(
        &format!("set-cosmos --address {address} --chain cosmos:pion-1 --event-type new-job"),
        json!({"cosmos_contract_event": {"address": address, "chain": "cosmos:pion-1", "event_type": "new-job"}}),
    );
    check(
        "set-block-interval --chain evm:31337 --n-blocks 10 --start-block 1 --end-block 18446744073709551615",
        json!({"block_interval": {"chain": "evm:31337", "n_blocks": 10, "start_block": 1, "end_block": u64::MAX}}),
    );
    check(
        "set-cron --schedule @hourly --start-time 1769570000000000001",
        json!({"cron": {"schedule": "@hourly", "start_time": 1_769_570_000_000_000_001_u64, "end_time": null}}),
    );
    check(
        "set-at-protocol --collection app.bsky.feed.post --repo-did did:plc:ewvi7nxzyoun6zhxrhs64oiz --action create",
        json!({"at_proto_event": {"collection": "app.bsky.feed.post", "repo_did": "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "action": "create"}}),
    );
    check(
        &format!("set-hypercore-append --feed-key {DIGEST}"),
        json!({"hypercore_append": {"feed_key": DIGEST}}),
    );
    check("set-manual", json!("manual"));
}

#[test]
fn a_wrong_trigger_changes_nothing() {
    let tool = begun();
    let before = std::fs::read(tool.document()).unwrap();
    for line in [
        "set-cron --schedule nonsense",
        "set-cron --schedule @hourly --start-time 2 --end-time 1",
        "set-hypercore-append --feed-key 12",
        "set-block-interval --chain evm:31337 --n-blocks 0",
        "set-evm --address 0x12 --chain evm:31337 --event-hash 00",
        "set-evm --address 0x5FbDB2315678afecb367f032d93F642f64180aa3 --chain cosmos:pion-1 --event-hash A()",
        "set-at-protocol --collection ! --action create",
    ] {
        let ended = tool.run(&format!("service -f FILE workflow trigger --id first {line}"));
        assert_eq!(ended.exit, Exit::Usage, "{line}: {ended:?}");
        assert_eq!(std::fs::read(tool.document()).unwrap(), before, "{line}");
    }
}

#[test]
fn component_terms_are_set() {
    let tool = with_component();
    let path = tool.document();
    let context = json!({"Workflow": {"workflow_id": "first"}});
    let check = |words: &[&str], tag: &str, name: &str, value: Value| {
        let file = path.display().to_string();
        let line = [
            "service",
            "-f",
            &file,
            "--json",
            "true",
            "workflow",
            "component",
            "--id",
            "first",
        ];
        let ended = tool.run_words(line.iter().chain(words).map(|word| (*word).to_owned()));
        assert_eq!(ended.exit, Exit::Done, "{words:?}: {ended:?}");
        assert_eq!(
            ended.json(),
            json!({tag: {"context": context, name: value, "file_path": path}}),
            "{words:?}"
        );
        let member = if name == "permissions" { "permissions" } else { name };
        assert_eq!(
            tool.written()["workflows"]["first"]["component"][member],
            value,
            "{words:?}"
        );
    };
    let permissions = |hosts: Value, files: bool| json!({"allowed_http_hosts": hosts, "file_system": files, "raw_sockets": false, "dns_resolution": false});
    let only = permissions(json!({"only": ["a.example", "b.example"]}), true);
    check(
        &[
            "permissions",
            "--http-hosts",
            "a.example,b.example",
            "--file-system",
            "true",
        ],
        "Permissions",
        "permissions",
        only.clone(),
    );
    check(&["permissions"], "Permissions", "permissions", only);
    check(
        &["permissions", "--http-hosts", "*"],
        "Permissions",
        "permissions",
        permissions(json!("all"), true),
    );
    check(
        &["permissions", "--http-hosts", "", "--file-system", "false"],
        "Permissions",
        "permissions",
        permissions(json!("none"), false),
    );
    check(
        &["fuel-limit", "--fuel", "18446744073709551615"],
        "FuelLimit",
        "fuel_limit",
        json!(u64::MAX),
    );
    check(&["fuel-limit"], "FuelLimit", "fuel_limit", Value::Null);
    check(
        &["time-limit", "--seconds", "30"],
        "TimeLimit",
        "time_limit_seconds",
        json!(30),
    );
    check(&["time-limit"], "TimeLimit", "time_limit_seconds", Value::Null);
    check(
        &["config", "--values", "unit=gwei,evm:31337=0x12", "--values", "x=a=b"],
        "Config",
        "config",
        json!({"unit": "gwei", "evm:31337": "0x12", "x": "a=b"}),
    );
    check(&["config"], "Config", "config", json!({}));
    check(
        &["env", "--values", "WAVS_ENV_B", "WAVS_ENV_A,WAVS_ENV_B"],
        "EnvKeys",
        "env_keys",
        json!(["WAVS_ENV_A", "WAVS_ENV_B"]),
    );
    check(&["env"], "EnvKeys", "env_keys", json!([]));
}

#[test]
fn config_comes_from_files_too() {
    let tool = with_component();
    for (text, expected) in [
        (r#"{"list": "a,b"}"#, Some(json!({"list": "a,b"}))),
        ("# note\nlist = a,b\n\nx=", Some(json!({"list": " a,b", "x": ""}))),
        (r#"{"n": 1}"#, None),
        ("nonsense", None),
    ] {
        let file = tool.dir().join("values");
        std::fs::write(&file, text).unwrap();
        let ended = tool.run(&format!(
            "service -f FILE workflow component --id first config --config-file {}",
            file.display()
        ));
        match expected {
            Some(expected) => assert_eq!(
                tool.written()["workflows"]["first"]["component"]["config"],
                expected,
                "{ended:?}"
            ),
            None => assert_eq!(ended.exit, Exit::Failed, "{text}: {ended:?}"),
        }
    }
}

#[test]
fn an_aggregator_has_a_component_of_its_own() {
    let tool = with_component();
    let set = format!("workflow submit --id first component set-source-digest --digest {DIGEST}");
    let ended = tool.run(&format!("service -f FILE {set}"));
    assert_eq!(ended.exit, Exit::Failed, "{ended:?}");

    tool.service("workflow submit --id first set-aggregator --url http://127.0.0.1:8040");
    let result = tool.service(&set);
    assert_eq!(
        result["SourceDigest"]["context"],
        json!({"Aggregator": {"workflow_id": "first"}})
    );
    tool.service("workflow submit --id first component config --values evm:31337=0x12");
    // Set again, it keeps what it has.
    tool.service("workflow submit --id first set-aggregator");
    let aggregator = &tool.written()["workflows"]["first"]["submit"]["aggregator"];
    assert_eq!(aggregator["url"], "http://127.0.0.1:8040");
    assert_eq!(
        aggregator["signature_kind"],
        json!({"algorithm": "secp256k1", "prefix": "eip191"})
    );
    assert_eq!(aggregator["component"]["config"], json!({"evm:31337": "0x12"}));
}

#[test]
fn a_new_source_keeps_the_terms() {
    let tool = with_component();
    tool.service("workflow component --id first time-limit --seconds 9");
    tool.service("workflow component --id first config --values a=b");
    let registry = format!(
        "workflow component --id first set-source-registry --package acme:gas --version 1.2.3 --digest {DIGEST}"
    );
    let result = tool.service(&registry);
    assert_eq!(
        result,
        json!({"SourceRegistry": {"context": {"Workflow": {"workflow_id": "first"}}, "domain": null, "package": "acme:gas",
            "digest": DIGEST, "version": "1.2.3", "file_path": tool.document()}})
    );
    let component = &tool.written()["workflows"]["first"]["component"];
    assert_eq!(
        (&component["time_limit_seconds"], &component["config"]),
        (&json!(9), &json!({"a": "b"}))
    );
    assert_eq!(
        component["source"],
        json!({"registry": {"digest": DIGEST, "domain": null, "version": "1.2.3", "package": "acme:gas"}})
    );
}

#[test]
fn terms_need_a_source_first() {
    let tool = begun();
    for line in ["permissions", "fuel-limit", "time-limit", "config", "env"] {
        let ended = tool.run(&format!("service -f FILE workflow component --id first {line}"));
        assert_eq!(ended.exit, Exit::Failed, "{line}");
        assert!(ended.stderr.contains("set-source-digest"), "{ended:?}");
    }
}

#[test]
fn edits_keep_unknown_members_and_all_order() {
    let tool = Tool::new();
    let document = format!(
        r#"{{"x-first":{{"b":1,"a":[1.5,null]}},"status":"active","name":"demo","workflows":{{"zzz":{{"note":"mine","submit":"none",
           "trigger":"manual","component":{{"source":{{"digest":"{DIGEST}"}},"permissions":{{"x":true}},"config":{{}},"env_keys":[]}}}},
           "aaa":{{"trigger":"unset","component":"unset","submit":"unset"}}}},"manager":"unset","x-last":"18446744073709551615"}}"#
    );
    tool.write(&document);
    tool.service("update-status --status active");
    let compact = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let written = std::fs::read_to_string(tool.document()).unwrap();
    assert_eq!(compact(&written), compact(&document));

    tool.service("workflow component --id zzz permissions --file-system true");
    tool.service("workflow trigger --id zzz set-cron --schedule @daily");
    let written = tool.written();
    assert_eq!(written["workflows"]["zzz"]["note"], "mine");
    assert_eq!(
        written["workflows"]["zzz"]["component"]["permissions"],
        json!({"x": true, "file_system": true})
    );
    assert_eq!(written["x-first"], json!({"b": 1, "a": [1.5, null]}));
}

#[test]
fn workflows_come_and_go() {
    let tool = begun();
    let made = tool.service("workflow add");
    assert_eq!(made["workflow_id"].as_str().map(str::len), Some(36));
    assert_eq!(
        tool.written()["workflows"].as_object().map(serde_json::Map::len),
        Some(2)
    );
    let again = tool.run("service -f FILE workflow add --id first");
    assert_eq!(again.exit, Exit::Conflict, "{again:?}");
    tool.service("workflow delete --id first");
    let gone = tool.run("service -f FILE workflow delete --id first --json");
    assert_eq!(
        (gone.exit, &gone.json()["code"]),
        (Exit::NotFound, &json!("workflow-not-found"))
    );
}

#[test]
fn files_that_are_no_documents_are_refused() {
    let tool = Tool::new();
    assert_eq!(tool.run("service -f FILE workflow add").exit, Exit::NotFound);
    for text in ["", "[]", "{", r#"{"name":"a","name":"b"}"#, r#"{"workflows":[]}"#] {
        tool.write(text);
        let ended = tool.run("service -f FILE workflow add");
        assert_eq!(ended.exit, Exit::Failed, "{text}: {ended:?}");
        assert!(ended.stderr.contains("service.json"), "{ended:?}");
    }
    assert_eq!(tool.run("service -f FILE init --name x").exit, Exit::Conflict);
}
