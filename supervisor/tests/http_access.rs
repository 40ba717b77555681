//! Who may call the API, how errors look to different clients, and that no secret leaves it.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::script::{MANAGER, SERVICE};
use support::{Answer, Node, SECRETS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use wavs_supervisor::http::pattern::Pattern;
use wavs_supervisor::http::settings::{Scope, Settings, Token};

fn with_tokens() -> Settings {
    Settings {
        dev_endpoints: true,
        tokens: vec![
            Token::new("full-token", Scope::Full),
            Token::new("read-token", Scope::Read),
        ],
        cors_allowed_origins: vec![Pattern::new("https://*.example")],
        ..Settings::default()
    }
}

#[tokio::test]
async fn tokens_open_what_their_scope_says() {
    let node = Node::with(with_tokens()).await;
    let call = |method: &'static str, path: &'static str, token: Option<&'static str>| {
        let request = node
            .request(method, path)
            .header("content-type", "application/json")
            .body("{}");
        Answer::of(match token {
            Some(token) => request.header("authorization", token),
            None => request,
        })
    };
    let refused = call("POST", "/services", None).await;
    refused.expect(401, "unauthorized", "Unauthorized");
    let challenge = r#"Bearer realm="wavs", error="invalid_request", error_description="invalid_authorization_header""#;
    assert_eq!(refused.header("www-authenticate"), challenge);
    let wrong = call("POST", "/services", Some("Bearer nonsense")).await;
    let challenge = r#"Bearer realm="wavs", error="invalid_token", error_description="token_mismatch""#;
    assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, challenge));
    call("POST", "/services", Some("Bearer read-token"))
        .await
        .expect(403, "insufficient-scope", "");
    call("POST", "/services", Some("bearer full-token"))
        .await
        .expect(422, "invalid-shape", "service_manager");
    call("POST", "/services/signer", Some("Bearer read-token"))
        .await
        .expect(422, "invalid-shape", "service_manager");
    assert_eq!(call("GET", "/services", None).await.status, 200, "loopback reads");
    let proxied = Answer::of(node.request("GET", "/services").header("x-forwarded-for", "192.0.2.1")).await;
    proxied.expect(401, "unauthorized", "Unauthorized");
    let ready = Answer::of(node.request("GET", "/readyz").header("forwarded", "for=192.0.2.1")).await;
    assert_eq!(
        ready.json(),
        serde_json::json!({"ready": true}),
        "strangers learn only yes or no"
    );
}

#[tokio::test]
async fn web_pages_are_kept_out_unless_they_are_named() {
    let node = Node::with(with_tokens()).await;
    let rebound = Answer::of(node.request("GET", "/services").header("host", "evil.example")).await;
    rebound.expect(403, "host-not-allowed", "Host");
    let origin = |origin: &'static str| {
        node.request("POST", "/dev/components")
            .header("origin", origin)
            .body("x")
    };
    Answer::of(origin("https://evil.test"))
        .await
        .expect(403, "origin-not-allowed", "origin");

    let preflight = node
        .request("OPTIONS", "/services")
        .header("origin", "https://ui.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let preflight = Answer::of(preflight).await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-origin")),
        (200, "https://ui.example")
    );
    assert!(
        preflight
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    assert_eq!(preflight.header("access-control-max-age"), "600");
    let answer = Answer::of(node.request("GET", "/services").header("origin", "https://ui.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://ui.example");
    assert!(answer.header("vary").to_lowercase().contains("origin"));
    let foreign = Answer::of(node.request("GET", "/services").header("origin", "https://evil.test")).await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn errors_fit_their_reader() {
    let node = Node::start().await;
    let text = Answer::of(node.request("GET", "/nowhere").header("accept", "text/plain")).await;
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    assert!(text.text.contains("not found") && !text.text.contains('{'), "{text:?}");
    let named = Answer::of(node.request("GET", "/nowhere").header("x-request-id", "my-id-1")).await;
    assert_eq!(
        (named.header("x-request-id"), named.json()["instance"].as_str()),
        ("my-id-1", Some("my-id-1"))
    );
    let fresh = node.get("/info").await;
    assert_eq!(
        (
            fresh.header("x-request-id").len(),
            fresh.header("x-content-type-options")
        ),
        (26, "nosniff")
    );
}

#[tokio::test]
async fn the_admin_socket_needs_no_token() {
    let node = Node::with(with_tokens()).await;
    let mut stream = UnixStream::connect(node.dir.path().join("run/admin.sock"))
        .await
        .unwrap();
    let request = "DELETE /services HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 23\r\n\r\n{\"service_managers\":[]}";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

#[tokio::test]
async fn a_slow_client_loses_only_its_own_connection() {
    let settings = Settings {
        header_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let node = Node::with(settings).await;
    let mut slow = TcpStream::connect(node.address()).await.unwrap();
    slow.write_all(b"GET /info HTTP/1.1\r\nhost:").await.unwrap();
    let mut garbage = TcpStream::connect(node.address()).await.unwrap();
    garbage.write_all(b"\x16\x03\x01\x00nonsense\r\n\r\n").await.unwrap();
    assert_eq!(node.get("/info").await.status, 200);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut rest))
        .await
        .expect("it is closed")
        .unwrap();
}

#[tokio::test]
async fn more_requests_than_allowed_are_refused() {
    let node = Node::with(Settings {
        max_concurrent: 0,
        ..Settings::default()
    })
    .await;
    let answer = node.get("/info").await;
    answer.expect(503, "overloaded", "max_concurrent");
    assert_eq!(answer.header("retry-after"), "1");
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_served_or_logged() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // The test runtime has one thread, so everything that the node logs comes here.
    let _log = tracing::subscriber::set_default(subscriber);
    let settings = Settings {
        tokens: vec![Token::new(SECRETS[1], Scope::Full)],
        dev_endpoints: true,
        ..Settings::default()
    };
    let node = Node::with(settings).await;
    let mut seen = String::new();
    let service = format!("/services/evm:31337/{MANAGER}");
    let v1 = format!("/v1/services/{SERVICE}");
    let paths = [
        "/config",
        "/info",
        "/health",
        "/services",
        &service,
        "/p2p/status",
        "/readyz",
        "/metrics",
        "/v1/processes",
        "/v1/services",
        &v1,
        "/v1/jobs",
        "/dev/trigger-streams",
        "/nowhere",
    ];
    for path in paths {
        for token in [SECRETS[1], "wrong"] {
            let answer = Answer::of(
                node.request("GET", path)
                    .header("authorization", format!("Bearer {token}")),
            )
            .await;
            seen.push_str(&format!("{answer:?}"));
        }
    }
    for path in [
        "/services",
        "/services/signer",
        "/dev/services",
        "/dev/triggers",
        "/dev/chains",
    ] {
        let request = node
            .request("POST", path)
            .header("authorization", format!("Bearer {}", SECRETS[1]));
        seen.push_str(&format!(
            "{:?}",
            Answer::of(request.json(&serde_json::json!({"x": 1}))).await
        ));
    }
    seen.push_str(&String::from_utf8_lossy(&captured.0.lock().unwrap()));
    assert!(
        seen.contains("<redacted>") && seen.contains("served"),
        "the search looked at something"
    );
    for secret in SECRETS {
        assert!(!seen.contains(secret), "{secret} is visible");
    }
}
