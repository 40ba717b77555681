//! engine-svc as a process, called over its sockets as the supervisor and aggregator-svc do.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use wavs_ipc::contract::engine::{EngineClient, OperatorOutcome, Prefetch, World};
use wavs_ipc::contract::engine_admin::EngineAdminClient;
use wavs_ipc::contract::lifecycle::LifecycleClient;
use wavs_ipc::{Identity, Json, Reconnecting, Role, WireError};
use wavs_service::ProcessName;
use wavs_types::ComponentDigest;

use crate::support::{Job, PATIENCE};

/// Slots for each guest thread of the default configuration, and the least of them.
const SLOTS_PER_WORKER: usize = 8;

/// A running engine-svc.
pub(crate) struct Engine {
    directory: TempDir,
    child: Child,
    admin: Reconnecting<EngineAdminClient>,
    engine: Reconnecting<EngineClient>,
}

impl Engine {
    /// Starts it in a directory of its own and waits until it answers.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("run/uploads")).expect("the upload directory");
        let ctl = ProcessName::Engine.ctl_socket(directory.path());
        let rpc = ProcessName::Engine.rpc_socket(directory.path());
        let engine = Self {
            child: spawn(&directory),
            admin: Reconnecting::new(&ctl, Identity::new(Role::Supervisor)),
            engine: Reconnecting::new(&rpc, Identity::new(Role::Aggregator)),
            directory,
        };
        engine.ready().await;
        engine
    }

    /// Kills it and starts it again.
    pub(crate) fn restart(&mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("its end");
        self.child = spawn(&self.directory);
    }

    /// Ends it.
    pub(crate) fn stop(mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("its end");
    }

    /// Uploads and compiles a component.
    pub(crate) async fn upload(&self, bytes: &[u8]) -> ComponentDigest {
        fs::write(self.directory.path().join("run/uploads/file"), bytes).expect("an upload");
        let stored = self.admin.call(PATIENCE, |client, context| async move {
            client.store_component(context, "file".into()).await
        });
        stored.await.expect("a stored component").digest
    }

    /// Has a component ready.
    pub(crate) async fn prefetch(&self, digest: ComponentDigest) {
        let request = Prefetch {
            source: Json::from_text(json!({"digest": digest.to_string()}).to_string()),
            world: World::Operator,
            metered: false,
        };
        let ready = self.engine.call(PATIENCE, |client, context| async move {
            client.prefetch(context, request).await
        });
        ready.await.expect("a component");
    }

    /// Runs a job, which must return.
    pub(crate) async fn run(&self, job: &Job) {
        self.try_run(job).await.expect("a run").result.expect("a result");
    }

    /// Runs a job.
    pub(crate) async fn try_run(&self, job: &Job) -> Result<OperatorOutcome, WireError> {
        // A process that was just started has no socket yet; then the call had no effect.
        loop {
            let job = job.operator();
            let called = self.engine.call(PATIENCE, |client, context| async move {
                client.run_operator(context, job).await
            });
            match called.await {
                Err(cause) if cause.code == wavs_ipc::ErrorCode::Transport => tokio::task::yield_now().await,
                outcome => return outcome,
            }
        }
    }

    /// Guests that it runs at a time.
    pub(crate) fn slots(&self) -> usize {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        (workers * SLOTS_PER_WORKER).max(16)
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = pss.and_then(|pss| pss.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
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

fn spawn(directory: &TempDir) -> Child {
    Command::new(env!("CARGO_BIN_EXE_wavs-engine"))
        .env_clear()
        .env("WAVS_DATA", directory.path())
        .env("WAVS_LOG_LEVEL", "error")
        .stderr(Stdio::inherit())
        .spawn()
        .expect("engine-svc")
}
