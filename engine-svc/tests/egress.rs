//! What guests reach over HTTP.

mod support;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use serde_json::{Value, json};
use support::{Fixture, Job};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wavs_fetch::AddressPolicy;
use wavs_types::ComponentDigest;

async fn server() -> (String, u16) {
    let router = Router::new()
        .route(
            "/",
            get(|headers: HeaderMap| async move { format!("host {}", headers["host"].to_str().unwrap()) }),
        )
        .route("/redirect", get(|| async { axum::response::Redirect::to("/") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://127.0.0.1:{port}"), port)
}

async fn fetch(fixture: &Fixture, job: Job) -> Result<Value, String> {
    let responses = fixture.run(&job).await.unwrap().result.map_err(|error| error.detail)?;
    let payload = &responses[0].payload;
    let length = usize::try_from(u64::from_be_bytes(payload[120..128].try_into().unwrap())).unwrap();
    Ok(serde_json::from_slice(&payload[128..128 + length]).unwrap())
}

fn job(digest: ComponentDigest, url: &str, hosts: Value) -> Job {
    Job::new(digest, url).permissions(json!({"allowed_http_hosts": hosts}))
}

#[tokio::test]
async fn permission_and_address_policy_must_both_agree() {
    let (url, port) = server().await;
    let denied = |text: Result<Value, String>, word: &str| {
        let text = text.unwrap_err();
        assert!(text.contains(word), "{word}: {text}");
        // A denial arrives through the response, where guests expect it: they return it instead of trapping.
        assert!(text.contains("the component returned an error"), "{text}");
    };
    let closed = Fixture::new();
    let guest = closed.guest("http-get").await;
    denied(
        fetch(&closed, job(guest, &url, json!("none"))).await,
        "HttpRequestDenied",
    );
    denied(
        fetch(&closed, job(guest, &url, json!("all"))).await,
        "DestinationIpProhibited",
    );
    denied(
        fetch(&closed, job(guest, &url, json!({"only": ["127.0.0.1"]}))).await,
        "DestinationIpProhibited",
    );
    denied(
        fetch(&closed, job(guest, &format!("http://localhost:{port}"), json!("all"))).await,
        "DestinationIpProhibited",
    );
    denied(
        fetch(
            &closed,
            job(guest, "http://169.254.169.254/latest/meta-data", json!("all")),
        )
        .await,
        "DestinationIpProhibited",
    );

    let open = Fixture::with(|settings| {
        settings.guest_policy = Arc::new(AddressPolicy::new(vec!["127.0.0.1".parse().unwrap()]));
    });
    let guest = open.guest("http-get").await;
    denied(fetch(&open, job(guest, &url, json!("none"))).await, "HttpRequestDenied");
    denied(
        fetch(&open, job(guest, &url, json!({"only": ["example.org", "127.0.0.1:1"]}))).await,
        "HttpRequestDenied",
    );
    for hosts in [json!("all"), json!({"only": [format!("http://127.0.0.1:{port}")]})] {
        let reply = fetch(&open, job(guest, &url, hosts)).await.unwrap();
        assert_eq!(reply, json!({"status": 200, "body": format!("host 127.0.0.1:{port}")}));
    }
    let redirect = fetch(&open, job(guest, &format!("{url}/redirect"), json!("all")))
        .await
        .unwrap();
    assert_eq!(redirect["status"], 303, "redirects are not followed");
    denied(
        fetch(&open, job(guest, "http://127.0.0.1:1/", json!("all"))).await,
        "ConnectionRefused",
    );
}

#[tokio::test]
async fn the_endpoint_of_a_chain_is_open_by_itself() {
    let (url, port) = server().await;
    let fixture = Fixture::new();
    let guest = fixture.guest("http-get").await;
    let with_chain =
        |hosts| job(guest, &url, hosts).chain("evm:1", json!({"type": "evm", "chain_id": "1", "http_endpoint": url}));
    assert_eq!(
        fetch(&fixture, with_chain(json!({"only": []}))).await.unwrap()["status"],
        200
    );
    assert_eq!(fetch(&fixture, with_chain(json!("all"))).await.unwrap()["status"], 200);
    assert!(fetch(&fixture, with_chain(json!("none"))).await.is_err());
    let mut other = with_chain(json!("all"));
    other.data = json!({"Raw": format!("http://127.0.0.1:{}", port ^ 1).as_bytes()});
    assert!(
        fetch(&fixture, other)
            .await
            .unwrap_err()
            .contains("DestinationIpProhibited")
    );
}

/// Each way to be refused is counted once, under a name of its own.
#[tokio::test]
async fn what_is_refused_for_want_of_a_permission_is_counted() {
    let fixture = Fixture::new();
    let getter = fixture.guest("http-get").await;
    let hostile = fixture.guest("hostile").await;
    let with = |input: &str, permissions: Value| Job::new(hostile, input).permissions(permissions);
    for (what, job) in [
        (
            "host",
            job(getter, "http://example.org/", json!({"only": ["example.com"]})),
        ),
        ("address", job(getter, "http://10.0.0.1/", json!("all"))),
        ("name", with("resolve:localhost", json!({}))),
        ("socket", with("connect:127.0.0.1 1", json!({"dns_resolution": true}))),
        ("bind", with("accept:1", json!({"raw_sockets": true}))),
    ] {
        let sample = format!("wavs_guest_denied_total{{what=\"{what}\"}}");
        assert_eq!(fixture.sample(&sample), 0.0);
        let _ = fixture.run(&job).await.unwrap();
        assert_eq!(fixture.sample(&sample), 1.0, "{what}");
    }
    let connect = with(
        "connect:127.0.0.1 1",
        json!({"dns_resolution": true, "raw_sockets": true}),
    );
    let _ = fixture.run(&connect).await.unwrap();
    assert_eq!(fixture.sample("wavs_guest_denied_total{what=\"address\"}"), 2.0);
    assert_eq!(fixture.sample("wavs_guest_denied_total{what=\"host\"}"), 1.0);
}

/// `wasi:tls` over a socket of the guest: the server sees the greeting of a client that names it, and the guest hears why there is no
/// session.
#[tokio::test]
async fn a_guest_begins_a_tls_session_over_its_own_socket() {
    let fixture = Fixture::with(|settings| {
        settings.guest_policy = Arc::new(AddressPolicy::new(vec!["127.0.0.1".parse().unwrap()]));
    });
    let hostile = fixture.guest("hostile").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = vec![0; 4_096];
        let length = stream.read(&mut greeting).await.unwrap();
        greeting.truncate(length);
        // A fatal alert, `handshake_failure` (RFC 8446, section 6).
        stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await.unwrap();
        greeting
    });
    let job = Job::new(hostile, &format!("tls:localhost {port}"))
        .permissions(json!({"dns_resolution": true, "raw_sockets": true}));
    let told = fixture.text(&job).await;
    assert!(
        told.contains("refused: ") && told.contains("HandshakeFailure"),
        "{told}"
    );
    let greeting = server.await.unwrap();
    // A record of the handshake (RFC 8446, section 5.1), with a client hello.
    assert_eq!((greeting[0], greeting[5]), (22, 1), "{greeting:?}");
    assert!(
        greeting.windows(9).any(|part| part == b"localhost"),
        "the server is named: {greeting:?}"
    );
}
