//! `/v1/signers`: what everybody may read, and what only the node's own user may do.

#![allow(missing_docs)]

mod support;

use serde_json::{Value, json};
use support::script::SERVICE;
use support::{Answer, Node};

/// A request over the admin socket.
async fn admin(node: &Node, method: &str, path: &str, body: Option<Value>) -> Answer {
    let client = reqwest::Client::builder()
        .unix_socket(node.dir.path().join("run/admin.sock"))
        .build()
        .unwrap();
    let request = client.request(method.parse().unwrap(), format!("http://node{path}"));
    Answer::of(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

#[tokio::test]
async fn keys_are_shown_with_their_standing_and_without_secrets() {
    let node = Node::start().await;
    let page = node.get("/v1/signers").await.json();
    let signer = &page["items"][0];
    assert_eq!(signer["service_id"], SERVICE);
    assert_eq!(signer["evm_address"], "0x0101010101010101010101010101010101010101");
    assert_eq!(
        (signer["history"].as_str(), signer["hd_index"].as_u64()),
        (Some("missing"), Some(2))
    );
    assert_eq!(signer["registration"]["status"], "registered");
    let mirror = &signer["target_managers"][0];
    assert_eq!(mirror["chain"], "evm:5");
    assert_eq!(mirror["registration_error"], "no answer");
    assert_eq!(signer["former"][0]["hd_index"], 1);
    assert_eq!(signer["checked_at"], "1970-01-01T00:00:01.000Z");
}

#[tokio::test]
async fn only_the_admin_socket_rotates_accepts_and_moves_history() {
    let node = Node::start().await;
    let rotate = format!("/v1/signers/{SERVICE}/rotate");
    for (method, path) in [
        ("POST", rotate.as_str()),
        ("POST", "/v1/signers/accept-empty-history"),
        ("POST", "/v1/signers/history"),
        ("GET", "/v1/signers/history"),
    ] {
        let refused = Answer::of(node.request(method, path).json(&json!({}))).await;
        refused.expect(403, "admin-socket-only", "admin.sock");
    }

    let rotated = admin(&node, "POST", &rotate, Some(json!({}))).await;
    assert_eq!((rotated.status, rotated.json()["hd_index"].as_u64()), (200, Some(3)));
    let unknown = format!("/v1/signers/{}/rotate", "0".repeat(64));
    admin(&node, "POST", &unknown, Some(json!({})))
        .await
        .expect(404, "service-not-found", "has not been set");

    let accept = |body| admin(&node, "POST", "/v1/signers/accept-empty-history", Some(body));
    assert_eq!(accept(json!({})).await.json()["accepted"], json!([SERVICE]));
    assert_eq!(accept(json!({"service_id": SERVICE})).await.status, 200);
    accept(json!({"service_id": "x"}))
        .await
        .expect(400, "invalid-parameter", "service_id");
}

#[tokio::test]
async fn what_is_exported_page_by_page_can_be_imported() {
    let node = Node::start().await;
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin(&node, "GET", &format!("/v1/signers/history?limit=2{cursor}"), None)
            .await
            .json();
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(items.len(), 3);
    assert_eq!(items[2]["signature"].as_str().unwrap().len(), 130);
    let imported = admin(&node, "POST", "/v1/signers/history", Some(json!({"items": items}))).await;
    assert_eq!(imported.json()["new"], 3);
    items[0]["signature"] = json!("zz");
    let refused = admin(&node, "POST", "/v1/signers/history", Some(json!({"items": items}))).await;
    refused.expect(400, "invalid-parameter", "the signature for event");
    admin(&node, "GET", "/v1/signers/history?cursor=x", None)
        .await
        .expect(400, "invalid-parameter", "next_cursor");
}
