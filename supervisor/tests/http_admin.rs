//! The routes of the admin socket: what they ask of whoever runs the processes, and how its answers are told.

mod support;

use serde_json::{Value, json};
use support::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use wavs_service::ProcessName;
use wavs_supervisor::control::{Request, RestartError};
use wavs_supervisor::reload::Report;

/// One request over the admin socket: the status and the body of its answer.
async fn admin(node: &Node, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(node.dir.path().join("run/admin.sock"))
        .await
        .unwrap();
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn a_restart_is_passed_on_and_its_refusal_explained() {
    let mut node = Node::start().await;
    for (body, expected, answer, status) in [
        (json!({}), false, Ok(()), 202),
        (json!({"mode": "drain"}), false, Ok(()), 202),
        (json!({"mode": "kill"}), true, Ok(()), 202),
        (
            json!({"mode": "kill"}),
            true,
            Err(RestartError::OwnedBySystemd(ProcessName::Engine)),
            409,
        ),
        (json!({}), false, Err(RestartError::Disabled(ProcessName::Engine)), 409),
        (json!({}), false, Err(RestartError::Stopping), 503),
    ] {
        let mut requests = std::mem::replace(&mut node.requests, tokio::sync::mpsc::channel(1).1);
        let asked = admin(&node, "POST", "/v1/processes/engine-svc/restart", &body);
        let answered = async {
            match requests.recv().await {
                Some(Request::Restart {
                    process,
                    kill,
                    answer: to,
                }) => {
                    assert_eq!((process, kill), (ProcessName::Engine, expected));
                    to.send(answer).unwrap();
                }
                other => panic!("{other:?}"),
            }
        };
        let ((code, said), ()) = tokio::join!(asked, answered);
        assert_eq!(code, status, "{said}");
        node.requests = requests;
    }
    for name in ["supervisor", "nobody-svc"] {
        let path = format!("/v1/processes/{name}/restart");
        let (code, said) = admin(&node, "POST", &path, &json!({})).await;
        assert_eq!(code, if name == "supervisor" { 409 } else { 404 }, "{said}");
    }
    let refused = node.post("/v1/processes/engine-svc/restart", &json!({})).await;
    refused.expect(403, "admin-socket-only", "admin.sock");
}

#[tokio::test]
async fn a_reload_answers_its_report() {
    let mut node = Node::start().await;
    let report = Report {
        applied: vec!["log_level".into()],
        needs_restart: vec!["port".into()],
        errors: Vec::new(),
    };
    let mut requests = std::mem::replace(&mut node.requests, tokio::sync::mpsc::channel(1).1);
    let nothing = json!({});
    let asked = admin(&node, "POST", "/v1/config/reload", &nothing);
    let answered = async {
        match requests.recv().await {
            Some(Request::Reload { answer }) => answer.send(report).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let ((code, said), ()) = tokio::join!(asked, answered);
    assert_eq!(
        (code, said),
        (
            200,
            json!({"applied": ["log_level"], "needs_restart": ["port"], "errors": []})
        )
    );
    // Whoever ran the processes is gone.
    drop(requests);
    let (code, said) = admin(&node, "POST", "/v1/config/reload", &json!({})).await;
    assert_eq!((code, &said["errors"]), (200, &json!(["the node is stopping"])));
    node.post("/v1/config/reload", &json!({}))
        .await
        .expect(403, "admin-socket-only", "");
}
