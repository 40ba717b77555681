//! What an operator does to a running node: restart one process, load a new configuration.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::anvil::{Anvil, MNEMONIC};
use e2e::node::{Node, NodeConfig};
use e2e::tools::binary;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

const PROCESSES: [&str; 4] = ["trigger-svc", "engine-svc", "aggregator-svc", "p2p-svc"];

/// A POST over the admin socket.
async fn admin(node: &Node, path: &str) -> Result<Value> {
    let mut stream = UnixStream::connect(node.dir().join("data/run/admin.sock")).await?;
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    let request = format!("{head}connection: close\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 20"), "{answer}");
    Ok(serde_json::from_str(body)?)
}

async fn pids(node: &Node) -> Result<Vec<nix::unistd::Pid>> {
    let mut pids = Vec::new();
    for name in PROCESSES {
        pids.push(node.pid(name).await?);
    }
    Ok(pids)
}

/// Waits until exactly the processes of `expected` are others than `before`, and all run.
async fn replaced(node: &Node, before: &[nix::unistd::Pid], expected: &[&str]) -> Result<()> {
    let old: Vec<_> = before.iter().map(|pid| pid.as_raw()).collect();
    let answer = node
        .wait_for("/v1/processes", PATIENCE, |answer| {
            let rows = answer["items"].as_array().cloned().unwrap_or_default();
            let is_new = |row: &Value| {
                row["pid"]
                    .as_i64()
                    .is_some_and(|pid| !old.iter().any(|one| i64::from(*one) == pid))
            };
            rows.len() == 5
                && rows.iter().all(|row| row["state"] == "running")
                && expected
                    .iter()
                    .all(|name| rows.iter().any(|row| row["name"] == *name && is_new(row)))
        })
        .await?;
    let after = pids(node).await?;
    let changed: Vec<_> = (0..PROCESSES.len())
        .filter(|index| before[*index] != after[*index])
        .map(|index| PROCESSES[index])
        .collect();
    ensure!(changed == expected, "{changed:?} instead of {expected:?}: {answer}");
    Ok(())
}

fn edit(node: &Node, from: &str, to: &str) -> Result<()> {
    let path = node.dir().join("wavs.toml");
    let text = std::fs::read_to_string(&path)?;
    ensure!(text.contains(from), "{from} is not in {text}");
    std::fs::write(path, text.replace(from, to))?;
    Ok(())
}

#[tokio::test]
async fn one_process_is_restarted_and_the_others_do_not_notice() -> Result<()> {
    let node = Node::start(&NodeConfig::for_chains(&[])).await?;
    let before = pids(&node).await?;
    admin(&node, "/v1/processes/engine-svc/restart").await?;
    replaced(&node, &before, &["engine-svc"]).await?;
    let row = node.get("/v1/processes/engine-svc").await?;
    ensure!(
        row["last_exit"]["cause"] == "restart" && row["last_exit"]["code"] == 0,
        "{row}"
    );
    ensure!(
        row["sandbox"]
            .as_array()
            .is_some_and(|all| all.contains(&json!("no_new_privs"))),
        "{row}"
    );
    Ok(())
}

