//! A real EVM chain in a process of its own.

use std::process::Stdio;
use std::time::Duration;

use alloy::providers::{Provider, ProviderBuilder};
use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::tools;

/// The well-known development phrase whose accounts anvil funds.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// How long anvil may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How the chain mines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// A block per transaction, at once.
    Instant,
    /// A block in every interval.
    Every(Duration),
    /// Only when asked to.
    Manual,
}

/// A running chain; it ends when this is dropped.
#[derive(Debug)]
pub struct Anvil {
    child: Child,
    port: u16,
    chain_id: u64,
}

impl Anvil {
    /// Starts a chain with id 31337 that mines at once, on a free port.
    ///
    /// # Errors
    /// When anvil cannot be found or does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(31_337, Mining::Instant, 0).await
    }

    /// Starts a chain; port 0 means any free one.
    ///
    /// # Errors
    /// When anvil cannot be found or does not start.
    pub async fn start_with(chain_id: u64, mining: Mining, port: u16) -> Result<Self> {
        let mut command = Command::new(tools::anvil()?);
        command
            .args(["--host", "127.0.0.1", "--mnemonic", MNEMONIC, "--accounts", "20"])
            .args(["--port", &port.to_string(), "--chain-id", &chain_id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal reaches the foreground group; these end when their owner ends them.
            .process_group(0)
            .kill_on_drop(true);
        match mining {
            Mining::Instant => {}
            Mining::Every(interval) => {
                command.args(["--block-time", &interval.as_secs_f64().to_string()]);
            }
            Mining::Manual => {
                command.arg("--no-mining");
            }
        }
        let mut child = command.spawn().context("cannot run anvil")?;
        let stdout = child.stdout.take().context("anvil has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(address) = line.trim().strip_prefix("Listening on ") {
                    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
                    return port.with_context(|| format!("anvil listens on {address:?}, which has no port"));
                }
            }
            bail!("anvil ended before it listened; is the port free?")
        };
        let port = tokio::time::timeout(START_LIMIT, listening)
            .await
            .context("anvil did not start in time")??;
        // The pipe must be read on, or anvil blocks once it is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, port, chain_id })
    }

    /// The HTTP endpoint.
    #[must_use]
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The WebSocket endpoint.
    #[must_use]
    pub fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The port of both.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The chain key in configurations: `evm:<chain id>`.
    #[must_use]
    pub fn chain_key(&self) -> String {
        format!("evm:{}", self.chain_id)
    }

    /// A client without keys and without memory: the chain itself fills in nonces and fees, also after a reorganisation.
    ///
    /// # Errors
    /// When the endpoint is not a URL.
    pub fn provider(&self) -> Result<impl Provider + Clone + use<>> {
        Ok(ProviderBuilder::default().connect_http(self.http().parse()?))
    }

    /// Mines an empty block. What is registered in a block counts from the next one on.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn mine(&self) -> Result<()> {
        let mined = self.provider()?.raw_request::<_, String>("evm_mine".into(), ()).await;
        mined.map(drop).context("the chain did not mine a block")
    }

    /// Ends the chain and waits until it is gone, so that its port is free.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("cannot end anvil")
    }
}
