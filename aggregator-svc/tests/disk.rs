//! A disk that fills up under a running node: a real small file system, in a mount namespace of its own.

#![allow(missing_docs)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use support::engine::response;
use support::trigger::action;
use support::{Running, World};
use wavs_ipc::Context;
use wavs_ipc::contract::lifecycle::Health;
use wavs_ipc::contract::registry::Registry as _;
use wavs_store::fault;

/// Size of the file system: the ledger and its write-ahead log fit with all results.
const SIZE: &str = "48m";
/// Bytes of each result, so that a few of them do not fit what a full disk has left.
const PAYLOAD: usize = 200_000;
const EVENTS: u32 = 4;

/// Writes a file until there is no room at all.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for block in [64 * 1024, 1024, 1] {
        let bytes = vec![1_u8; block];
        while file.write_all(&bytes).is_ok() {}
    }
}

async fn health(node: &Running, wanted: impl Fn(&Health) -> bool) -> Health {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let health = node.status.snapshot().health;
        if wanted(&health) {
            return health;
        }
        assert!(tokio::time::Instant::now() < deadline, "the node is {health:?}");
        tokio::task::yield_now().await;
    }
}

async fn signatures(node: &Running) -> usize {
    let service = node.node.service.clone();
    service
        .export_history(Context::current(), None, 100)
        .await
        .unwrap()
        .len()
}

/// Runs with the small file system as its directory.
#[tokio::test(flavor = "multi_thread")]
async fn node_on_a_small_disk() {
    let Some(dir) = fault::directory() else { return };
    let world = World::at(&dir);
    world
        .engine
        .on_operator(|_, _| Ok(Ok(vec![response(&vec![7; PAYLOAD])])));
    let node = world.start().await;
    let service = node.add(support::ADDRESS).await.unwrap().service_id;
    world
        .trigger
        .fire("manual/1/0", &action(service, "submit", b"first"), Some(1));
    assert_eq!(node.injected(1, 1).await.failed, 0);
    health(&node, |health| *health == Health::Running).await;

    // These are taken over, and run while the disk fills up.
    world.engine.close();
    for number in 0..EVENTS {
        let data = number.to_be_bytes();
        world.trigger.fire(
            &format!("manual/2/{number}"),
            &action(service, "submit", &data),
            Some(2),
        );
    }
    while world.engine.runs().len() <= EVENTS as usize {
        tokio::task::yield_now().await;
    }
    fill(&dir.join("filler"));
    world.engine.open();
    let Health::Degraded { reasons } = health(&node, |health| matches!(health, Health::Degraded { .. })).await else {
        unreachable!("it was waited for")
    };
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("nothing is taken, signed or sent")),
        "{reasons:?}"
    );

    // Reads go on, also of what comes from the API; nothing new is signed or taken.
    let before = signatures(&node).await;
    assert!(before < 1 + EVENTS as usize, "not all results can have been stored");
    world
        .trigger
        .fire("manual/3/0", &action(service, "submit", &[3; 100_000]), Some(3));
    assert!(node.jobs().await.len() > EVENTS as usize);
    assert!(node.add("0x4444444444444444444444444444444444444444").await.is_err());

    // Room again: everything goes on by itself, each event signed once.
    std::fs::remove_file(dir.join("filler")).unwrap();
    assert_eq!(node.injected(2, EVENTS).await.failed, 0);
    assert_eq!(node.injected(3, 1).await.failed, 0);
    health(&node, |health| *health == Health::Running).await;
    assert_eq!(signatures(&node).await, 2 + EVENTS as usize);
    node.stop().await;
    let ledger = rusqlite::Connection::open(world.ledger()).unwrap();
    let sound: String = ledger
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    fault::acknowledge("end");
}

#[test]
fn a_full_disk_stops_signing_and_intake_until_there_is_room() {
    let probe = Command::new("unshare")
        .args(["--mount", "true"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting a small file system needs the right to make a mount namespace");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size={SIZE},mode=0700 tmpfs \"$1\" && exec \"$0\" --exact node_on_a_small_disk --nocapture --test-threads=1"
    );
    let output = Command::new("unshare")
        .args(["--mount", "bash", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .arg(dir.path())
        .env("WAVS_FAULT_DIRECTORY", dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("acknowledged end"),
        "{text}\n{errors}"
    );
}