#[tokio::test]
async fn a_reload_takes_over_what_can_change_and_names_the_rest() -> Result<()> {
    let node = Node::start(&NodeConfig::for_chains(&[])).await?;
    let before = pids(&node).await?;

    // A new token is the API's alone: no process is touched.
    edit(
        &node,
        "[wavs]\n",
        "[wavs]\nbearer_token = \"one\"\nhttp.max_concurrent = 9\n",
    )?;
    let report = admin(&node, "/v1/config/reload").await?;
    let expected = json!({"applied": ["bearer_token"], "needs_restart": ["http.max_concurrent"], "errors": []});
    ensure!(report == expected, "{report}");
    ensure!(pids(&node).await? == before, "a process was touched");
    let body = json!({"service_managers": []});
    let (status, problem) = node.refused(Method::DELETE, "/services", Some(&body)).await?;
    ensure!(status == 401, "the token is not asked for: {problem}");

    // A level is told to the processes, and the engine's own limit is its alone.
    edit(
        &node,
        "[wavs]\n",
        "[wavs]\nlog_level = [\"debug\"]\nengine.queue_per_service = 3\n",
    )?;
    let report = admin(&node, "/v1/config/reload").await?;
    let expected = json!(["engine.queue_per_service", "log_level"]);
    ensure!(report["applied"] == expected, "{report}");
    replaced(&node, &before, &["engine-svc"]).await?;
    ensure!(node.log().contains("the log level was changed"), "{}", node.log());

    // A mistake is refused as a whole.
    let before = pids(&node).await?;
    edit(
        &node,
        "[wavs]\n",
        "[wavs]\nmax_wasm_fuel = \"much\"\naggregator.collect_ttl_secs = 5\n",
    )?;
    let report = admin(&node, "/v1/config/reload").await?;
    let refused = report["errors"][0]
        .as_str()
        .is_some_and(|error| error.contains("max_wasm_fuel"));
    ensure!(refused && report["applied"] == json!([]), "{report}");
    ensure!(pids(&node).await? == before, "a process was touched");
    Ok(())
}

/// Runs `wavs check --json` with a configuration; the exit code and the findings.
async fn check(dir: &std::path::Path, toml: &str) -> Result<(Option<i32>, Vec<Value>)> {
    std::fs::write(dir.join("wavs.toml"), toml)?;
    let output = tokio::process::Command::new(binary("wavs")?)
        .args(["check", "--json", "--home"])
        .arg(dir)
        .arg("--data")
        .arg(dir.join("data"))
        .current_dir(dir)
        .env_clear()
        .output()
        .await?;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let findings = said["findings"].as_array().cloned().unwrap_or_default();
    Ok((output.status.code(), findings))
}

fn verdict<'a>(findings: &'a [Value], subject: &str) -> &'a str {
    let finding = findings.iter().find(|finding| {
        let name = finding["subject"].as_str().unwrap_or_default();
        name.starts_with(subject)
    });
    finding
        .and_then(|finding| finding["verdict"].as_str())
        .unwrap_or("missing")
}

#[tokio::test]
async fn a_check_tells_what_would_keep_the_node_from_its_work() -> Result<()> {
    let chain = Anvil::start().await?;
    let dir = tempfile::tempdir()?;
    let chains = NodeConfig::for_chains(&[&chain]).toml;
    let keys = format!("signing_mnemonic = {MNEMONIC:?}\naggregator_evm_credential = {MNEMONIC:?}\n");

    let good = format!("[wavs]\n{keys}{chains}");
    let (code, findings) = check(dir.path(), &good).await?;
    ensure!(code == Some(0), "{findings:#?}");
    for subject in [
        "configuration",
        "data directory",
        "wavs-engine",
        "signing key",
        "chain evm:",
        "clock",
        "balance",
        "node",
    ] {
        ensure!(verdict(&findings, subject) == "good", "{subject}: {findings:#?}");
    }
    ensure!(!format!("{findings:?}").contains(MNEMONIC), "the phrase is shown");

    let id = chain.chain_key().replace("evm:", "");
    let wrong = good.replace(&format!("evm.{id}]"), "evm.424242]");
    let (code, findings) = check(dir.path(), &wrong).await?;
    ensure!(code == Some(1), "{findings:#?}");
    ensure!(verdict(&findings, "chain evm:424242") == "failed", "{findings:#?}");

    let keyless = format!("[wavs]\n{chains}");
    let (code, findings) = check(dir.path(), &keyless).await?;
    ensure!(code == Some(0), "{findings:#?}");
    ensure!(verdict(&findings, "signing key") == "warning", "{findings:#?}");

    let (code, _) = check(dir.path(), "[wavs]\nport = \"x\"\n").await?;
    ensure!(code == Some(78), "{code:?}");
    Ok(())
}
