//! Commands about the record of the work and about decisions of the operator: what is asked, and what is printed.

mod common;

use common::scripted::Scripted;
use common::{Ended, Tool};
use serde_json::{Value, json};
use wavs_cli::Exit;

const ID: &str = "76d41ff256803de151fce2ed99d145cf985af50e6def0809072e9f68932f5d11";
const JOB: &str = "01J9ZC8T2K6V0Q4W3N5R7X9YAB";

fn run(node: &Scripted, line: &str) -> Ended {
    Tool::new().run(&format!("{line} --wavs-endpoint {}", node.url))
}

fn page(item: &Value) -> Value {
    json!({"items": [item], "next_cursor": null})
}

/// The words of the second line of a table.
fn row(ended: &Ended) -> Vec<&str> {
    assert_eq!(ended.exit, Exit::Done, "{ended:?}");
    let line = ended.stdout.lines().nth(1).unwrap_or_default();
    line.split("  ")
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn dead_letters_are_listed_shown_retried_and_dropped() {
    let letter = json!({"job_id": JOB, "state": "failed", "stage": "execute", "error_class": "guest_fault", "attempts": 1,
        "last_attempt_at": "T", "service_id": ID, "error": "division by \u{1b}zero", "size": 7});
    let node = Scripted::start()
        .on(
            "GET /v1/dead-letters?limit=50&stage=execute&since=2026-02-01T10%3A00%3A00Z",
            200,
            page(&letter),
        )
        .on(&format!("GET /v1/dead-letters/{JOB}"), 200, &letter)
        .on(
            &format!("POST /v1/dead-letters/{JOB}/retry"),
            202,
            json!({"accepted": 1}),
        )
        .on("POST /v1/dead-letters/retry", 202, json!({"accepted": 3}))
        .on(&format!("DELETE /v1/dead-letters/{JOB}"), 204, "");
    let list = "dead-letters list --stage execute --since 2026-02-01T10:00:00Z";
    assert_eq!(
        row(&run(&node, list)),
        [
            JOB,
            "failed",
            "execute",
            "guest_fault",
            "1",
            "T",
            &ID[..12],
            "division by  zero"
        ]
        .into_iter()
        .flat_map(|word| word.split("  "))
        .collect::<Vec<_>>()
    );
    assert_eq!(run(&node, &format!("{list} --json")).json(), page(&letter));
    let shown = run(&node, &format!("dead-letters show {JOB}")).stdout;
    assert!(
        shown.contains("Reason:") && shown.contains("guest_fault") && !shown.contains("Workflow"),
        "{shown}"
    );

    assert!(
        run(&node, &format!("dead-letters retry {JOB}"))
            .stdout
            .starts_with("1 jobs")
    );
    let many = run(
        &node,
        &format!("dead-letters retry --service {ID} --stage submit --max 7 --json"),
    );
    assert_eq!(many.json(), json!({"accepted": 3}));
    let asked: Value = serde_json::from_slice(&node.asked().last().unwrap().body).unwrap();
    assert_eq!(asked, json!({"max": 7, "service_id": ID, "stage": "submit"}));
    assert_eq!(run(&node, "dead-letters retry --all").exit, Exit::Done);
    for wrong in [
        "retry",
        "retry --max 5",
        "list --stage other",
        &format!("retry {JOB} --stage submit"),
    ] {
        assert_eq!(
            run(&node, &format!("dead-letters {wrong}")).exit,
            Exit::Usage,
            "{wrong}"
        );
    }
    for word in ["drop", "discard"] {
        let dropped = run(&node, &format!("dead-letters {word} {JOB} --json"));
        assert_eq!(dropped.json(), json!({"job_id": JOB, "dropped": true}));
    }
}

#[test]
fn runs_quorums_and_transactions_are_listed() {
    let execution = json!({"ended_at": "T", "outcome": "limit", "kind": "operator", "workflow_id": "w", "attempt": 2, "duration_ms": 1.5,
        "fuel": "18446744073709551615", "memory_peak": 65536, "digest": ID, "error": "Max fuel consumed"});
    let quorum = json!({"event_id": "0xee", "state": "collecting", "workflow_id": "w", "age_s": 5, "error": null,
        "buckets": [{"signers": [{}, {}]}], "targets": [{"weight": "2", "threshold": "3"}]});
    let transaction = json!({"chain": "evm:1", "nonce": 4, "state": "stored", "hash": "0xaa", "receipt_block": null, "replacements": 1});
    let node = Scripted::start()
        .on(
            &format!("GET /v1/executions?limit=50&job_id={JOB}&kind=operator"),
            200,
            page(&execution),
        )
        .on("GET /v1/quorums?limit=50&state=open", 200, page(&quorum))
        .on(
            "GET /v1/transactions?limit=50&chain=evm%3A1&state=stored",
            200,
            page(&transaction),
        );
    assert_eq!(
        row(&run(&node, &format!("executions --job {JOB} --kind operator"))),
        [
            "T",
            "limit",
            "operator",
            "w",
            "2",
            "1.5",
            "18446744073709551615",
            "65536",
            &ID[..12],
            "Max fuel consumed"
        ]
    );
    assert_eq!(
        row(&run(&node, "quorums --state open")),
        ["0xee", "collecting", "w", "1", "2", "2", "3", "5", "-"]
    );
    assert_eq!(
        row(&run(&node, "transactions --chain evm:1 --state stored")),
        ["evm:1", "4", "stored", "0xaa", "-", "1", "-", "-"]
    );
    assert_eq!(run(&node, "executions --kind other").exit, Exit::Usage);
}

#[test]
fn an_operator_decides_about_a_service() {
    let status = json!({"name": "demo", "state": "paused", "hash": "ab"});
    let entry = json!({"at": "T", "what": "paused", "actor": "api", "old_hash": null, "new_hash": null, "uri": null, "cause": "upgrade"});
    let path = |what: &str| format!("/v1/services/{ID}/{what}");
    let node = Scripted::start()
        .on(&format!("POST {}", path("pause")), 200, &status)
        .on(&format!("POST {}", path("resume")), 200, &status)
        .on(&format!("POST {}", path("refresh")), 202, &status)
        .on(&format!("GET {}?limit=50", path("history")), 200, page(&entry));
    let paused = run(&node, &format!("service pause {ID} --reason upgrade"));
    assert_eq!(paused.stdout, "demo is paused under document ab\n");
    let asked: Value = serde_json::from_slice(&node.asked()[0].body).unwrap();
    assert_eq!(asked, json!({"reason": "upgrade", "mode": "drop"}));
    for word in ["resume", "refresh"] {
        assert_eq!(run(&node, &format!("service {word} {ID} --json")).json(), status);
    }
    assert_eq!(
        row(&run(&node, &format!("service history {ID}"))),
        ["T", "paused", "api", "-", "-", "-", "upgrade"]
    );
}
