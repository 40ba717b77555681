//! A component from another toolchain: the standard library over WASI preview 1 and its adapter.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use support::{Fixture, Job};
use wavs_ipc::contract::job::GuestErrorClass;
use wavs_types::ComponentDigest;

async fn wasi_std(fixture: &Fixture) -> ComponentDigest {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/components/foreign/wasi-std/wasi-std.wasm");
    fixture.upload(&fs::read(path).unwrap()).await.unwrap()
}

fn with_files(digest: ComponentDigest, input: &str) -> Job {
    Job::new(digest, input).permissions(json!({"file_system": true}))
}

fn app_dir(fixture: &Fixture, job: &Job) -> PathBuf {
    fixture
        .directory
        .path()
        .join("engine/app")
        .join(job.service_id().to_string())
}

#[tokio::test]
async fn files_outlive_runs_and_belong_to_one_service() {
    let fixture = Fixture::new();
    let digest = wasi_std(&fixture).await;
    assert_eq!(fixture.text(&with_files(digest, "note one")).await, "one\n");
    let job = with_files(digest, "note two");
    assert_eq!(fixture.text(&job).await, "one\ntwo\n");
    assert_eq!(fixture.text(&with_files(digest, "list .")).await, "notes");
    let kept = fs::read_to_string(app_dir(&fixture, &job).join("notes/all.txt")).unwrap();
    assert_eq!(kept, "one\ntwo\n");
    assert_eq!(fixture.text(&with_files(digest, "list .").service(9)).await, "");
}

#[tokio::test]
async fn files_outside_the_directory_are_out_of_reach() {
    let fixture = Fixture::new();
    let digest = wasi_std(&fixture).await;
    let job = with_files(digest, "note one");
    fixture.text(&job).await;
    // Both lead to a file that exists, so that only the sandbox can refuse.
    fs::write(fixture.directory.path().join("engine/secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../../secret", app_dir(&fixture, &job).join("link")).unwrap();
    for input in [
        "read ../../secret",
        "read notes/../../../secret",
        "read link",
        "read /etc/passwd",
    ] {
        let failure = fixture.failure(&with_files(digest, input)).await;
        assert_eq!(failure.class, GuestErrorClass::Fault, "{input}: {failure:?}");
        assert!(failure.detail.contains("os error"), "{input}: {failure:?}");
    }
    for input in ["note one", "list .", "list /", "read notes/all.txt"] {
        let failure = fixture.failure(&Job::new(digest, input)).await;
        assert!(failure.detail.contains("os error"), "{input}: {failure:?}");
    }
}

#[tokio::test]
async fn the_standard_library_finds_clocks_chance_variables_and_streams() {
    let fixture = Fixture::new();
    let digest = wasi_std(&fixture).await;
    let text = async |input: &str| fixture.text(&Job::new(digest, input).env("WAVS_ENV_A", "value")).await;
    assert_eq!(text("env WAVS_ENV_A").await, "value");
    assert_eq!(text("env HOME").await, "unset");
    assert_ne!(text("random").await, text("random").await);

    let clock = text("clock").await;
    let (seconds, slept) = clock.split_once(' ').unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(seconds.parse().unwrap()) <= 60, "{clock}");
    assert_eq!(slept, "true", "a sleep of the guest takes its time");

    text("print hello").await;
    let lines = fixture.log_lines(&Job::new(digest, "")).await;
    for (stream, line) in [
        ("stdout", "hello to stdout"),
        ("stderr", "hello to stderr"),
        ("info", "hello"),
    ] {
        assert!(
            lines.contains(&(stream.to_owned(), line.to_owned())),
            "{stream}: {lines:?}"
        );
    }
}
