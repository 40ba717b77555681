//! What needs secrets: aggregator-svc is started for it alone, with its part of the configuration over an inherited descriptor as in
//! a real start, and answers its findings on stdout. No key ever exists in this process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;
use wavs_service::check::Finding;
use wavs_service::config::{AggregatorConfig, NodeConfig};
use wavs_service::sandbox::{Jail, Limits};
use wavs_service::{Handover, ProcessName, handover};

use crate::command_line::JAIL;
use crate::programs;

/// Longest wait; each look inside has a shorter one of its own.
const PATIENCE: Duration = Duration::from_secs(60);

/// What there are no findings about when aggregator-svc cannot be asked.
pub(super) const SUBJECT: &str = "keys and chains";

/// Its findings, or one that says why there are none.
pub(super) async fn look(node: &NodeConfig) -> Vec<Finding> {
    match ask(node).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::failed(SUBJECT, format!("cannot be looked at: {error:#}"))],
    }
}

async fn ask(node: &NodeConfig) -> anyhow::Result<Vec<Finding>> {
    let shim = std::env::current_exe().context("cannot find the path of this program")?;
    let path = std::env::var_os("PATH");
    let program = programs::find(ProcessName::Aggregator.binary(), shim.parent(), path.as_deref())?;
    let jail = Jail {
        program,
        arguments: vec!["check".into()],
        limits: Limits::default(),
        cgroup: None,
    };
    let config = Handover::<AggregatorConfig>::of(node).to_descriptor()?;
    let mut command = jail.command(&shim, JAIL, vec![(handover::DESCRIPTOR.to_owned(), config)]);
    command
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, child)
        .await
        .with_context(|| format!("wavs-aggregator check did not end in {} s", PATIENCE.as_secs()))?
        .context("cannot run wavs-aggregator check")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "wavs-aggregator check ended with {}: {}",
        output.status,
        said.trim()
    );
    serde_json::from_slice(&output.stdout)
        .context("wavs-aggregator check answered something else; are all programs of one release?")
}
