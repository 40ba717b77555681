//! Compiled code on disk: loaded after a restart, replaced when it is damaged, never trusted.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use futures::FutureExt;
use serde_json::json;
use support::{Fixture, Job};
use wavs_ipc::contract::engine::World;
use wavs_types::ComponentDigest;

const DISK: &str = "wavs_compiled_code_total{from=\"disk\"}";
const COMPILER: &str = "wavs_compiled_code_total{from=\"compiler\"}";
const DAMAGED: &str = "wavs_compiled_code_total{from=\"damaged\"}";

fn code_files(fixture: &Fixture) -> Vec<PathBuf> {
    let files = fs::read_dir(fixture.directory.path().join("engine/aot")).unwrap();
    let mut files: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "cwasm"))
        .collect();
    files.sort();
    files
}

fn code_file(fixture: &Fixture, digest: &ComponentDigest) -> PathBuf {
    let found = code_files(fixture);
    let name = digest.to_string();
    let file = found.into_iter().find(|path| path.to_str().unwrap().contains(&name));
    file.unwrap()
}

#[tokio::test]
async fn after_a_restart_nothing_is_compiled_again() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    assert_eq!((fixture.sample(COMPILER), fixture.sample(DISK)), (1.0, 0.0));
    let metered = Job::new(echo, "metered").limit("fuel_limit", 10_000_000);
    assert_eq!(fixture.text(&metered).await, "metered");
    assert_eq!(code_files(&fixture).len(), 2);
    let fixture = fixture.restart();
    assert_eq!(fixture.text(&Job::new(echo, "again")).await, "again");
    assert_eq!(fixture.text(&metered).await, "metered");
    assert_eq!((fixture.sample(COMPILER), fixture.sample(DISK)), (0.0, 2.0));
}

#[tokio::test]
async fn code_that_this_node_did_not_write_is_never_run() {
    let fixture = Fixture::new();
    let (echo, square) = (fixture.guest("echo").await, fixture.guest("square").await);
    let file = code_file(&fixture, &echo);
    // The code of another component, whole and with a MAC of its own. A file of its own too: the node has mapped the one before.
    let put = |bytes: &[u8]| {
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
    };
    put(&fs::read(code_file(&fixture, &square)).unwrap());
    let fixture = fixture.restart();
    assert_eq!(fixture.text(&Job::new(echo, "echo still")).await, "echo still");
    assert_eq!((fixture.sample(DAMAGED), fixture.sample(COMPILER)), (1.0, 1.0));

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    put(&bytes);
    let fixture = fixture.restart();
    assert_eq!(fixture.text(&Job::new(echo, "repaired")).await, "repaired");
    assert_eq!((fixture.sample(DAMAGED), fixture.sample(COMPILER)), (1.0, 1.0));

    let fixture = fixture.restart();
    assert_eq!(fixture.text(&Job::new(echo, "kept")).await, "kept");
    assert_eq!((fixture.sample(DAMAGED), fixture.sample(DISK)), (0.0, 1.0));
}

/// A key may be cut off by a loss of power; the node starts anyhow and trusts nothing that was sealed before.
#[tokio::test]
async fn without_a_whole_key_everything_is_compiled_again() {
    let mut fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    for key in [vec![], vec![7; 31], vec![7; 33]] {
        fs::write(fixture.directory.path().join("engine/aot/key"), key).unwrap();
        fixture = fixture.restart();
        assert_eq!(fixture.text(&Job::new(echo, "anew")).await, "anew");
        assert_eq!((fixture.sample(COMPILER), fixture.sample(DISK)), (1.0, 0.0));
    }
    let fixture = fixture.restart();
    assert_eq!(fixture.text(&Job::new(echo, "kept")).await, "kept");
    assert_eq!((fixture.sample(COMPILER), fixture.sample(DISK)), (0.0, 1.0));
}

#[tokio::test]
async fn a_compilation_goes_on_without_its_caller_and_is_done_once() {
    let fixture = Fixture::new();
    let digest = ComponentDigest::of(&support::guest_bytes("echo"));
    let source = json!({"digest": digest.to_string()});
    // Into the store without compiling, as a node that was stopped in between has it.
    let place = digest.to_string();
    let place = fixture
        .directory
        .path()
        .join("engine/ca")
        .join(&place[..2])
        .join(&place[2..4]);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(digest.to_string()), support::guest_bytes("echo")).unwrap();
    // This one gives up while the others wait.
    let mut impatient = Box::pin(fixture.prefetch(source.clone(), World::Operator));
    let waiting = futures::future::join_all((0..10).map(|_| fixture.prefetch(source.clone(), World::Operator)));
    assert!(impatient.as_mut().now_or_never().is_none());
    drop(impatient);
    assert!(waiting.await.iter().all(Result::is_ok));
    assert_eq!(fixture.sample(COMPILER), 1.0);
    assert_eq!(code_files(&fixture).len(), 1);
}

#[tokio::test]
async fn a_removed_component_does_not_run_from_its_compiled_code() {
    let fixture = Fixture::new();
    let echo = fixture.guest("echo").await;
    let hex = echo.to_string();
    let file = fixture
        .directory
        .path()
        .join("engine/ca")
        .join(&hex[..2])
        .join(&hex[2..4])
        .join(&hex);
    fs::remove_file(file).unwrap();
    let fixture = fixture.restart();
    let error = fixture.run(&Job::new(echo, "x")).await.unwrap_err();
    assert!(error.detail.contains("No wasm found for digest"), "{error}");
}

#[test]
fn a_worker_compiles_what_it_is_given_and_says_what_is_wrong() {
    let worker = |bytes: &[u8]| {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_wavs-engine"))
            .args(["compile-worker", "epoch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = worker.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, bytes).unwrap();
        drop(input);
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let code = worker(&support::guest_bytes("echo"));
    assert_eq!((code[0], &code[1..5]), (1, b"\x7fELF".as_slice()));
    let reason = worker(b"\0asm\x0d\0\x01\0junk");
    assert_eq!(reason[0], 2);
    assert!(!reason[1..].is_empty());
}
