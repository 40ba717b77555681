//! The five processes, on a data directory and a port of their own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::anvil::{Anvil, MNEMONIC};
use crate::tools;

/// How long the node may take until all processes are ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long the node may take to stop after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Further text of `wavs.toml`, appended as it is.
    pub toml: String,
    /// Directory of the binaries; that of the running program when absent.
    pub binaries: Option<PathBuf>,
    /// Keys as `KEY = "value"` lines of the `[wavs]` table.
    pub keys: Vec<(String, String)>,
    /// Directory that outlives the node; a temporary one when absent.
    pub dir: Option<PathBuf>,
}

impl NodeConfig {
    /// A node with development endpoints, the development phrase for both credentials, and the given chains.
    #[must_use]
    pub fn for_chains(chains: &[&Anvil]) -> Self {
        let quoted = |text: &str| format!("{text:?}");
        let keys = [
            ("port", "0".to_owned()),
            ("dev_endpoints_enabled", "true".to_owned()),
            ("signing_mnemonic", quoted(MNEMONIC)),
            ("aggregator_evm_credential", quoted(MNEMONIC)),
        ];
        let keys = keys.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let config = Self {
            toml: String::new(),
            binaries: None,
            keys,
            dir: None,
        };
        chains.iter().fold(config, |config, chain| {
            config.chain(chain.chain_id(), &[chain.ws()], &chain.http(), "")
        })
    }

    /// Adds a chain that is reached by these endpoints, with further keys as TOML lines.
    #[must_use]
    pub fn chain(mut self, id: u64, ws: &[String], http: &str, keys: &str) -> Self {
        self.toml.push_str(&format!(
            "[default.chains.evm.{id}]\nws_endpoints = {ws:?}\nhttp_endpoint = {http:?}\n{keys}\n\n"
        ));
        self
    }

    /// What `wavs.toml` says.
    fn text(&self) -> String {
        let line = |(key, value): &(String, String)| format!("{key} = {value}\n");
        let keys: String = self.keys.iter().map(line).collect();
        format!("[wavs]\n{keys}\n{}", self.toml)
    }

    /// Sets one key of the `[wavs]` table, as TOML text.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value.to_string()));
        self
    }
}

/// A running node; its processes end when this is dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    dir: PathBuf,
    _temporary: Option<TempDir>,
    base: String,
    client: reqwest::Client,
    /// Where this run begins in a log that an earlier one has written to.
    log_start: u64,
}

