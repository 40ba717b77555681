//! Commands against a node with scripted answers: what is asked, what is printed, and the exit codes.

mod common;

use common::scripted::Scripted;
use common::{Ended, Tool};
use serde_json::{Value, json};
use wavs_cli::Exit;

const ID: &str = "76d41ff256803de151fce2ed99d145cf985af50e6def0809072e9f68932f5d11";
const MANAGER: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
const DIGEST: &str = "abababababababababababababababababababababababababababababababab";

fn document() -> Value {
    json!({
        "name": "demo",
        "workflows": {"first": {
            "trigger": "manual",
            "component": {"source": {"digest": DIGEST}, "permissions": {}, "config": {}, "env_keys": []},
            "submit": "none", "x-note": "kept"
        }},
        "status": "active",
        "manager": {"evm": {"chain": "evm:31337", "address": MANAGER}}
    })
}

fn on_chain() -> String {
    format!("/services/evm:31337/{MANAGER}")
}

fn summary() -> Value {
    json!({
        "service_id": ID, "name": "demo", "manager": {"evm": {"chain": "evm:31337", "address": MANAGER.to_lowercase()}},
        "state": "active", "reason": null, "operator_paused": false, "hash": DIGEST, "uri": "http://h/x", "hd_index": 1,
        "signer": MANAGER, "workflows": 1, "updated_at": "2026-02-01T10:00:00.000Z"
    })
}

fn problem(status: u16, code: &str, detail: &str) -> Value {
    json!({"type": format!("urn:wavs:problem:{code}"), "title": "T", "status": status, "detail": detail, "code": code,
        "instance": "01J9", "errors": [{"pointer": "/name", "code": "c", "detail": "d"}]})
}

fn run(node: &Scripted, line: &str) -> Ended {
    Tool::new().run(&format!("{line} --wavs-endpoint {}", node.url))
}

#[test]
fn a_component_is_uploaded() {
    let node = Scripted::start().on("POST /dev/components", 200, json!({"digest": DIGEST}));
    let tool = Tool::new();
    let path = tool.dir().join("a.wasm");
    std::fs::write(&path, b"\0asm").unwrap();
    let line = format!("upload-component {} --wavs-endpoint {}", path.display(), node.url);
    assert_eq!(tool.run(&line).stdout, format!("Digest:\n{DIGEST}\n"));
    assert_eq!(tool.run(&format!("{line} --json")).json(), json!({"digest": DIGEST}));
    let asked = &node.asked()[0];
    assert_eq!(
        (asked.body.as_slice(), asked.content_type.as_deref()),
        (b"\0asm".as_slice(), Some("application/wasm"))
    );
    assert_eq!(tool.run("upload-component missing.wasm").exit, Exit::Failed);
}

#[test]
fn errors_have_their_exit_codes() {
    for (status, code, exit) in [
        (401, "unauthorized", Exit::Unauthorised),
        (403, "insufficient-scope", Exit::Unauthorised),
        (404, "service-not-found", Exit::NotFound),
        (409, "lifecycle-busy", Exit::Conflict),
        (412, "precondition-failed", Exit::Conflict),
        (422, "invalid-service", Exit::Failed),
        (503, "process-down", Exit::Failed),
    ] {
        let answer = problem(status, code, "what happened");
        let node = Scripted::start().on(&format!("GET /v1/services/{ID}/status"), status, &answer);
        let ended = run(&node, &format!("service status {ID}"));
        assert_eq!(ended.exit, exit, "{code}");
        assert_eq!(
            (ended.stdout.as_str(), ended.stderr.as_str()),
            ("", "error: what happened\n  /name: d\n"),
            "{code}"
        );
        let ended = run(&node, &format!("--json service status {ID}"));
        let mut expected = answer;
        expected["exit_code"] = json!(exit as u8);
        assert_eq!(
            (ended.exit, ended.json(), ended.stderr.as_str()),
            (exit, expected, ""),
            "{code}"
        );
    }
}

