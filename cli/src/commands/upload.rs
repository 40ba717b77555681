//! `upload-component`: a wasm file into the node's store, over its dev endpoint.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::session::Session;

/// Largest file that is sent in bytes; nodes take 15 MiB by default, and an operator may allow more.
const MAX_UPLOAD: u64 = 1 << 30;

/// `upload-component PATH`
#[derive(Debug, Args)]
#[command(after_help = "\
The node must run with dev_endpoints_enabled. Uploading the same file again is harmless.

Example:
  wavs-cli upload-component target/gas.wasm")]
pub(crate) struct UploadArgs {
    /// The wasm file of the component
    path: PathBuf,
}

impl UploadArgs {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let failed = |cause: String| Failure::failed("file", format!("cannot read {}: {cause}", self.path.display()));
        let size = std::fs::metadata(&self.path)
            .map_err(|cause| failed(cause.to_string()))?
            .len();
        if size > MAX_UPLOAD {
            return Err(failed(format!("it has {size} bytes, the limit is {MAX_UPLOAD}")));
        }
        let wasm = std::fs::read(&self.path).map_err(|cause| failed(cause.to_string()))?;
        let answer = session
            .node()?
            .post_bytes(&["dev", "components"], "application/wasm", wasm)
            .await?
            .json()?;
        let digest = answer.get("digest").and_then(Value::as_str).ok_or_else(|| {
            Failure::failed(
                "unexpected-answer",
                "the node answered without a digest; is --wavs-endpoint right?",
            )
        })?;
        session.result(&json!({"digest": digest}), |_| format!("Digest:\n{digest}"))
    }
}
