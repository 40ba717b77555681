//! Gateways that answer something else than what they were asked for.

use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::header;
use axum::response::IntoResponse;
use wavs_fetch::{AddressPolicy, FetchError, FetchLimits, Fetcher, Gateways, Verify};

const LIMITS: FetchLimits = FetchLimits {
    max_bytes: 1_000,
    stall: Duration::from_secs(30),
    total: Duration::from_secs(60),
};
/// The content id of the bytes "component" themselves: version 1, raw, SHA-256.
const RAW: &str = "bafkreidjqxfb6tnkljmeukhk4bb2eoolszujv4jtp2qtv63d4agcx5is7i";
/// The content id of some graph.
const GRAPH: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";

/// A gateway that answers this, and archives only if it is given one.
async fn gateway(file: &'static str, archive: Option<Vec<u8>>) -> Gateways {
    let app = Router::new().fallback(move |RawQuery(query): RawQuery| async move {
        match archive {
            Some(archive) if query.is_some_and(|query| query.contains("format=car")) => {
                ([(header::CONTENT_TYPE, "application/vnd.ipld.car; version=1")], archive).into_response()
            }
            _ => file.into_response(),
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = format!("http://{}/ipfs/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    Gateways::parse([gateway.as_str()]).unwrap()
}

async fn fetch(gateways: &Gateways, uri: &str, verify: Verify) -> Result<Vec<u8>, FetchError> {
    let fetcher = Fetcher::new(AddressPolicy::default(), gateways.clone()).verifying(verify);
    fetcher.fetch(uri, LIMITS).await
}

#[tokio::test]
async fn a_file_must_have_the_hash_that_its_content_id_is() {
    let uri = format!("ipfs://{RAW}");
    let honest = gateway("component", None).await;
    let lying = gateway("something else", None).await;
    for verify in [Verify::Require, Verify::Prefer] {
        assert_eq!(fetch(&honest, &uri, verify).await.unwrap(), b"component");
        let error = fetch(&lying, &uri, verify).await.unwrap_err();
        assert!(matches!(error, FetchError::Corrupt { .. }), "{error}");
    }
    assert_eq!(fetch(&lying, &uri, Verify::Off).await.unwrap(), b"something else");
}

#[tokio::test]
async fn what_cannot_be_checked_is_a_matter_of_the_configuration() {
    let uri = format!("ipfs://{GRAPH}/a.wasm");
    let plain = gateway("component", None).await;
    let error = fetch(&plain, &uri, Verify::Require).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Unverifiable { .. }) && error.to_string().contains("CAR"),
        "{error}"
    );
    assert_eq!(fetch(&plain, &uri, Verify::Prefer).await.unwrap(), b"component");
    // An archive that does not hold what was asked for is a lie, not something that cannot be checked.
    let lying = gateway("component", Some(vec![1, 0xa0])).await;
    let error = fetch(&lying, &uri, Verify::Prefer).await.unwrap_err();
    assert!(matches!(error, FetchError::Corrupt { .. }), "{error}");
}