#[test]
fn a_node_that_is_not_there_is_unreachable() {
    let tool = Tool::new();
    let ended = tool.run("chains --wavs-endpoint http://127.0.0.1:9/?key=marker --json");
    assert_eq!(
        (ended.exit, &ended.json()["code"]),
        (Exit::Unreachable, &json!("node-unreachable"))
    );
    assert!(!ended.stdout.contains("marker"), "{ended:?}");
    let ended = tool.run("chains --admin-socket missing.sock");
    assert_eq!(ended.exit, Exit::Unreachable, "{ended:?}");
}

#[test]
fn something_else_than_a_node_is_noticed() {
    let node = Scripted::start().on("GET /v1/processes", 200, "<html>");
    let ended = run(&node, "processes list");
    assert_eq!(ended.exit, Exit::Failed);
    assert!(ended.stderr.contains("not the JSON of a WAVS node"), "{ended:?}");
}

#[test]
fn services_are_listed() {
    let page = json!({"items": [summary()], "next_cursor": "abc"});
    let node = Scripted::start().on("GET /v1/services?limit=50", 200, &page).on(
        "GET /v1/services?limit=7&cursor=x&state=active&chain=evm%3A31337&q=de+mo",
        200,
        &page,
    );
    let ended = run(&node, "service list");
    let expected = [
        "NAME  STATE   MANAGER                                               HD  WORKFLOWS  SERVICE",
        &format!(
            "demo  active  evm:31337/{}  1   1          {ID}",
            MANAGER.to_lowercase()
        ),
        "",
    ];
    assert_eq!(ended.stdout, expected.join("\n"));
    let words = [
        "service",
        "list",
        "--limit",
        "7",
        "--cursor",
        "x",
        "--state",
        "active",
        "--chain",
        "evm:31337",
        "--query",
        "de mo",
    ];
    let rest = ["--json", "--wavs-endpoint", &node.url];
    let words = words.iter().chain(&rest).map(|word| (*word).to_owned());
    assert_eq!(Tool::new().run_words(words).json(), page);
}

#[test]
fn a_service_is_named_by_id_manager_or_file() {
    let node = Scripted::start().on(&format!("GET /v1/services/{ID}/status"), 200, summary());
    let tool = Tool::new().with("WAVS_CLI_WAVS_ENDPOINT", &node.url);
    tool.write(&document().to_string());
    for line in [
        format!("service status {ID}"),
        format!("service status evm:31337/{MANAGER}"),
        "service -f FILE status".to_owned(),
    ] {
        let ended = tool.run(&line);
        assert_eq!(ended.exit, Exit::Done, "{line}: {ended:?}");
        assert!(
            ended.stdout.contains("State:") && ended.stdout.contains("active"),
            "{ended:?}"
        );
    }
    assert_eq!(tool.run("service -f nowhere.json status").exit, Exit::Usage);
}

#[test]
fn a_service_is_shown_raw_or_with_everything() {
    let mut shown = summary();
    shown["document"] = document();
    let node = Scripted::start().on(&format!("GET /v1/services/{ID}"), 200, &shown).on(
        &format!("GET /v1/services/{ID}?raw=true"),
        200,
        r#"{"z":1,"a":2}"#,
    );
    assert_eq!(run(&node, &format!("service show {ID} --json")).json(), shown);
    assert!(run(&node, &format!("service show {ID}")).stdout.contains("x-note"));
    // The order of members is that of the author.
    assert_eq!(
        run(&node, &format!("service show {ID} --raw")).stdout,
        "{\"z\":1,\"a\":2}\n"
    );
}

