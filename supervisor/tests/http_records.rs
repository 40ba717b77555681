//! What is on record about the work, over HTTP: shapes, filters, pages, and the decisions about dead letters.

#![allow(missing_docs)]

mod support;

use serde_json::{Value, json};
use support::script::{JOB, SERVICE};
use support::{Answer, Node};
use ulid::Ulid;
use wavs_ipc::{ErrorCode, WireError};
use wavs_service::ProcessName;
use wavs_supervisor::supervise::snapshot::ProcessState;

async fn delete(node: &Node, path: &str) -> Answer {
    Answer::of(node.request("DELETE", path)).await
}

#[tokio::test]
async fn runs_are_listed_with_what_they_cost() {
    let node = Node::start().await;
    let page = node
        .get("/v1/executions?limit=2&kind=operator&outcome=guest_fault")
        .await
        .json();
    let run = &page["items"][0];
    assert_eq!(run["job_id"], Ulid(JOB).to_string());
    assert_eq!(run["ended_at"], "2026-02-01T10:00:00.123Z");
    assert_eq!((&run["duration_ms"], &run["waited_ms"]), (&json!(1.25), &json!(2.5)));
    assert_eq!(run["fuel"], u64::MAX.to_string(), "no client rounds it");
    assert_eq!(page["next_cursor"], "2");
    assert!(node.script.last_asked().contains("kind: Some(Operator)"));
    let rest = node.get("/v1/executions?limit=2&cursor=2").await.json();
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next_cursor"]),
        (1, &Value::Null)
    );
    for (query, detail) in [
        ("kind=other", "operator, aggregator"),
        ("job_id=xyz", "xyz"),
        ("cursor=a", "cursor"),
        ("service_id=1", "service_id"),
    ] {
        let answer = node.get(&format!("/v1/executions?{query}")).await;
        answer.expect(400, "invalid-parameter", detail);
    }
}

#[tokio::test]
async fn dead_letters_are_listed_retried_and_dropped() {
    let node = Node::start().await;
    let (known, unknown) = (Ulid(JOB).to_string(), Ulid(1).to_string());
    let page = node
        .get("/v1/dead-letters?limit=1&stage=execute&since=2026-02-01T10:00:00Z")
        .await
        .json();
    let asked = node.script.last_asked();
    assert!(
        asked.contains("Some(Execute)") && asked.contains("1769940000000"),
        "{asked}"
    );
    let letter = &page["items"][0];
    assert_eq!(letter["job_id"], Ulid(JOB + 1).to_string());
    assert_eq!(
        (
            &letter["stage"],
            &letter["error_class"],
            &letter["error"],
            &letter["size"]
        ),
        (
            &json!("execute"),
            &json!("guest_fault"),
            &json!("division by zero"),
            &json!(42)
        )
    );
    let rest = node
        .get(&format!(
            "/v1/dead-letters?limit=1&cursor={}",
            page["next_cursor"].as_str().unwrap()
        ))
        .await
        .json();
    assert_eq!(rest["items"][0]["job_id"], known);
    for (query, detail) in [
        ("stage=x", "collect"),
        ("since=soon", "2026-02-01T10:00:00Z"),
        ("limit=501", "500"),
    ] {
        let answer = node.get(&format!("/v1/dead-letters?{query}")).await;
        answer.expect(400, "invalid-parameter", detail);
    }

    let shown = node.get(&format!("/v1/dead-letters/{known}")).await;
    assert_eq!(shown.json()["job"]["job_id"], known);
    let tag = shown.header("etag").to_owned();
    let again = node
        .request("GET", &format!("/v1/dead-letters/{known}"))
        .header("if-none-match", tag);
    assert_eq!(Answer::of(again).await.status, 304);
    node.get(&format!("/v1/dead-letters/{unknown}"))
        .await
        .expect(404, "not-found", &unknown);

    let retried = Answer::of(node.request("POST", &format!("/v1/dead-letters/{known}/retry"))).await;
    assert_eq!((retried.status, retried.json()), (202, json!({"accepted": 1})));
    Answer::of(node.request("POST", &format!("/v1/dead-letters/{unknown}/retry")))
        .await
        .expect(404, "not-found", "dead letter");
    let many = node
        .post(
            "/v1/dead-letters/retry",
            &json!({"service_id": SERVICE, "stage": "submit", "max": 7}),
        )
        .await;
    assert_eq!((many.status, many.json()), (202, json!({"accepted": 7})));
    assert!(node.script.last_asked().contains("Some(Submit)"));
    assert_eq!(
        node.post("/v1/dead-letters/retry", &json!({})).await.json(),
        json!({"accepted": 100})
    );
    for (body, detail) in [(json!({"max": 0}), "1 to 500"), (json!({"stage": "x"}), "execute")] {
        let answer = node.post("/v1/dead-letters/retry", &body).await;
        answer.expect(400, "invalid-parameter", detail);
    }
    node.script.fail(
        "retry_dead_letters",
        WireError::never(ErrorCode::Conflict, "conflict: the service of job 1 is not registered"),
    );
    Answer::of(node.request("POST", &format!("/v1/dead-letters/{known}/retry")))
        .await
        .expect(409, "conflict", "not registered");

    assert_eq!(delete(&node, &format!("/v1/dead-letters/{known}")).await.status, 204);
    delete(&node, &format!("/v1/dead-letters/{unknown}"))
        .await
        .expect(404, "not-found", "dead letter");
}

