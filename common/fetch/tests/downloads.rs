//! Downloads from real servers on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wavs_fetch::{AddressPolicy, FetchError, FetchLimits, Fetcher, Gateways};

const LIMITS: FetchLimits = FetchLimits {
    max_bytes: 1_000,
    stall: Duration::from_millis(300),
    total: Duration::from_secs(5),
};

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn fetcher(allow: &[&str]) -> Fetcher {
    fetcher_with_gateway(allow, "https://ipfs.io/ipfs/")
}

fn fetcher_with_gateway(allow: &[&str], gateway: &str) -> Fetcher {
    let allow = allow.iter().map(|line| line.parse().unwrap()).collect();
    Fetcher::new(AddressPolicy::new(allow), Gateways::parse([gateway]).unwrap())
}

#[tokio::test]
async fn a_body_arrives_whole() {
    let at = serve(Router::new().route("/x", get(|| async { "hello" }))).await;
    assert_eq!(
        fetcher(&["127.0.0.1"])
            .fetch(&format!("http://{at}/x"), LIMITS)
            .await
            .unwrap(),
        b"hello"
    );
    assert_eq!(
        fetcher(&["localhost"])
            .fetch(&format!("http://localhost:{}/x", at.port()), LIMITS)
            .await
            .unwrap(),
        b"hello"
    );
}

#[tokio::test]
async fn loopback_is_denied_by_literal_and_by_name() {
    let at = serve(Router::new().route("/x", get(|| async { "secret" }))).await;
    for uri in [
        format!("http://{at}/x"),
        format!("http://localhost:{}/x", at.port()),
        format!("http://[::ffff:127.0.0.1]:{}/", at.port()),
    ] {
        let error = fetcher(&[]).fetch(&uri, LIMITS).await.unwrap_err();
        assert!(matches!(error, FetchError::Denied { .. }), "{uri}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_is_checked_like_a_first_address() {
    let inside = serve(Router::new().route("/", get(|| async { "metadata" }))).await;
    let target = format!("http://127.0.0.2:{}/", inside.port());
    let outside = serve(Router::new().route(
        "/",
        get(move || async move { (StatusCode::FOUND, [(header::LOCATION, target)]) }),
    ))
    .await;
    let error = fetcher(&["127.0.0.1"])
        .fetch(&format!("http://{outside}/"), LIMITS)
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Denied { ref address, .. } if address.to_string() == "127.0.0.2"),
        "{error}"
    );
}

#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = hits.clone();
    let app = Router::new().route(
        "/",
        get(move || async move {
            counter.fetch_add(1, Ordering::SeqCst);
            (StatusCode::FOUND, [(header::LOCATION, "/")])
        }),
    );
    let at = serve(app).await;
    let error = fetcher(&["127.0.0.1"])
        .fetch(&format!("http://{at}/"), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
    assert_eq!(hits.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn size_is_bounded_with_and_without_a_declared_length() {
    let chunks = || async {
        axum::body::Body::from_stream(futures::stream::iter(
            (0..100).map(|_| Ok::<_, std::io::Error>("0123456789012345678901234567890")),
        ))
    };
    let at = serve(
        Router::new()
            .route("/declared", get(|| async { vec![0_u8; 1_001] }))
            .route("/chunked", get(chunks)),
    )
    .await;
    for path in ["declared", "chunked"] {
        let error = fetcher(&["127.0.0.1"])
            .fetch(&format!("http://{at}/{path}"), LIMITS)
            .await
            .unwrap_err();
        assert!(
            matches!(error, FetchError::TooLarge { limit: 1_000, .. }),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_a_busy_one_is_asked_twice() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = hits.clone();
    let app = Router::new()
        .route("/silent", get(|| async { futures::future::pending::<&str>().await }))
        .route(
            "/busy",
            get(move || async move {
                if counter.fetch_add(1, Ordering::SeqCst) == 0 {
                    StatusCode::SERVICE_UNAVAILABLE.into_response()
                } else {
                    "ready".into_response()
                }
            }),
        );
    let at = serve(app).await;
    let error = fetcher(&["127.0.0.1"])
        .fetch(&format!("http://{at}/silent"), LIMITS)
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(
        fetcher(&["127.0.0.1"])
            .fetch(&format!("http://{at}/busy"), LIMITS)
            .await
            .unwrap(),
        b"ready"
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_once_more_and_arrives_whole() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let counter = served.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            // The first answer ends in the middle, and so does every one to the other path.
            let breaks = counter.fetch_add(1, Ordering::SeqCst) == 0 || request.starts_with(b"GET /never");
            let body: &[u8] = if breaks { b"half" } else { b"half a body" };
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            stream.write_all(body).await.unwrap();
        }
    });
    let fetcher = fetcher(&["127.0.0.1"]);
    let body = fetcher.fetch(&format!("http://{at}/x"), LIMITS).await.unwrap();
    assert_eq!(
        (body.as_slice(), served.load(Ordering::SeqCst)),
        (b"half a body".as_slice(), 2)
    );
    let error = fetcher.fetch(&format!("http://{at}/never"), LIMITS).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(served.load(Ordering::SeqCst), 4, "once more, and not for ever");
}

#[tokio::test]
async fn ipfs_goes_through_the_gateway_which_is_exempt() {
    let cid = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
    let at = serve(Router::new().route(&format!("/ipfs/{cid}/s.json"), get(|| async { "document" }))).await;
    let fetcher = fetcher_with_gateway(&[], &format!("http://{at}/ipfs"));
    assert_eq!(
        fetcher.fetch(&format!("ipfs://{cid}/s.json"), LIMITS).await.unwrap(),
        b"document"
    );
    assert!(matches!(
        fetcher.fetch(&format!("ipfs://{cid}/none"), LIMITS).await,
        Err(FetchError::Status { status: 404, .. })
    ));
}

#[tokio::test]
async fn other_schemes_are_named_and_keys_are_not_shown() {
    let error = fetcher(&[]).fetch("ftp://x/y", LIMITS).await.unwrap_err();
    assert!(error.to_string().contains("\"ftp\""), "{error}");
    let error = fetcher(&[])
        .fetch("http://user:hunter2@127.0.0.1:1/?key=hunter2", LIMITS)
        .await
        .unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
