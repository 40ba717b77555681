//! Components that cannot be used, and where they come from.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use serde_json::json;
use support::{Fixture, Job, guest_bytes};
use wavs_ipc::contract::engine::World;
use wavs_ipc::contract::engine_admin::EngineAdmin;
use wavs_ipc::tarpc::context;
use wavs_ipc::{ErrorCode, Retry};
use wavs_types::ComponentDigest;

const QUARANTINED: &str = "wavs_component_store_quarantined_total";

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn local(settings: &mut wavs_engine::Settings) {
    settings.fetch_policy = wavs_fetch::AddressPolicy::new(vec!["127.0.0.1".parse().unwrap()]);
}

#[tokio::test]
async fn an_upload_must_be_a_component_and_is_listed_by_digest() {
    let fixture = Fixture::new();
    let module = wat::parse_str("(module)").unwrap();
    for (bytes, expect) in [
        (module.as_slice(), "core module"),
        (b"hello", "does not begin like a WASM file"),
        (b"\0asm\x0d\0\x01\0junk", "does not compile"),
    ] {
        let error = fixture.upload(bytes).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Component);
        assert!(error.detail.contains(expect), "{error}");
    }
    let echo = fixture.guest("echo").await;
    assert_eq!(echo, ComponentDigest::of(&guest_bytes("echo")));
    assert_eq!(fixture.guest("echo").await, echo);
    let stored = fixture.node.clone().components(context::current()).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(
        (stored[0].digest, stored[0].bytes),
        (echo, guest_bytes("echo").len() as u64)
    );
}

