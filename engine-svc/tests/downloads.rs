//! Components from registries, read by a process that can go nowhere but through the address policy.

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use support::{Fixture, Job, guest_bytes};
use wavs_engine::Settings;
use wavs_fetch::AddressPolicy;
use wavs_ipc::ErrorCode;
use wavs_ipc::contract::engine::World;
use wavs_types::ComponentDigest;

const DESCRIPTION: &str = "/.well-known/wasm-pkg/registry.json";

/// Serves on loopback and says how registries name it.
async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("localhost:{port}")
}

fn echo() -> ComponentDigest {
    ComponentDigest::of(&guest_bytes("echo"))
}

/// The path of the content of the package.
fn content(prefix: &str) -> String {
    format!("/v2/{prefix}wavs/echo/blobs/sha256:{}", echo())
}

fn source(registry: &str) -> Value {
    json!({"registry": {
        "digest": echo().to_string(), "domain": registry, "version": null, "package": "wavs:echo"
    }})
}

fn local(settings: &mut Settings) {
    settings.fetch_policy = AddressPolicy::new(vec!["localhost".parse().unwrap()]);
}

async fn prefetch(registry: &str, change: impl FnOnce(&mut Settings)) -> Result<Fixture, String> {
    let fixture = Fixture::with(change);
    match fixture.prefetch(source(registry), World::Operator).await {
        Ok(()) => Ok(fixture),
        Err(cause) => {
            assert_eq!(cause.code, ErrorCode::Fetch, "{cause}");
            Err(cause.detail)
        }
    }
}

async fn refused(registry: &str, change: impl FnOnce(&mut Settings), reason: &str) {
    let cause = prefetch(registry, change).await.err().unwrap();
    assert!(cause.contains(reason) && cause.contains("wavs:echo"), "{cause}");
}

#[tokio::test]
async fn a_component_is_the_content_with_its_digest() {
    let registry = serve(Router::new().route(&content(""), get(async || guest_bytes("echo")))).await;
    refused(&registry, |_| {}, "not a public address").await;
    let fixture = prefetch(&registry, local).await.unwrap();
    let said = fixture.text(&Job::new(echo(), "from a registry")).await;
    assert_eq!(said, "from a registry");
}

#[tokio::test]
async fn a_registry_tells_where_its_packages_are_and_gives_tokens() {
    let (asked, tokens) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    let guarded = async move |headers: HeaderMap| {
        count.fetch_add(1, Ordering::SeqCst);
        match headers.get(header::AUTHORIZATION) {
            Some(token) if token == "Bearer for-anyone" => guest_bytes("echo").into_response(),
            _ => {
                let host = headers[header::HOST].to_str().unwrap();
                let challenge = format!(r#"Bearer realm="http://{host}/token",service="here",scope="a""#);
                (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
            }
        }
    };
    let given = tokens.clone();
    let packages = Router::new()
        .route(&content("org/"), get(guarded.clone()))
        .route("/v2/", get(guarded))
        .route(
            "/token",
            get(async move |uri: Uri| {
                assert!(uri.query().unwrap().contains("service=here"), "{uri}");
                given.fetch_add(1, Ordering::SeqCst);
                Json(json!({"token": "for-anyone"}))
            }),
        );
    let packages = serve(packages).await;
    let description = json!({"preferredProtocol": "oci", "oci": {"registry": packages, "namespacePrefix": "org/"}});
    let registry = serve(Router::new().route(DESCRIPTION, get(async || Json(description)))).await;
    prefetch(&registry, local).await.unwrap();
    assert!(asked.load(Ordering::SeqCst) >= 2);
    assert!(tokens.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn what_a_registry_refers_to_is_checked_like_the_registry() {
    // A redirect of the content, the registry that a description names, and the place where tokens are given.
    let redirects = Router::new().route(
        &content(""),
        get(async || {
            (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, "http://169.254.169.254/latest")],
            )
        }),
    );
    let describes = Router::new().route(
        DESCRIPTION,
        get(async || Json(json!({"preferredProtocol": "oci", "oci": {"registry": "10.0.0.1:5000"}}))),
    );
    let challenges = Router::new().route(
        "/v2/",
        get(async || {
            let challenge = r#"Bearer realm="http://192.168.0.1/token",service="here""#;
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)])
        }),
    );
    for app in [redirects, describes, challenges] {
        refused(&serve(app).await, local, "which is not a public address").await;
    }
}

#[tokio::test]
async fn content_of_another_digest_is_not_kept() {
    let registry = serve(Router::new().route(&content(""), get(async || guest_bytes("kv")))).await;
    refused(&registry, local, "digest").await;
}

#[tokio::test]
async fn endless_and_silent_registries_cost_one_download() {
    let endless = Router::new().route(
        &content(""),
        get(async || Body::from_stream(stream::repeat(Bytes::from_static(&[0; 4096])).map(Ok::<_, Infallible>))),
    );
    let bounded = |settings: &mut Settings| {
        local(settings);
        settings.fetch.max_bytes = 1 << 20;
    };
    refused(&serve(endless).await, bounded, "larger than the limit of 1048576 bytes").await;
    let silent = Router::new().route(&content(""), get(std::future::pending::<()>));
    let hasty = |settings: &mut Settings| {
        local(settings);
        settings.fetch.total = Duration::from_millis(500);
    };
    refused(&serve(silent).await, hasty, "not complete after 500ms").await;
}

#[tokio::test]
async fn a_bad_name_is_named_and_a_missing_package_is_missing() {
    let registry = serve(Router::new()).await;
    refused(&registry, local, "404").await;
    let fixture = Fixture::with(local);
    let source = json!({"registry": {
        "digest": echo().to_string(), "domain": registry, "version": null, "package": "../x:y"
    }});
    let cause = fixture.prefetch(source, World::Operator).await.unwrap_err();
    assert!(cause.detail.contains("../x:y"), "{cause}");
}
