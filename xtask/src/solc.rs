//! The Solidity compiler, from npm: the one package that brings it to every platform without a download of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// Pinned, because another version makes other bytes.
pub(crate) const VERSION: &str = "0.8.30";

/// An installed compiler.
#[derive(Debug)]
pub(crate) struct Solc {
    script: PathBuf,
}

impl Solc {
    /// The compiler under a directory of tools, where it is installed if it is missing.
    pub(crate) fn install(tools: &Path) -> anyhow::Result<Self> {
        let prefix = tools.join(format!("solc-{VERSION}"));
        let script = prefix.join("node_modules/solc/solc.js");
        if !script.is_file() {
            std::fs::create_dir_all(&prefix).with_context(|| format!("cannot create {}", prefix.display()))?;
            let status = Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
                .arg(&prefix)
                .arg(format!("solc@{VERSION}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()
                .context("cannot run npm; install Node.js")?;
            ensure!(
                status.success() && script.is_file(),
                "`npm install solc@{VERSION}` failed with {status}"
            );
        }
        Ok(Self { script })
    }

    /// Compile a document of the compiler's standard JSON input.
    pub(crate) fn compile(&self, input: &Value) -> anyhow::Result<Value> {
        let mut child = Command::new("node")
            .arg(&self.script)
            .arg("--standard-json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run node; install Node.js")?;
        // The compiler reads its whole input before it writes, so this cannot block for good.
        let mut stdin = child.stdin.take().context("the compiler has no input")?;
        stdin
            .write_all(input.to_string().as_bytes())
            .context("cannot write to the compiler")?;
        drop(stdin);
        let output = child.wait_with_output().context("cannot read from the compiler")?;
        // A line about SMT support may come before the document.
        let text = String::from_utf8_lossy(&output.stdout);
        let json = text.find('{').map(|start| &text[start..]).unwrap_or_default();
        let result: Value = serde_json::from_str(json)
            .with_context(|| format!("the compiler ended with {} and without a result", output.status))?;
        let complaints: Vec<&str> = result["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|error| error["formattedMessage"].as_str())
            .collect();
        if !complaints.is_empty() {
            bail!("the contracts do not compile cleanly:\n{}", complaints.join("\n"));
        }
        Ok(result)
    }
}
