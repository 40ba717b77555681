//! A full disk: intake stops and says so, nothing is damaged or restarted, and once there is room everything lands.
//!
//! The data directory of the node is a small file system in a mount namespace of its own. That needs root; where it cannot be
//! had the test says so on stderr and passes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::anvil::Anvil;
use e2e::audit::Audit;
use e2e::node::NodeConfig;
use e2e::scenario::Scenario;
use e2e::tools;
use reqwest::Method;
use serde_json::Value;

/// Long enough for a slow machine; a passing test never waits for it.
const LIMIT: Duration = Duration::from_secs(120);
/// Size of the file system in bytes: the node fits, and a little work.
const SIZE: usize = 32 * 1024 * 1024;
/// Events that are emitted while there is room, while there is none, and afterwards.
const EVENTS: u64 = 20;

/// Runs the node with a file system of its own at `$DATA`: `unshare` and `sh` become the node, so its process id stays.
const SCRIPT: &str = r#"#!/bin/sh
exec unshare --mount --propagation private sh -c '
    mkdir -p "DATA" && mount -t tmpfs -o size=SIZE tmpfs "DATA" && exec "PROGRAM" "$@"' sh "$@"
"#;

/// Why the test cannot run here.
fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("a small file system needs root");
    }
    let tried = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "mount",
            "-t",
            "tmpfs",
            "tmpfs",
            "/mnt",
        ])
        .status();
    (!tried.is_ok_and(|status| status.success())).then_some("this machine allows no mount namespaces")
}

/// A program that plays `wavs` and gives it a small disk at `data`.
fn stand_in(dir: &Path, data: &Path) -> Result<PathBuf> {
    let script = SCRIPT
        .replace("DATA", &data.display().to_string())
        .replace("SIZE", &SIZE.to_string())
        .replace("PROGRAM", &tools::binary("wavs")?.display().to_string());
    let binaries = dir.join("binaries");
    std::fs::create_dir(&binaries)?;
    let program = binaries.join("wavs");
    std::fs::write(&program, script)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok(binaries)
}

/// Takes all room that is left, to the last byte.
fn fill(file: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut filler = std::fs::File::create(file)?;
    for size in [1 << 20, 4096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
    Ok(())
}

/// Copies the databases to where SQLite finds them by name; a path through another namespace is none that it can resolve.
fn copy_databases(from: &Path, to: &Path) -> Result<()> {
    for directory in ["trigger", "engine/kv", "aggregator"] {
        std::fs::create_dir_all(to.join(directory))?;
        for entry in std::fs::read_dir(from.join(directory))? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_file() && name.to_string_lossy().contains(".db") {
                std::fs::copy(entry.path(), to.join(directory).join(name))?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_intake_and_nothing_is_lost() -> Result<()> {
    if let Some(missing) = missing() {
        eprintln!("skipped: {missing}");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let chain = Anvil::start().await?;
    let mut config = NodeConfig::for_chains(&[&chain]);
    config.dir = Some(dir.path().join("node"));
    config.binaries = Some(stand_in(dir.path(), &dir.path().join("node/data"))?);
    let scenario = Scenario::start_on(chain, &config, "echo", |component| component).await?;
    let inside = format!("/proc/{}/root", scenario.node.supervisor().context("the node ended")?);
    let data = Path::new(&inside).join(dir.path().join("node/data").strip_prefix("/")?);
    let before = scenario.node.processes().await?;
    let emit = async |count: u64| -> Result<()> {
        for _ in 0..count {
            scenario.contracts.emit(1, b"event").await?;
        }
        Ok(())
    };

    emit(EVENTS).await?;
    fill(&data.join("filler"))?;
    emit(EVENTS).await?;
    // It may also be red for a moment because its chain is not connected yet.
    let not_ready = |ready: &Value| ready["ready"] == false && ready["checks"].to_string().contains("disk");
    until(&scenario, not_ready)
        .await
        .context("the node does not say that its disk is full")?;
    let answers = scenario.node.get("/v1/jobs?limit=1").await?;
    ensure!(answers["items"].is_array(), "{answers:#}");

    std::fs::remove_file(data.join("filler"))?;
    emit(EVENTS).await?;
    let copies = tempfile::tempdir()?;
    let events = 3 * EVENTS;
    let mut looks = tokio::time::interval(Duration::from_millis(500));
    let end = tokio::time::Instant::now() + LIMIT;
    let findings = loop {
        looks.tick().await;
        let copy = copies.path().join("data");
        let _ = std::fs::remove_dir_all(&copy);
        copy_databases(&data, &copy)?;
        let findings = Audit::new(&scenario.contracts, copy, events).all().await;
        if findings
            .as_ref()
            .is_ok_and(|findings| findings.clean() && findings.landed == events)
        {
            break findings?;
        }
        scenario.chain.mine().await?;
        ensure!(
            tokio::time::Instant::now() < end,
            "{findings:#?}\n{}",
            scenario.node.log()
        );
    };
    ensure!(findings.files >= 3, "{findings:#?}");
    until(&scenario, |ready| ready["ready"] == true)
        .await
        .context("the node stays red")?;
    let pids = |rows: &[Value]| rows.iter().map(|row| row["pid"].clone()).collect::<Vec<_>>();
    let after = scenario.node.processes().await?;
    ensure!(
        pids(&after) == pids(&before),
        "a process was restarted: {after:#?}\n{}",
        scenario.node.log()
    );
    Ok(())
}

/// Waits until the answer of `/readyz`, whatever its status, satisfies a condition.
async fn until(scenario: &Scenario, condition: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        looks.tick().await;
        let answer: Value = scenario
            .node
            .request(Method::GET, "/readyz", None)
            .await?
            .json()
            .await?;
        if condition(&answer) {
            return Ok(answer);
        }
        ensure!(tokio::time::Instant::now() < end, "{answer:#}\n{}", scenario.node.log());
    }
}
