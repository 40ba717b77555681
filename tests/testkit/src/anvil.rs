//! A real EVM chain in a process of its own, with knobs for what chains do to nodes: reorganise, jump ahead, hang, restart.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use alloy::providers::{Provider, ProviderBuilder};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
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

/// What a chain is started with.
#[derive(Debug, Clone)]
pub struct AnvilOptions {
    chain_id: u64,
    mining: Mining,
    port: u16,
    arguments: Vec<String>,
}

impl Default for AnvilOptions {
    /// Chain 31337, which mines at once, on a free port.
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            mining: Mining::Instant,
            port: 0,
            arguments: Vec::new(),
        }
    }
}

impl AnvilOptions {
    /// Sets the chain id.
    #[must_use]
    pub fn chain_id(mut self, chain_id: u64) -> Self {
        self.chain_id = chain_id;
        self
    }

    /// Sets how it mines.
    #[must_use]
    pub fn mining(mut self, mining: Mining) -> Self {
        self.mining = mining;
        self
    }

    /// Sets the port; 0 is any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds arguments of anvil as they are, such as `["--hardfork", "berlin"]`.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Starts the chain.
    ///
    /// # Errors
    /// When anvil cannot be found or does not start, for example because the port is taken.
    pub async fn start(self) -> Result<Anvil> {
        let states = tempfile::Builder::new().prefix("wavs-anvil-").tempdir();
        let states = states.context("cannot make a folder for old states of the chain")?;
        let (child, port) = self.spawn(states.path()).await?;
        Ok(Anvil {
            child,
            options: self.port(port),
            states,
        })
    }

    async fn spawn(&self, states: &Path) -> Result<(Child, u16)> {
        let mut command = orphaned_never(&tools::anvil()?);
        command
            .args(["--host", "127.0.0.1", "--mnemonic", MNEMONIC, "--accounts", "20"])
            .args(["--port", &self.port.to_string()])
            .args(["--chain-id", &self.chain_id.to_string()])
            // By default they go to the home directory, and stay there when anvil is killed.
            .arg("--cache-path")
            .arg(states)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal reaches the foreground group; these end when their owner ends them.
            .process_group(0)
            .kill_on_drop(true);
        match self.mining {
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
        Ok((child, port))
    }
}

/// A command that is killed with this process, whatever ends it; `kill_on_drop` alone misses a test that is killed. Where `setpriv`
/// (util-linux) is missing it is the program itself.
fn orphaned_never(program: &Path) -> Command {
    let known = std::process::Command::new("setpriv")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !known.is_ok_and(|status| status.success()) {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A running chain; it ends when this is dropped.
#[derive(Debug)]
pub struct Anvil {
    child: Child,
    /// With the port that it listens on.
    options: AnvilOptions,
    /// Where anvil puts states of old blocks that it does not hold in memory.
    states: TempDir,
}

impl Anvil {
    /// A chain that is still to be started.
    #[must_use]
    pub fn options() -> AnvilOptions {
        AnvilOptions::default()
    }

    /// Starts a chain with id 31337 that mines at once, on a free port.
    ///
    /// # Errors
    /// When anvil cannot be found or does not start.
    pub async fn start() -> Result<Self> {
        Self::options().start().await
    }

    /// Starts a chain; port 0 means any free one.
    ///
    /// # Errors
    /// When anvil cannot be found or does not start.
    pub async fn start_with(chain_id: u64, mining: Mining, port: u16) -> Result<Self> {
        Self::options()
            .chain_id(chain_id)
            .mining(mining)
            .port(port)
            .start()
            .await
    }

    /// The HTTP endpoint.
    #[must_use]
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The WebSocket endpoint.
    #[must_use]
    pub fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port())
    }

    /// The port of both.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// Its id.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.options.chain_id
    }

    /// The chain key in configurations: `evm:<chain id>`.
    #[must_use]
    pub fn chain_key(&self) -> String {
        format!("evm:{}", self.options.chain_id)
    }

    /// A client without keys and without memory: the chain itself fills in nonces and fees, also after a reorganisation.
    ///
    /// # Errors
    /// When the endpoint is not a URL.
    pub fn provider(&self) -> Result<impl Provider + Clone + use<>> {
        Ok(ProviderBuilder::default().connect_http(self.http().parse()?))
    }

    /// Any request, for what has no knob here.
    ///
    /// # Errors
    /// When the chain does not answer, or refuses.
    pub async fn request(&self, method: &'static str, parameters: Value) -> Result<Value> {
        let answer = self.provider()?.raw_request(method.into(), parameters).await;
        answer.with_context(|| format!("the chain refused {method}"))
    }

    /// Mines an empty block. What is registered in a block counts from the next one on.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn mine(&self) -> Result<()> {
        self.request("evm_mine", json!([])).await.map(drop)
    }

    /// Mines any number of blocks at once.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn mine_many(&self, blocks: u64) -> Result<()> {
        self.request("anvil_mine", json!([format!("0x{blocks:x}")]))
            .await
            .map(drop)
    }

    /// Height of the chain.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn height(&self) -> Result<u64> {
        Ok(self.provider()?.get_block_number().await?)
    }

    /// Replaces the newest `depth` blocks by as many empty ones: their transactions are gone.
    ///
    /// # Errors
    /// When the chain refuses, for example because it has fewer blocks.
    pub async fn reorg(&self, depth: u64) -> Result<()> {
        self.request("anvil_reorg", json!([depth, []])).await.map(drop)
    }

    /// Remembers the present state; the answer goes to [`Self::revert`].
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn snapshot(&self) -> Result<Value> {
        self.request("evm_snapshot", json!([])).await
    }

    /// Goes back to a remembered state: all later blocks are gone.
    ///
    /// # Errors
    /// When the state is not known.
    pub async fn revert(&self, snapshot: &Value) -> Result<()> {
        let reverted = self.request("evm_revert", json!([snapshot])).await?;
        anyhow::ensure!(reverted == json!(true), "the chain knows no snapshot {snapshot}");
        Ok(())
    }

    /// Stops the process without ending it: connections stay open and nobody answers, as on a host that hangs.
    ///
    /// # Errors
    /// When the chain has ended.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen chain go on.
    ///
    /// # Errors
    /// When the chain has ended.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().context("anvil has ended")?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("cannot send {signal} to anvil"))
    }

    /// Ends the chain and starts it again on the same port with the same blocks. Every connection breaks.
    ///
    /// # Errors
    /// When the blocks cannot be taken over or the port was taken meanwhile.
    pub async fn restart(&mut self) -> Result<()> {
        let state = self.request("anvil_dumpState", json!([])).await?;
        self.child.kill().await.context("cannot end anvil")?;
        (self.child, _) = self.options.spawn(self.states.path()).await?;
        self.request("anvil_loadState", json!([state])).await.map(drop)
    }

    /// Ends the chain and waits until it is gone, so that its port is free.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("cannot end anvil")
    }
}