#[tokio::test]
async fn quorums_and_transactions_have_their_shapes() {
    let node = Node::start().await;
    let quorums = node.get("/v1/quorums?state=open").await.json();
    let quorum = &quorums["items"][0];
    assert_eq!(
        quorum["buckets"][0]["signers"][0]["address"],
        format!("0x{}", "ab".repeat(20))
    );
    assert_eq!(
        (&quorum["targets"][0]["weight"], &quorum["targets"][0]["threshold"]),
        (&json!("100"), &json!("200"))
    );
    let transactions = node.get("/v1/transactions?chain=evm:31337&state=stored").await.json();
    let transaction = &transactions["items"][0];
    assert_eq!(transaction["hash"], format!("0x{}", "02".repeat(32)));
    assert_eq!(
        (
            &transaction["max_fee_per_gas"],
            &transaction["nonce"],
            &transaction["replacements"]
        ),
        (&json!("1000000000"), &json!(7), &json!(1))
    );
    node.get("/v1/transactions?chain=nonsense")
        .await
        .expect(400, "invalid-parameter", "chain");
}

#[tokio::test]
async fn a_service_tells_what_it_did_and_what_was_decided_about_it() {
    let node = Node::start().await;
    let status = node.get(&format!("/v1/services/{SERVICE}/status")).await.json();
    assert_eq!(status["counters"]["triggers"], 5, "a removed workflow counts");
    assert_eq!(status["queue"], json!({"pending": 1, "running": 2, "held": 0}));
    assert_eq!(status["workflows"].as_array().unwrap().len(), 1);
    assert_eq!(status["workflows"][0]["trigger"], "manual");
    assert_eq!(status["workflows"][0]["counters"]["triggers"], 3);
    assert_eq!(
        (&status["last_error"]["code"], &status["last_error"]["workflow_id"]),
        (&json!("limit"), &json!("on-call"))
    );
    assert_eq!(status["last_trigger_at"], "1970-01-01T00:00:03.000Z");
    let history = node
        .get(&format!("/v1/services/{SERVICE}/history?limit=1"))
        .await
        .json();
    assert_eq!(
        (
            &history["items"][0]["what"],
            &history["items"][0]["actor"],
            &history["next_cursor"]
        ),
        (&json!("updated"), &json!("chain"), &json!("2"))
    );
    let unknown = "0".repeat(64);
    for path in ["status", "history"] {
        node.get(&format!("/v1/services/{unknown}/{path}"))
            .await
            .expect(404, "service-not-found", "has not been set");
    }
    // How its chains are followed is left out, the rest is there.
    node.set_state(ProcessName::Trigger, ProcessState::Blocked);
    assert_eq!(node.get(&format!("/v1/services/{SERVICE}/status")).await.status, 200);
}