#[test]
fn guest_logs_cannot_steer_the_terminal() {
    let line = json!({"seq": 1, "at": "2026-02-01T10:00:00.000Z", "workflow_id": "first", "stream": "stdout", "line": "a\u{1b}[2Jb"});
    let node = Scripted::start().on(
        &format!("GET /v1/services/{ID}/logs?limit=50"),
        200,
        json!({"items": [line], "next_cursor": null}),
    );
    assert_eq!(
        run(&node, &format!("service logs {ID}")).stdout,
        "2026-02-01T10:00:00.000Z first stdout: a\u{fffd}[2Jb\n"
    );
}

#[test]
fn the_signer_is_asked_for_by_manager() {
    let answer = json!({"secp256k1": {"hd_index": 1, "evm_address": MANAGER}});
    let node = Scripted::start()
        .on(&format!("GET /v1/services/{ID}"), 200, summary())
        .on("POST /services/signer", 200, &answer);
    assert_eq!(run(&node, &format!("service signer {ID} --json")).json(), answer);
    let asked: Value = serde_json::from_slice(&node.asked()[1].body).unwrap();
    assert_eq!(
        asked,
        json!({"service_manager": {"evm": {"chain": "evm:31337", "address": MANAGER.to_lowercase()}}})
    );
}

#[test]
fn deleting_an_unknown_service_is_an_error() {
    let node = Scripted::start().on(
        &format!("GET {}", on_chain()),
        404,
        problem(404, "service-not-found", "gone"),
    );
    let ended = run(&node, &format!("service delete evm:31337/{MANAGER}"));
    assert_eq!(ended.exit, Exit::NotFound, "{ended:?}");
    let node = Scripted::start()
        .on(&format!("GET {}", on_chain()), 200, document())
        .on("DELETE /services", 204, "");
    let ended = run(&node, &format!("service delete evm:31337/{MANAGER} --json"));
    assert_eq!(ended.json(), json!({"service_id": ID, "deleted": true}));
    let asked: Value = serde_json::from_slice(&node.asked()[1].body).unwrap();
    assert_eq!(
        asked,
        json!({"service_managers": [{"evm": {"chain": "evm:31337", "address": MANAGER.to_lowercase()}}]})
    );
}

#[test]
fn a_purge_can_be_asked_for_after_the_service_is_gone() {
    let node = Scripted::start().on(&format!("DELETE /v1/services/{ID}?purge=true"), 204, "");
    let ended = run(&node, &format!("service delete evm:31337/{MANAGER} --purge --json"));
    assert_eq!(ended.json(), json!({"service_id": ID, "deleted": true, "purged": true}));
}

#[test]
fn jobs_are_listed_and_shown() {
    let job = json!({
        "job_id": "01J9ZC8T2K6V0Q4W3N5R7X9YAB", "service_id": ID, "workflow_id": "first", "trigger_type": "manual", "source": "s",
        "event_ids": ["0x12"], "service_hash": DIGEST, "attempts": 1, "state": "final", "created_at": "C", "updated_at": "U", "error": null,
        "events": [{"event_id": "0x12", "state": "final", "targets": [{"chain": "evm:31337", "handler": "0xaa", "state": "final", "tx": "0xbb"}]}],
        "timeline": [{"step": "received", "at": "T", "at_us": 1}]
    });
    let page = json!({"items": [job], "next_cursor": null});
    let node = Scripted::start()
        .on(
            &format!("GET /v1/jobs?limit=50&service_id={ID}&state=final"),
            200,
            &page,
        )
        .on("GET /v1/jobs/01J9ZC8T2K6V0Q4W3N5R7X9YAB", 200, &job);
    let list = format!("jobs list --service evm:31337/{MANAGER} --state final");
    assert_eq!(run(&node, &format!("{list} --json")).json(), page);
    assert!(
        run(&node, &list)
            .stdout
            .contains("01J9ZC8T2K6V0Q4W3N5R7X9YAB  final  first"),
        "{:?}",
        run(&node, &list)
    );
    let ended = run(&node, "jobs show 01J9ZC8T2K6V0Q4W3N5R7X9YAB");
    for part in ["final at 0xaa on evm:31337, transaction 0xbb", "T received"] {
        assert!(ended.stdout.contains(part), "{ended:?}");
    }
    assert_eq!(run(&node, "jobs show other").exit, Exit::NotFound);
}

