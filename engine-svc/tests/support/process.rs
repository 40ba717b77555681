//! engine-svc as a process, called over its sockets as the supervisor and aggregator-svc do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use wavs_ipc::contract::engine::{
    AggregatorCall, AggregatorJob, AggregatorOutcome, EngineClient, OperatorJob, OperatorOutcome, Prefetch, World,
};
use wavs_ipc::contract::engine_admin::EngineAdminClient;
use wavs_ipc::contract::lifecycle::LifecycleClient;
use wavs_ipc::{Identity, Json, Reconnecting, Role, WireError};
use wavs_service::ProcessName;
use wavs_types::ComponentDigest;

use super::{Job, PATIENCE};

/// Slots for each guest thread of the default configuration, and the least of them.
const SLOTS_PER_WORKER: usize = 8;

/// How the process is started.
#[derive(Default)]
pub struct Launch {
    /// Configuration by environment variables.
    pub variables: Vec<(&'static str, String)>,
    /// A file that the process sees in place of `/etc/resolv.conf`; takes root.
    pub resolver: Option<PathBuf>,
    /// Files that it may have open.
    pub descriptors: Option<u32>,
}

/// A running engine-svc.
pub struct Engine {
    directory: TempDir,
    launch: Launch,
    child: Child,
    admin: Reconnecting<EngineAdminClient>,
    engine: Reconnecting<EngineClient>,
}

impl Engine {
    /// Starts it with the default configuration.
    pub async fn start() -> Self {
        Self::launch(Launch::default()).await
    }

    /// Starts it in a directory of its own and waits until it answers.
    pub async fn launch(launch: Launch) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("run/uploads")).expect("the upload directory");
        let ctl = ProcessName::Engine.ctl_socket(directory.path());
        let rpc = ProcessName::Engine.rpc_socket(directory.path());
        let engine = Self {
            child: spawn(directory.path(), &launch),
            launch,
            admin: Reconnecting::new(&ctl, Identity::new(Role::Supervisor)),
            engine: Reconnecting::new(&rpc, Identity::new(Role::Aggregator)),
            directory,
        };
        engine.ready().await;
        engine
    }

    /// Kills it and starts it again.
    pub fn restart(&mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("its end");
        self.child = spawn(self.directory.path(), &self.launch);
    }

    /// Ends it.
    pub fn stop(mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("its end");
    }

    /// Uploads and compiles a component.
    pub async fn upload(&self, bytes: &[u8]) -> ComponentDigest {
        self.try_upload(bytes).await.expect("a stored component")
    }

    /// Uploads a component, which may be refused.
    pub async fn try_upload(&self, bytes: &[u8]) -> Result<ComponentDigest, WireError> {
        // Named after its content, so that uploads may overlap.
        let name = ComponentDigest::of(bytes).to_string();
        fs::write(self.directory.path().join("run/uploads").join(&name), bytes).expect("an upload");
        let stored = self.admin.call(PATIENCE, |client, context| async move {
            client.store_component(context, name).await
        });
        stored.await.map(|stored| stored.digest)
    }

    /// Has a component ready.
    pub async fn prefetch(&self, digest: ComponentDigest) {
        let request = Prefetch {
            source: Json::from_text(json!({"digest": digest.to_string()}).to_string()),
            world: World::Operator,
            metered: false,
            deterministic: false,
        };
        let ready = self.engine.call(PATIENCE, |client, context| async move {
            client.prefetch(context, request).await
        });
        ready.await.expect("a component");
    }

    /// Runs a job, which must return.
    pub async fn run(&self, job: &Job) {
        self.try_run(job).await.expect("a run").result.expect("a result");
    }

    /// Runs a job.
    pub async fn try_run(&self, job: &Job) -> Result<OperatorOutcome, WireError> {
        // A process that was just started has no socket yet; then the call had no effect.
        loop {
            match self.outcome(job).await {
                Err(cause) if cause.code == wavs_ipc::ErrorCode::Transport => tokio::task::yield_now().await,
                outcome => return outcome,
            }
        }
    }

    /// Runs a job once. A process that has died makes this fail instead of waiting for another one.
    pub async fn outcome(&self, job: &Job) -> Result<OperatorOutcome, WireError> {
        self.submit(job.operator()).await
    }

    /// Runs a job as it goes over the socket, once.
    pub async fn submit(&self, job: OperatorJob) -> Result<OperatorOutcome, WireError> {
        let called = self.engine.call(PATIENCE, |client, context| async move {
            client.run_operator(context, job).await
        });
        called.await
    }

    /// Runs an export of the aggregator component once.
    pub async fn aggregate(&self, job: &Job, call: AggregatorCall) -> Result<AggregatorOutcome, WireError> {
        self.submit_aggregator(job.aggregator(call)).await
    }

    /// Runs an export of an aggregator component as it goes over the socket, once.
    pub async fn submit_aggregator(&self, job: AggregatorJob) -> Result<AggregatorOutcome, WireError> {
        let called = self.engine.call(PATIENCE, |client, context| async move {
            client.run_aggregator(context, job).await
        });
        called.await
    }

    /// The number of the process while it is the one that was started first; absent when it has ended.
    pub fn pid(&mut self) -> Option<u32> {
        let ended = self.child.try_wait().expect("its state");
        ended.is_none().then(|| self.child.id())
    }

    /// Guests that it runs at a time.
    pub fn slots(&self) -> usize {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        (workers * SLOTS_PER_WORKER).max(16)
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = pss.and_then(|pss| pss.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    }

    /// The most resident memory that it ever had, in bytes.
    pub fn peak_resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).expect("its status");
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("a peak") * 1024
    }

    async fn ready(&self) {
        let ctl = ProcessName::Engine.ctl_socket(self.directory.path());
        let control = Reconnecting::<LifecycleClient>::new(&ctl, Identity::new(Role::Supervisor));
        let status = async {
            while control
                .call(Duration::from_secs(1), |client, context| async move {
                    client.status(context).await
                })
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, status)
            .await
            .expect("engine-svc answers");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn spawn(directory: &Path, launch: &Launch) -> Child {
    let program = env!("CARGO_BIN_EXE_wavs-engine");
    let mut command = match (&launch.resolver, launch.descriptors) {
        (None, None) => Command::new(program),
        (None, Some(count)) => {
            let mut command = Command::new("sh");
            let steps = "ulimit -n \"$1\" && exec \"$2\"";
            command.args(["-c", steps, "sh", &count.to_string(), program]);
            command
        }
        (Some(file), _) => {
            let mut command = Command::new("unshare");
            let steps = "mount --bind \"$1\" /etc/resolv.conf && exec \"$2\"";
            command
                .args(["--mount", "sh", "-c", steps, "sh"])
                .arg(file)
                .arg(program);
            command
        }
    };
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("WAVS_DATA", directory)
        .env("WAVS_LOG_LEVEL", "error")
        .envs(launch.variables.iter().map(|(name, value)| (name, value)))
        .stderr(Stdio::inherit())
        .spawn()
        .expect("engine-svc")
}
