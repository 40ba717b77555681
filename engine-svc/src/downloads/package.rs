//! One package of a registry, read by a worker.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use wavs_fetch::{FetchError, FetchLimits, Fetcher, Proxy};
use wavs_types::ComponentDigest;

use super::WORKER;
use super::process::keep_environment;
use super::sink::Sink;
use crate::helper::MAX_TEXT;
use crate::settings::OWN_PROGRAM;

/// Bytes that are handed on at a time.
const CHUNK: usize = 64 << 10;

/// A package whose content has a digest.
pub(super) struct Package<'a> {
    pub(super) registry: &'a str,
    pub(super) name: &'a str,
    pub(super) digest: &'a ComponentDigest,
    /// The package as errors name it.
    pub(super) uri: String,
}

impl Package<'_> {
    /// Downloads it into `sink`.
    ///
    /// # Errors
    /// Any [`FetchError`]; the sink is incomplete then.
    pub(super) async fn fetch(
        &self,
        fetcher: &Fetcher,
        limits: FetchLimits,
        sink: &mut Sink,
    ) -> Result<(), FetchError> {
        let proxy = Proxy::start(fetcher.clone(), self.uri.clone())
            .await
            .map_err(|cause| self.failed(format!("no proxy can be started: {cause}")))?;
        let read = async {
            let mut worker = self.spawn(&proxy)?;
            if let Some(content) = worker.stdout.take() {
                self.copy(content, limits, sink).await?;
            }
            self.judge(worker).await
        };
        let result = timeout(limits.total, read).await.unwrap_or_else(|_| {
            Err(FetchError::TimedOut {
                uri: self.uri.clone(),
                limit: limits.total,
            })
        });
        // What the library makes of a refusal says less than the refusal.
        result.map_err(|cause| proxy.refusal().unwrap_or(cause))
    }

    fn spawn(&self, proxy: &Proxy) -> Result<Child, FetchError> {
        let (port, url) = (proxy.port(), proxy.url());
        let (port, digest) = (port.to_string(), self.digest.to_string());
        let mut command = std::process::Command::new(OWN_PROGRAM);
        keep_environment(&mut command);
        command
            .args([WORKER, &port, self.registry, self.name, &digest])
            .envs([("HTTP_PROXY", &url), ("HTTPS_PROXY", &url)])
            .current_dir(Path::new("/"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| self.failed(format!("no download worker can be started: {cause}")))
    }

    async fn copy(
        &self,
        mut content: impl AsyncRead + Unpin,
        limits: FetchLimits,
        sink: &mut Sink,
    ) -> Result<(), FetchError> {
        let mut received = 0_u64;
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = timeout(limits.stall, content.read(&mut chunk)).await;
            let length = match read {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(length)) => length,
                Ok(Err(cause)) => return Err(self.failed(format!("its download worker cannot be read: {cause}"))),
                Err(_) => return Err(self.failed(format!("no byte came for {:?}", limits.stall))),
            };
            received += length as u64;
            if received > limits.max_bytes {
                return Err(FetchError::TooLarge {
                    uri: self.uri.clone(),
                    limit: limits.max_bytes,
                });
            }
            let written = sink.write_all(&chunk[..length]).await;
            written.map_err(|cause| FetchError::Sink {
                uri: self.uri.clone(),
                cause,
            })?;
        }
    }

    /// What the end of the worker says.
    async fn judge(&self, mut worker: Child) -> Result<(), FetchError> {
        let reason = match worker.stderr.take() {
            Some(stderr) => reason(stderr).await,
            None => String::new(),
        };
        match worker.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(_) if !reason.is_empty() => Err(self.failed(reason)),
            Ok(status) => Err(self.failed(format!("its download worker ended with {status}"))),
            Err(cause) => Err(self.failed(format!("its download worker is lost: {cause}"))),
        }
    }

    fn failed(&self, cause: String) -> FetchError {
        FetchError::Registry {
            uri: self.uri.clone(),
            cause,
        }
    }
}

async fn reason(stderr: ChildStderr) -> String {
    let mut text = Vec::new();
    // What does not come in time, or at all, is no reason.
    let mut stderr = stderr.take(MAX_TEXT as u64);
    let _ = timeout(Duration::from_secs(1), stderr.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).trim().to_owned()
}
