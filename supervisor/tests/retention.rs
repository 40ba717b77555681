//! The data of removed services: kept, and erased in time.

#![allow(missing_docs)]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::Node;
use support::script::SERVICE;
use wavs_ipc::{ErrorCode, WireError};
use wavs_supervisor::http::settings::Settings;
use wavs_supervisor::retention::Retention;

/// The time that data is kept in these tests.
const KEPT: Duration = Duration::from_secs(3_600);

/// Milliseconds since the Unix epoch.
fn ago(time: Duration) -> u64 {
    let at = SystemTime::now() - time;
    at.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

#[tokio::test]
async fn data_is_erased_once_when_its_time_is_over() {
    let settings = Settings {
        data_retention: KEPT,
        ..Settings::default()
    };
    let node = Node::with(settings).await;
    let mut retention = Retention::new(node.api.clone());
    let mut look = async || {
        node.script.asked(String::new());
        retention.look().await.unwrap();
        node.script.last_asked()
    };
    let erased = format!("erase {SERVICE}");
    assert_eq!(look().await, "", "it is registered");
    node.script.remove(ago(KEPT / 2));
    assert_eq!(look().await, "", "it may be added again");
    node.script.remove(ago(KEPT * 2));
    node.script
        .fail("erase_service", WireError::backoff(ErrorCode::Internal, "no"));
    assert_eq!(look().await, erased, "and fails");
    node.script.recover("erase_service");
    assert_eq!(look().await, erased);
    assert_eq!(look().await, "", "it was erased");
    node.script.remove(ago(KEPT));
    assert_eq!(look().await, erased, "it was there once more");
}