#[test]
fn chains_components_and_processes_are_listed() {
    let endpoint = |url: &str, state: &str| json!({"url": url, "state": state});
    let chain = |key: &str, connected: bool, endpoints: Value| {
        json!({"chain": key, "followed": true, "connected": connected, "head": 12, "lag": 3, "reconnects": 1,
            "last_error": "late", "endpoints": endpoints, "balance": connected.then_some("1500000000000000000"),
            "account": {"funds": "low"}})
    };
    let endpoints = json!([endpoint("ws://b", "idle"), endpoint("ws://a", "active")]);
    let chains =
        json!({"items": [chain("evm:1", false, json!([])), chain("evm:31337", true, endpoints)], "next_cursor": null});
    let user = |kind: &str| json!({"service_id": ID, "service": "demo", "workflow_id": "first", "kind": kind});
    let used = json!({"digest": DIGEST, "size": 17, "used_by": [user("operator"), user("aggregator")]});
    let components = json!({"items": [used, {"digest": "cd", "size": 1, "used_by": []}], "next_cursor": null});
    let process = json!({"name": "engine-svc", "state": "degraded", "pid": 7, "uptime_s": 61, "restarts": 1, "rss_bytes": 1_048_576, "reasons": ["slow"]});
    let processes = json!({"items": [process], "next_cursor": null});
    let node = Scripted::start()
        .on("GET /v1/chains", 200, &chains)
        .on("GET /v1/components?limit=50", 200, &components)
        .on("GET /v1/processes", 200, &processes);
    assert_eq!(run(&node, "chains --json").json(), chains);
    let shown = run(&node, "chains").stdout;
    let words = |key: &str| -> Vec<String> {
        let line = shown.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(
        words("evm:1 "),
        ["evm:1", "disconnected", "12", "3", "-", "1", "-", "late"]
    );
    assert_eq!(
        words("evm:31337"),
        ["evm:31337", "connected", "12", "3", "ws://a", "1", "1.5", "(low)"]
    );
    assert_eq!(run(&node, "components --json").json(), components);
    let listed = run(&node, "components").stdout;
    assert!(
        listed.contains("17  ") && listed.contains("demo/first, demo/first (aggregator)"),
        "{listed}"
    );
    assert_eq!(run(&node, "processes list --json").json(), processes);
    assert!(
        run(&node, "processes list")
            .stdout
            .contains("engine-svc  degraded  7    1m01s   1         1.0 MiB  slow")
    );
}

#[test]
fn health_is_an_exit_code() {
    let well = json!({"timestamp": 1, "chains": {"evm:1": "healthy"}});
    let ill = json!({"timestamp": 1, "chains": {"evm:1": {"unhealthy": {"error": "late"}}}});
    let ready = json!({"ready": true, "checks": []});
    let unready = json!({"ready": false, "checks": [{"name": "process:engine-svc", "ok": false, "detail": "backoff"}]});
    for (health, status, readiness, exit) in [
        (&well, 200, &ready, Exit::Done),
        (&ill, 200, &ready, Exit::Failed),
        (&well, 503, &unready, Exit::Failed),
    ] {
        let node = Scripted::start()
            .on("GET /health", 200, health)
            .on("GET /readyz", status, readiness);
        let ended = run(&node, "health --json");
        assert_eq!((ended.exit, ended.stderr.as_str()), (exit, ""), "{ended:?}");
        assert_eq!(
            ended.json(),
            json!({"healthy": exit == Exit::Done, "ready": readiness, "health": health})
        );
        assert_eq!(run(&node, "health").exit, exit);
    }
}