#[tokio::test]
async fn a_component_of_the_wrong_world_is_named_with_what_it_lacks() {
    let fixture = Fixture::new();
    let source = |digest: ComponentDigest| json!({"digest": digest.to_string()});
    let empty = fixture.upload(&wat::parse_str("(component)").unwrap()).await.unwrap();
    let error = fixture.prefetch(source(empty), World::Operator).await.unwrap_err();
    assert_eq!((error.code, error.retry), (ErrorCode::Component, Retry::Backoff));
    assert!(
        error.detail.contains("run") && error.detail.contains("wavs:operator/wavs-world"),
        "{error}"
    );
    let strange = wat::parse_str(r#"(component (import "acme:secret/thing" (instance (export "f" (func)))))"#).unwrap();
    let strange = fixture.upload(&strange).await.unwrap();
    let error = fixture.prefetch(source(strange), World::Operator).await.unwrap_err();
    assert!(error.detail.contains("acme:secret/thing"), "{error}");

    let echo = fixture.guest("echo").await;
    fixture.prefetch(source(echo), World::Operator).await.unwrap();
    let error = fixture.prefetch(source(echo), World::Aggregator).await.unwrap_err();
    assert!(error.detail.contains("wavs:aggregator/aggregator-world"), "{error}");
    let error = fixture
        .prefetch(source(fixture.guest("wrong-world").await), World::Operator)
        .await
        .unwrap_err();
    assert!(error.detail.contains("run"), "{error}");
}

#[tokio::test]
async fn an_unknown_digest_is_an_error_until_the_component_arrives() {
    let fixture = Fixture::new();
    let digest = ComponentDigest::of(&guest_bytes("echo"));
    let error = fixture.run(&Job::new(digest, "x")).await.unwrap_err();
    assert_eq!((error.code, error.retry), (ErrorCode::Component, Retry::Backoff));
    assert!(
        error.detail.contains(&format!("No wasm found for digest {digest}")),
        "{error}"
    );
    fixture.guest("echo").await;
    assert_eq!(fixture.text(&Job::new(digest, "x")).await, "x");
}

#[tokio::test]
async fn a_download_is_made_once_and_checked() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = hits.clone();
    let url = serve(Router::new().route(
        "/echo.wasm",
        get(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async { guest_bytes("echo") }
        }),
    ))
    .await;
    let digest = ComponentDigest::of(&guest_bytes("echo"));
    let source = |digest: ComponentDigest| json!({"download": {"uri": format!("{url}/echo.wasm"), "digest": digest.to_string()}});

    let closed = Fixture::new();
    let error = closed.prefetch(source(digest), World::Operator).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Fetch);
    assert!(error.detail.contains("fetch.allow_hosts"), "{error}");
    assert_eq!(hits.load(Ordering::SeqCst), 0);

    let fixture = Fixture::with(local);
    let wrong = ComponentDigest::new([1; 32]);
    let error = fixture.prefetch(source(wrong), World::Operator).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Component);
    assert!(
        error.detail.contains(&digest.to_string()) && error.detail.contains(&wrong.to_string()),
        "{error}"
    );

    hits.store(0, Ordering::SeqCst);
    let ready = futures::future::join_all((0..10).map(|_| fixture.prefetch(source(digest), World::Operator))).await;
    assert!(ready.iter().all(Result::is_ok), "{ready:?}");
    assert_eq!(hits.load(Ordering::SeqCst), 1);
    // Nothing half-written or unverified stays behind.
    assert_eq!(
        std::fs::read_dir(fixture.directory.path().join("engine/ca/incoming"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        fixture.node.clone().components(context::current()).await.unwrap().len(),
        1
    );

    let huge = Fixture::with(|settings| {
        local(settings);
        settings.fetch.max_bytes = 10;
    });
    let error = huge.prefetch(source(digest), World::Operator).await.unwrap_err();
    assert!(error.detail.contains("larger than the limit of 10"), "{error}");
}

/// Compiled code is there no more, so the component is read, and compared with its digest.
#[tokio::test]
async fn a_stored_component_that_is_damaged_is_moved_aside_counted_and_fetched_again() {
    let url = serve(Router::new().route("/echo.wasm", get(|| async { guest_bytes("echo") }))).await;
    let digest = ComponentDigest::of(&guest_bytes("echo"));
    let source = json!({"download": {"uri": format!("{url}/echo.wasm"), "digest": digest.to_string()}});
    let fixture = Fixture::with(local);
    fixture.prefetch(source.clone(), World::Operator).await.unwrap();
    assert_eq!(fixture.sample(QUARANTINED), 0.0);

    let Fixture { directory, node, .. } = fixture;
    drop(node);
    let (engine, hex) = (directory.path().join("engine"), digest.to_string());
    let file = engine.join("ca").join(&hex[..2]).join(&hex[2..4]).join(&hex);
    std::fs::write(&file, b"evil").unwrap();
    std::fs::remove_dir_all(engine.join("aot")).unwrap();
    let fixture = Fixture::reopen(directory, local);
    fixture.prefetch(source, World::Operator).await.unwrap();
    assert_eq!(fixture.sample(QUARANTINED), 1.0);
    assert_eq!(std::fs::read(engine.join("ca/quarantine").join(&hex)).unwrap(), b"evil");
    assert_eq!(std::fs::read(&file).unwrap(), guest_bytes("echo"));
    assert_eq!(fixture.text(&Job::new(digest, "repaired")).await, "repaired");
    assert_eq!(fixture.sample(QUARANTINED), 1.0);
}

#[tokio::test]
async fn a_component_that_was_removed_runs_no_more_until_it_is_back() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let job = Job::new(echo, "here");
    assert_eq!(fixture.text(&job).await, "here");
    fixture
        .node
        .clone()
        .remove_component(context::current(), echo)
        .await
        .unwrap();
    let error = fixture.run(&job).await.unwrap_err();
    assert!(error.detail.starts_with("No wasm found for digest"), "{error}");
    fixture.guest("echo").await;
    assert_eq!(fixture.text(&job).await, "here");
    // Its code was still on disk, so nothing was compiled again.
    assert_eq!(fixture.sample("wavs_compiled_code_total{from=\"compiler\"}"), 1.0);
}