impl Node {
    /// Starts a node and waits until all its processes are ready.
    ///
    /// # Errors
    /// When a binary is missing or the node does not become ready; the text ends with the node's log.
    pub async fn start(config: &NodeConfig) -> Result<Self> {
        let (dir, temporary) = match &config.dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("wavs-")
                    .tempdir()
                    .context("cannot create a directory")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        std::fs::create_dir_all(&dir).context("cannot create the node's directory")?;
        std::fs::write(dir.join("wavs.toml"), config.text()).context("cannot write wavs.toml")?;
        let binary = match &config.binaries {
            Some(binaries) => binaries.join("wavs"),
            None => tools::binary("wavs")?,
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("node.log"))
            .context("cannot create node.log")?;
        let log_start = log.metadata().context("cannot look at node.log")?.len();
        let child = Command::new(&binary)
            .arg("--home")
            .arg(&dir)
            .arg("--data")
            .arg(dir.join("data"))
            .current_dir(&dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &dir)
            .envs(std::env::vars().filter(|(key, _)| key.starts_with("WAVS_ENV")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share node.log")?)
            .stderr(log)
            // Ctrl-C in a terminal reaches the foreground group; these end when their owner ends them.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let mut node = Self {
            child,
            dir,
            _temporary: temporary,
            base: String::new(),
            client: reqwest::Client::new(),
            log_start,
        };
        match tokio::time::timeout(START_LIMIT, node.wait_until_ready()).await {
            Ok(Ok(())) => Ok(node),
            Ok(Err(error)) => Err(error.context(format!("the node's log:\n{}", node.log()))),
            Err(_) => bail!("the node was not ready after {START_LIMIT:?}; its log:\n{}", node.log()),
        }
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let mut polls = tokio::time::interval(Duration::from_millis(10));
        while self.base.is_empty() {
            polls.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("the node ended with {status}");
            }
            self.base = address_in(&self.log()).unwrap_or_default();
        }
        loop {
            polls.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("the node ended with {status}");
            }
            if self
                .processes()
                .await
                .is_ok_and(|all| all.len() == 5 && all.iter().all(|one| one["state"] == "running"))
            {
                return Ok(());
            }
        }
    }

    /// The rows of `GET /v1/processes`.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn processes(&self) -> Result<Vec<Value>> {
        let answer = self.get("/v1/processes").await?;
        let rows = answer
            .get("items")
            .unwrap_or(&answer)
            .as_array()
            .context("/v1/processes is not a list")?;
        Ok(rows.clone())
    }

    /// The process id of one of the five processes.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pid(&self, name: &str) -> Result<Pid> {
        let rows = self.processes().await?;
        let row = rows
            .iter()
            .find(|row| row["name"] == name)
            .with_context(|| format!("{name} is not listed"))?;
        let pid = row["pid"].as_i64().with_context(|| format!("{name} does not run"))?;
        Ok(Pid::from_raw(i32::try_from(pid)?))
    }

    /// Gives the node another configuration, which it takes over by itself.
    ///
    /// # Errors
    /// When the file cannot be written or the node has ended.
    pub fn reconfigure(&self, config: &NodeConfig) -> Result<()> {
        std::fs::write(self.dir.join("wavs.toml"), config.text()).context("cannot write wavs.toml")?;
        let pid = self.child.id().context("the node has ended already")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGHUP).context("cannot signal the node")
    }

    /// Kills one of the five processes with SIGKILL and answers when.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&self, name: &str) -> Result<Instant> {
        let pid = self.pid(name).await?;
        let now = Instant::now();
        kill(pid, Signal::SIGKILL).with_context(|| format!("cannot kill {name}"))?;
        Ok(now)
    }

    /// Kills the supervisor with SIGKILL, and with it all processes, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill_all(mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill the node")
    }

    /// Everything that the node has logged since this start.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.join("node.log")).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or_default().min(log.len());
        String::from_utf8_lossy(&log[start..]).into_owned()
    }

    /// The directory with `wavs.toml`, `node.log` and `data`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The port of the API.
    ///
    /// # Errors
    /// Never for a node that has started.
    pub fn port(&self) -> Result<u16> {
        let port = self.base.rsplit(':').next().unwrap_or_default();
        port.parse().with_context(|| format!("{} has no port", self.base))
    }

    /// Process id of the supervisor.
    #[must_use]
    pub fn supervisor(&self) -> Option<u32> {
        self.child.id()
    }

    /// The URL of a path of the API.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request with an optional JSON body.
    ///
    /// # Errors
    /// When the API cannot be reached.
    pub async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        let mut request = self.client.request(method, self.url(path));
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.with_context(|| format!("{path} did not answer"))
    }

    /// A GET that must succeed, as JSON.
    ///
    /// # Errors
    /// When it does not; the text has the answer.
    pub async fn get(&self, path: &str) -> Result<Value> {
        json_of(path, self.request(Method::GET, path, None).await?).await
    }

    /// A POST that must succeed, as JSON (null for an empty answer).
    ///
    /// # Errors
    /// When it does not; the text has the answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        json_of(path, self.request(Method::POST, path, Some(body)).await?).await
    }

    /// A request that must fail: its status and problem document.
    ///
    /// # Errors
    /// When it succeeds or the answer is not JSON.
    pub async fn refused(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        problem(path, self.request(method, path, body).await?).await
    }

    /// Uploads a component and answers its digest.
    ///
    /// # Errors
    /// When the node refuses it.
    pub async fn upload(&self, wasm: &Path) -> Result<String> {
        let bytes = tokio::fs::read(wasm)
            .await
            .with_context(|| format!("cannot read {}", wasm.display()))?;
        let response = self.upload_bytes(bytes).await?;
        let answer = json_of("/dev/components", response).await?;
        Ok(answer["digest"]
            .as_str()
            .context("the answer has no digest")?
            .to_owned())
    }

    /// Uploads bytes, whatever they are.
    ///
    /// # Errors
    /// When the API cannot be reached.
    pub async fn upload_bytes(&self, bytes: Vec<u8>) -> Result<Response> {
        let request = self.client.post(self.url("/dev/components")).body(bytes);
        request.send().await.context("/dev/components did not answer")
    }

    /// Stores a service document and answers the URL under which the node serves it.
    ///
    /// # Errors
    /// When the node refuses it.
    pub async fn host_document(&self, document: &Value) -> Result<String> {
        let answer = self.post("/dev/services", document).await?;
        let hash = answer["hash"].as_str().context("the answer has no hash")?;
        Ok(self.url(&format!("/dev/services/{hash}")))
    }

    /// Registers the service of an EVM manager.
    ///
    /// # Errors
    /// When the node refuses it.
    pub async fn add_service(&self, chain: &str, manager: impl std::fmt::Display) -> Result<()> {
        self.post("/services", &manager_body(chain, manager)).await.map(drop)
    }

    /// Waits until `condition` holds for the answer of a GET.
    ///
    /// # Errors
    /// When it does not within `limit`; the text has the last answer and the node's log.
    pub async fn wait_for(&self, path: &str, limit: Duration, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut polls = tokio::time::interval(Duration::from_millis(20));
        let deadline = tokio::time::Instant::now() + limit;
        let mut last = Value::Null;
        while tokio::time::Instant::now() < deadline {
            polls.tick().await;
            if let Ok(answer) = self.get(path).await {
                if condition(&answer) {
                    return Ok(answer);
                }
                last = answer;
            }
        }
        bail!(
            "{path} is not as expected after {limit:?}: {last:#}\nthe node's log:\n{}",
            self.log()
        )
    }

    /// Stops the node with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        let pid = self.child.id().context("the node has ended already")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM).context("cannot signal the node")?;
        let ended = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
        ended
            .with_context(|| format!("the node did not stop; its log:\n{}", self.log()))?
            .context("cannot wait for the node")
    }
}

