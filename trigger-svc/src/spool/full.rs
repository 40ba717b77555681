//! A full disk, on a file system that really has no room.
#![expect(
    clippy::print_stdout,
    reason = "a skipped test says why, and a child tells its parent how it went"
)]

use std::process::Command;
use std::time::Duration;

use wavs_ipc::Json;
use wavs_ipc::contract::trigger_admin::Inject;
use wavs_types::{TriggerConfig, TriggerData};

use super::tests::{chain, progress, route, seen};
use super::*;

/// Set in the process that runs inside the small file system.
const DIRECTORY: &str = "WAVS_SMALL_DISK";
const QUOTA: Quota = Quota {
    entries: 10_000,
    bytes: 1_000_000_000,
};

/// Runs this test binary with a file system of four megabytes at `WAVS_SMALL_DISK`, which nobody else sees.
#[test]
fn a_full_disk_stops_intake_and_corrupts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$WAVS_SMALL_DISK\" || exit 77; exec \"$0\" --exact spool::full::inside --nocapture";
    let output = Command::new("unshare")
        .args(["--mount", "--", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, dir.path())
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) && !is_refused(&output.stderr) => output,
        Ok(output) => {
            println!("skipped: cannot mount: {}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        Err(cause) => {
            println!("skipped: cannot run unshare: {cause}");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("went on"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn is_refused(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).contains("unshare: unshare failed")
}

/// Fills what is left of the disk.
fn fill(path: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [65_536, 4_096, 512] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

#[tokio::test]
async fn inside() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(std::path::PathBuf::from) else {
        return;
    };
    let spool = Spool::open(directory.join("spool.db"), QUOTA).await.unwrap();
    spool
        .record(&chain(), vec![seen("before", 1, &["one"])], progress(1, 256))
        .await
        .unwrap();
    let filler = directory.join("filler");
    fill(&filler);

    // What is already allocated may take a few of them.
    let recording = tokio::spawn({
        let spool = spool.clone();
        async move {
            for height in 2..=40 {
                let large = format!("{height} {}", "x".repeat(20_000));
                spool
                    .record(&chain(), vec![seen(&large, height, &["one"])], progress(height, 256))
                    .await
                    .unwrap();
            }
        }
    });
    let mut polls = tokio::time::interval(Duration::from_millis(5));
    while spool.waiting_for_disk() == 0 {
        assert!(!recording.is_finished(), "the disk was not full");
        polls.tick().await;
    }
    let stopped_at = spool.position(&chain()).await.unwrap().unwrap();
    assert!(stopped_at.height < 40);
    let (service_id, workflow_id) = route("one");
    let trigger = wavs_types::Trigger::Manual;
    let config = TriggerConfig {
        service_id,
        workflow_id,
        trigger,
    };
    let request = Inject {
        id: 9,
        config: Json::encode(&config).unwrap(),
        data: vec![Json::encode(&TriggerData::Raw(vec![1; 100_000])).unwrap()],
        count: 40,
    };
    assert_eq!(spool.inject(request.clone()).await.unwrap_err().code, ErrorCode::Busy);
    let readable = spool.pull(SpoolCursor::default(), 1_000, Duration::ZERO).await.unwrap();
    assert_eq!(readable.items.len() as u64, stopped_at.height);

    std::fs::remove_file(&filler).unwrap();
    recording.await.unwrap();
    assert_eq!(spool.waiting_for_disk(), 0);
    let all = spool.pull(SpoolCursor::default(), 1_000, Duration::ZERO).await.unwrap();
    assert_eq!(all.items.len(), 40);
    let check: String = spool
        .database
        .reader()
        .read(|connection| Ok::<_, SpoolError>(connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(check, "ok");
    println!("went on");
}
