//! Packages from a registry on loopback, with and without tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use wavs_fetch::{AddressPolicy, FetchError, FetchLimits, Fetcher, Gateways, Package};

const LIMITS: FetchLimits = FetchLimits {
    max_bytes: 1_000,
    stall: Duration::from_secs(30),
    total: Duration::from_secs(60),
};
const DIGEST: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
const DESCRIPTION: &str = "/.well-known/wasm-pkg/registry.json";

async fn serve(app: Router) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

async fn fetch(allow: &[&str], port: u16) -> Result<Vec<u8>, FetchError> {
    let allow = allow.iter().map(|line| line.parse().unwrap()).collect();
    let gateways = Gateways::parse(["https://ipfs.io/ipfs/"]).unwrap();
    let fetcher = Fetcher::new(AddressPolicy::new(allow), gateways);
    let package = Package::new(Some(&format!("localhost:{port}")), "wavs:echo", DIGEST)?;
    let sink = fetcher
        .fetch_package_into(&package, LIMITS, || std::future::ready(Ok(Vec::new())))
        .await?;
    Ok(sink)
}

#[tokio::test]
async fn a_component_is_the_blob_of_its_digest() {
    let blob = format!("/v2/wavs/echo/blobs/sha256:{DIGEST}");
    let port = serve(Router::new().route(&blob, get(|| async { "component" }))).await;
    assert_eq!(fetch(&["localhost"], port).await.unwrap(), b"component");
    let denied = fetch(&[], port).await.unwrap_err();
    assert!(matches!(denied, FetchError::Denied { .. }), "{denied}");
}

#[tokio::test]
async fn a_registry_tells_where_its_packages_are_and_gives_tokens() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let content = move |headers: HeaderMap| {
        let count = count.clone();
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            match headers.get(header::AUTHORIZATION) {
                Some(token) if token == "Bearer for anyone" => "component".into_response(),
                _ => {
                    let host = headers[header::HOST]
                        .to_str()
                        .unwrap()
                        .replace("127.0.0.1", "localhost");
                    let challenge = format!(r#"Bearer realm="http://{host}/token",service="here",scope="a,b""#);
                    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
                }
            }
        }
    };
    let packages = Router::new()
        .route(&format!("/v2/org/wavs/echo/blobs/sha256:{DIGEST}"), get(content))
        .route(
            "/token",
            get(|uri: axum::http::Uri| async move {
                assert_eq!(uri.query(), Some("service=here&scope=a%2Cb"));
                Json(serde_json::json!({"token": "for anyone"}))
            }),
        );
    let packages = serve(packages).await;
    let description = serde_json::json!({
        "preferredProtocol": "oci", "oci": {"registry": format!("localhost:{packages}"), "namespacePrefix": "org/"}
    });
    let port = serve(Router::new().route(DESCRIPTION, get(move || async move { Json(description) }))).await;
    assert_eq!(fetch(&["localhost"], port).await.unwrap(), b"component");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_is_not_sent_to_where_the_registry_redirects() {
    let elsewhere = serve(Router::new().fallback(|headers: HeaderMap| async move {
        if headers.contains_key(header::AUTHORIZATION) {
            "leaked"
        } else {
            "component"
        }
    }))
    .await;
    let blob = move |headers: HeaderMap| async move {
        if headers.contains_key(header::AUTHORIZATION) {
            let target = format!("http://127.0.0.1:{elsewhere}/");
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response();
        }
        let challenge = format!(
            "Bearer realm=\"http://{}/token\"",
            headers[header::HOST].to_str().unwrap()
        );
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
    };
    let app = Router::new()
        .route(&format!("/v2/wavs/echo/blobs/sha256:{DIGEST}"), get(blob))
        .route(
            "/token",
            get(|| async { Json(serde_json::json!({"access_token": "t"})) }),
        );
    let port = serve(app).await;
    assert_eq!(fetch(&["127.0.0.1", "localhost"], port).await.unwrap(), b"component");
}

#[tokio::test]
async fn a_registry_of_another_protocol_is_named() {
    let description = serde_json::json!({"preferredProtocol": "warg", "warg": {"url": "https://warg.example"}});
    let port = serve(Router::new().route(DESCRIPTION, get(move || async move { Json(description) }))).await;
    let error = fetch(&["localhost"], port).await.unwrap_err();
    assert!(
        error.to_string().contains("\"warg\"") && error.to_string().contains("OCI"),
        "{error}"
    );
}
