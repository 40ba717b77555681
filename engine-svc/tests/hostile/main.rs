//! Guests that are out to harm their host: each meets a named limit, and the next run is none the worse for it.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Fixture, Job};
use tokio::net::TcpListener;
use wavs_ipc::contract::job::GuestErrorClass;
use wavs_types::ComponentDigest;

/// Bytes that a service may store in these tests.
const FILES: u64 = 8 << 20;

struct Stage {
    fixture: Fixture,
    hostile: ComponentDigest,
    echo: ComponentDigest,
}

impl Stage {
    async fn new() -> Self {
        let fixture = Fixture::with(|settings| {
            settings.caps.files = FILES;
            settings.guest_policy =
                std::sync::Arc::new(wavs_fetch::AddressPolicy::new(vec!["127.0.0.1".parse().unwrap()]));
        });
        let (hostile, echo) = (fixture.guest("hostile").await, fixture.guest("echo").await);
        Self { fixture, hostile, echo }
    }

    fn job(&self, input: &str, permissions: Value) -> Job {
        Job::new(self.hostile, input)
            .permissions(permissions)
            .limit("time_limit_seconds", 60)
    }

    /// What the guest was told, which it returned.
    async fn told(&self, input: &str, permissions: Value) -> String {
        let text = self.fixture.text(&self.job(input, permissions)).await;
        self.unharmed().await;
        text
    }

    /// How the run was ended.
    async fn ended(&self, job: &Job) -> (GuestErrorClass, String) {
        let failure = self.fixture.failure(job).await;
        self.unharmed().await;
        (failure.class, failure.detail)
    }

    async fn unharmed(&self) {
        let neighbour = Job::new(self.echo, "fine").service(9);
        assert_eq!(self.fixture.text(&neighbour).await, "fine");
    }
}

#[tokio::test]
async fn sockets_are_few() {
    let stage = Stage::new().await;
    let told = stage.told("sockets:10000", json!({"raw_sockets": true})).await;
    assert!(
        told.starts_with("32 sockets, then") && told.contains("new-socket-limit"),
        "{told}"
    );
    // Those of the run before are closed.
    let told = stage.told("sockets:32", json!({"raw_sockets": true})).await;
    assert_eq!(told, "32 sockets");
}

#[tokio::test]
async fn files_end_at_the_quota_of_the_service_and_can_be_cleaned_up() {
    let stage = Stage::new().await;
    let files = || json!({"file_system": true});
    assert_eq!(stage.told("files:4", files()).await, "4 MiB");
    for input in ["files:12", "files:20"] {
        let (class, detail) = stage.ended(&stage.job(input, files())).await;
        assert_eq!(class, GuestErrorClass::Limit, "{detail}");
        assert!(
            detail.starts_with("File limit exceeded") && detail.contains("8388608"),
            "{detail}"
        );
    }
    // Another service has a quota of its own.
    let other = stage.job("files:4", files()).service(8);
    assert_eq!(stage.fixture.text(&other).await, "4 MiB");
    assert_eq!(stage.told("remove-files", files()).await, "1 removed");
    assert_eq!(stage.told("files:4", files()).await, "4 MiB");
}

#[tokio::test]
async fn waiting_for_ever_ends_with_the_time() {
    let stage = Stage::new().await;
    let poll = stage.job("poll", json!({})).limit("time_limit_seconds", 1);
    let (class, detail) = stage.ended(&poll).await;
    assert_eq!(class, GuestErrorClass::Limit);
    assert!(detail.starts_with("Time limit exceeded"), "{detail}");
}

#[tokio::test]
async fn a_server_that_never_answers_holds_up_its_guest_alone() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let http = stage.fixture.guest("http-get").await;
    let job = Job::new(http, &url)
        .permissions(json!({"allowed_http_hosts": "all"}))
        .limit("time_limit_seconds", 2);
    let (ended, accepted) = tokio::join!(stage.ended(&job), listener.accept());
    drop(accepted);
    let (_, detail) = ended;
    assert!(
        detail.contains("Time limit exceeded") || detail.contains("Timeout"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let away = axum::Router::new()
        .fallback(|| async { axum::response::Redirect::temporary("http://169.254.169.254/latest/meta-data/") });
    tokio::spawn(async move { axum::serve(listener, away).await });
    let http = stage.fixture.guest("http-get").await;
    let permissions = || json!({"allowed_http_hosts": "all"});
    let told = stage
        .fixture
        .text(&Job::new(http, &url).permissions(permissions()))
        .await;
    assert!(told.contains("307"), "{told}");
    let metadata = Job::new(http, "http://169.254.169.254/latest/meta-data/").permissions(permissions());
    let (_, detail) = stage.ended(&metadata).await;
    assert!(detail.contains("DestinationIpProhibited"), "{detail}");
}

#[tokio::test]
async fn names_are_looked_up_with_permission_only() {
    let stage = Stage::new().await;
    let (_, detail) = stage.ended(&stage.job("resolve:localhost", json!({}))).await;
    assert!(detail.contains("permanent-resolver-failure"), "{detail}");
    let told = stage.told("resolve:localhost", json!({"dns_resolution": true})).await;
    assert!(told.contains("127"), "{told}");
}

#[tokio::test]
async fn floods_and_late_panics_are_the_guests_fault() {
    let stage = Stage::new().await;
    for input in ["destructor", "random:2000000"] {
        let (class, detail) = stage.ended(&stage.job(input, json!({}))).await;
        assert_eq!(class, GuestErrorClass::Fault, "{input}: {detail}");
        assert!(detail.contains("trapped"), "{input}: {detail}");
    }
}

#[tokio::test]
async fn loops_of_one_service_leave_turns_to_another() {
    let fixture = Fixture::with(|settings| settings.workers = 1);
    let echo = fixture.guest("echo").await;
    let hog = |n: u8| Job::new(echo, "do:loop").limit("time_limit_seconds", 3).service(n);
    let hogs: Vec<_> = (0..8).map(|_| hog(1)).collect();
    let hogs = futures::future::join_all(hogs.iter().map(|job| fixture.run(job)));
    let other = async {
        let mut done = 0;
        // As many as it gets while the loops run.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
        while tokio::time::Instant::now() < deadline {
            assert_eq!(fixture.text(&Job::new(echo, "x").service(2)).await, "x");
            done += 1;
        }
        done
    };
    let (hogs, done) = tokio::join!(hogs, other);
    assert!(hogs.iter().all(|run| run.as_ref().unwrap().result.is_err()));
    assert!(done > 1, "{done}");
}