#[tokio::test]
async fn components_know_their_users_and_go_when_there_is_none() {
    let node = Node::start().await;
    let uploaded = Answer::of(node.request("POST", "/dev/components").body("x"))
        .await
        .json();
    let digest = uploaded["digest"].as_str().unwrap();
    let listed = node.get("/v1/components").await.json();
    assert_eq!(listed["items"], json!([{"digest": digest, "size": 1, "used_by": []}]));
    let path = format!("/v1/components/{digest}");
    assert_eq!(node.get(&path).await.json(), listed["items"][0]);
    assert_eq!(delete(&node, &path).await.status, 204);
    delete(&node, &path).await.expect(404, "not-found", digest);
    node.get("/v1/components/zz")
        .await
        .expect(400, "invalid-parameter", "zz");

    let used = node.script.store_used();
    let path = format!("/v1/components/{used}");
    let users = node.get(&path).await.json()["used_by"].clone();
    assert_eq!(
        (&users[0]["workflow_id"], &users[0]["kind"]),
        (&json!("on-call"), &json!("operator"))
    );
    delete(&node, &path).await.expect(409, "in-use", "on-call");
}

#[tokio::test]
async fn a_service_is_removed_with_or_without_what_it_stored() {
    let node = Node::start().await;
    let path = format!("/v1/services/{SERVICE}");
    assert_eq!(delete(&node, &path).await.status, 204);
    assert_eq!(node.script.last_asked(), "", "nothing is erased unless asked for");
    delete(&node, &path).await.expect(404, "service-not-found", SERVICE);
    let purge = delete(&node, &format!("{path}?purge=true")).await;
    assert_eq!(purge.status, 204, "a purge can be repeated");
    assert_eq!(node.script.last_asked(), format!("erase {SERVICE}"));
}

#[tokio::test]
async fn a_pause_drops_or_holds() {
    let node = Node::start().await;
    let path = |what: &str| format!("/v1/services/{SERVICE}/{what}");
    for (body, mode) in [(json!({"mode": "hold", "reason": "x"}), "hold"), (json!({}), "drop")] {
        let paused = node.post(&path("pause"), &body).await.json();
        assert_eq!(
            (&paused["operator_paused"], &paused["pause_mode"], &paused["state"]),
            (&json!(true), &json!(mode), &json!("paused"))
        );
    }
    node.post(&path("pause"), &json!({"mode": "x"}))
        .await
        .expect(400, "invalid-parameter", "drop, hold");
    let resumed = Answer::of(node.request("POST", &path("resume"))).await.json();
    assert_eq!(
        (&resumed["operator_paused"], &resumed["pause_mode"]),
        (&json!(false), &Value::Null)
    );
}

#[tokio::test]
async fn the_node_tells_what_it_is_and_lacks() {
    let node = Node::start().await;
    let shown = node.get("/v1/node").await.json();
    assert!(shown["version"].is_string() && shown["uptime_s"].is_u64(), "{shown}");
    assert_eq!(shown["signing_key_configured"], true);
    assert_eq!(shown["chains"], json!(["evm:31337", "cosmos:pion-1"]));
    node.set_state(ProcessName::Aggregator, ProcessState::Blocked);
    assert_eq!(
        node.get("/v1/node").await.status,
        200,
        "it knows itself without the others"
    );
}

#[tokio::test]
async fn chains_are_listed_whoever_knows_them() {
    let node = Node::start().await;
    let chains = node.get("/v1/chains?limit=1").await.json();
    assert_eq!(chains["items"][0]["chain"], "cosmos:pion-1");
    let rest = node
        .get(&format!(
            "/v1/chains?cursor={}",
            chains["next_cursor"].as_str().unwrap()
        ))
        .await
        .json();
    assert_eq!(rest["items"][0]["chain"], "evm:31337");
    let shown = node.get("/v1/chains/evm:31337").await.json();
    assert_eq!(
        (
            &shown["balance"],
            &shown["account"]["funds"],
            &shown["account"]["address"]
        ),
        (
            &json!("1500000000000000000"),
            &json!("ok"),
            &json!("0x0707070707070707070707070707070707070707")
        )
    );
    assert_eq!(chains["items"][0]["account"], Value::Null, "nothing is posted there");
    node.get("/v1/chains/evm:5")
        .await
        .expect(404, "chain-not-configured", "missing chain config for evm:5");
    node.set_state(ProcessName::Trigger, ProcessState::Blocked);
    let shown = node.get("/v1/chains/evm:31337").await.json();
    assert_eq!(
        (&shown["followed"], &shown["account"]["pending"]),
        (&json!(false), &json!(1))
    );
}
