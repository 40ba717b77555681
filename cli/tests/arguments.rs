//! Command lines: those that scripts use, what `--help` says, and how mistakes are reported.

mod common;

use common::Tool;
use serde_json::json;
use wavs_cli::Exit;

const DIGEST: &str = "abababababababababababababababababababababababababababababababab";
const ADDRESS: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
const COSMOS: &str = "neutron1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5z5tpwxqergd3c8g7rusqpsa9eu";

/// Nothing listens on port 9 of loopback, and there is no document, so every line that parses fails later than parsing.
#[test]
fn established_command_lines_parse() {
    let tool = Tool::new().with("WAVS_CLI_WAVS_ENDPOINT", "http://127.0.0.1:9");
    let wasm = tool.dir().join("a.wasm");
    std::fs::write(&wasm, b"\0asm").unwrap();
    let wasm = wasm.display();
    let id = "workflow component --id first";
    let submit = "workflow submit --id first";
    let trigger = "workflow trigger --id first";
    let mut lines = vec![
        format!("upload-component {wasm}"),
        format!("--wavs-endpoint http://127.0.0.1:9 --json true upload-component {wasm} --log-level warn"),
        "deploy-service --service-uri http://127.0.0.1:9/service.json".to_owned(),
        "deploy-service --service-url http://127.0.0.1:9/service.json --set-uri --save-deployment false".to_owned(),
        "chains".to_owned(),
        "components".to_owned(),
        "processes list".to_owned(),
        "health --json".to_owned(),
        format!("jobs list --service evm:31337/{ADDRESS} --workflow first --state final --limit 500"),
        "jobs show 01J9ZC8T2K6V".to_owned(),
    ];
    let service = [
        "validate --offline".to_owned(),
        "update-status --status active".to_owned(),
        "update-status --status paused --quiet-results true".to_owned(),
        format!("manager set-evm --chain evm:31337 --address {ADDRESS}"),
        format!("manager set-cosmos --chain cosmos:pion-1 --address {COSMOS}"),
        "workflow add".to_owned(),
        "workflow add --id first".to_owned(),
        "workflow delete --id first".to_owned(),
        format!("{id} set-source-uri --uri https://127.0.0.1:9/a.wasm"),
        format!("{id} set-source-digest --digest {DIGEST}"),
        format!("{id} set-source-registry --package acme:gas --domain wa.dev --version 1.2.3 --digest {DIGEST}"),
        format!("{id} permissions --http-hosts * --file-system true"),
        format!("{id} permissions --http-hosts a.example --http-hosts b.example"),
        format!("{id} fuel-limit --fuel 1000"),
        format!("{id} fuel-limit"),
        format!("{id} time-limit --seconds 30"),
        format!("{id} config --values a=b,c=d"),
        format!("{id} config --values a=b --values c=d"),
        format!("{id} env --values WAVS_ENV_A,WAVS_ENV_B"),
        format!("{trigger} set-evm --address {ADDRESS} --chain evm:31337 --event-hash {DIGEST}"),
        format!("{trigger} set-cosmos --address {COSMOS} --chain cosmos:pion-1 --event-type job"),
        format!("{trigger} set-block-interval --chain evm:31337 --n-blocks 2 --start-block 1 --end-block 3"),
        format!("{trigger} set-cron --schedule @hourly --start-time 1 --end-time 2"),
        format!("{trigger} set-at-protocol --collection app.bsky.feed.post --repo-did did:plc:abc --action create"),
        format!("{trigger} set-hypercore-append --feed-key {DIGEST}"),
        format!("{submit} set-aggregator"),
        format!("{submit} set-aggregator --url http://127.0.0.1:8040"),
        format!("{submit} set-none"),
        format!("{submit} component set-source-digest --digest {DIGEST}"),
        format!("{submit} component config --values evm:31337={ADDRESS}"),
        "list --state active".to_owned(),
        format!("status {DIGEST}"),
        format!("show evm:31337/{ADDRESS} --raw"),
        format!("logs {DIGEST} --limit 5"),
        format!("signer evm:31337/{ADDRESS}"),
        format!("delete evm:31337/{ADDRESS}"),
        "apply --set-uri --wait 1".to_owned(),
    ];
    lines.extend(service.iter().map(|line| format!("service -f FILE {line}")));
    lines.extend(
        service
            .iter()
            .map(|line| format!("--json true service {line} --file FILE")),
    );
    for line in lines {
        let ended = tool.run(&line);
        assert!(
            matches!(ended.exit, Exit::Unreachable | Exit::NotFound | Exit::Failed),
            "{line}: {ended:?}"
        );
    }
}

#[test]
fn mistakes_are_usage_errors() {
    let tool = Tool::new();
    for line in [
        "nonsense",
        "service",
        "service init",
        "service -f FILE workflow add --id A",
        "service update-status --status gone",
        "service status demo",
        "service manager set-evm --chain evm --address 0x5FbDB2315678afecb367f032d93F642f64180aa3",
        "jobs list --limit 501",
        "health --quiet-results=maybe",
        "health --wavs-endpoint ftp://x",
    ] {
        let ended = tool.run(line);
        assert_eq!(
            (ended.exit, ended.stdout.as_str()),
            (Exit::Usage, ""),
            "{line}: {ended:?}"
        );
        assert!(ended.stderr.starts_with("error: "), "{line}: {ended:?}");
    }
    let ended = tool.run("nonsense --json");
    assert_eq!(ended.exit, Exit::Usage);
    assert_eq!(
        (&ended.json()["code"], &ended.json()["exit_code"]),
        (&json!("usage"), &json!(2))
    );
}

#[test]
fn help_teaches_with_examples() {
    let tool = Tool::new();
    for (line, expected) in [
        ("--help", "service apply --set-uri"),
        ("--help", "3 node unreachable"),
        ("service --help", "service init --name gas-watch"),
        ("service workflow trigger --help", "NewTrigger(bytes)"),
        ("service workflow component --help", "time-limit --seconds 30"),
        ("deploy-service --help", "WAVS_CLI_EVM_CREDENTIAL"),
        ("jobs --help", "jobs list --state failed"),
        ("--version", "wavs-cli 0."),
    ] {
        let ended = tool.run(line);
        assert_eq!(ended.exit, Exit::Done, "{line}");
        assert!(ended.stdout.contains(expected), "{line}: {}", ended.stdout);
    }
}