/// The body of `POST /services` and `POST /services/signer`.
#[must_use]
pub fn manager_body(chain: &str, manager: impl std::fmt::Display) -> Value {
    json!({"service_manager": {"evm": {"chain": chain, "address": manager.to_string()}}})
}

/// The status and problem document of an answer that must be a refusal.
///
/// # Errors
/// When it is none, or not JSON.
pub async fn problem(path: &str, response: Response) -> Result<(StatusCode, Value)> {
    let status = response.status();
    if status.is_success() {
        bail!("{path} succeeded with {status}");
    }
    let document = response.json().await;
    Ok((
        status,
        document.with_context(|| format!("{path} answered {status} without JSON"))?,
    ))
}

async fn json_of(path: &str, response: Response) -> Result<Value> {
    let status = response.status();
    let text = response
        .text()
        .await
        .with_context(|| format!("{path} answered {status} and then broke off"))?;
    if !status.is_success() {
        bail!("{path} answered {status}: {text}");
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text)
        .with_context(|| format!("{path} answered {status} with something that is not JSON: {text}"))
}

/// The address in the line with which the node says where it listens.
fn address_in(log: &str) -> Option<String> {
    let start = log.find("http://127.0.0.1:")?;
    let rest = &log[start..];
    let end = rest
        .find(|character: char| !(character.is_ascii_alphanumeric() || ":/.".contains(character)))
        .unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches(['/', '.']).to_owned())
}
