//! A node in a directory of its own, and jobs for it.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses a part of this"
)]

pub mod attacks;
pub mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use wavs_engine::{Helpers, Node, Settings};
use wavs_ipc::contract::engine::{
    AggregatorCall, AggregatorJob, AggregatorOutcome, Engine, OperatorJob, OperatorOutcome, Prefetch, RunContext, World,
};
use wavs_ipc::contract::engine_admin::EngineAdmin;
use wavs_ipc::contract::job::{GuestError, Response, RunId, RunMode};
use wavs_ipc::tarpc::context;
use wavs_ipc::{Json, WireError};
use wavs_types::{
    ChainConfig, ChainKey, ComponentDigest, EventId, Service, ServiceDigest, ServiceId, TriggerAction, WorkflowId,
};

pub const WORKFLOW: &str = "default";

/// A node and its state directory.
pub struct Fixture {
    pub directory: TempDir,
    pub node: Node,
    pub metrics: wavs_service::Metrics,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::reopen(tempfile::tempdir().unwrap(), change)
    }

    /// A node over the state of an earlier one.
    pub fn reopen(directory: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let uploads = directory.path().join("run/uploads");
        fs::create_dir_all(&uploads).unwrap();
        let mut settings = Settings::new(directory.path().join("engine"), uploads).unwrap();
        settings.workers = 2;
        settings.program = env!("CARGO_BIN_EXE_wavs-engine").into();
        change(&mut settings);
        let helpers = Helpers::spawn(&settings).unwrap();
        let metrics = wavs_service::Metrics::new();
        let node = Node::open(settings, helpers, &metrics).unwrap();
        Self {
            directory,
            node,
            metrics,
        }
    }

    /// Ends the node as a kill does, and opens another one over its state.
    pub fn restart(self) -> Self {
        let Self { directory, node, .. } = self;
        drop(node);
        Self::reopen(directory, |_| {})
    }

    /// The value of a sample in the metrics; 0 when there is none.
    pub fn sample(&self, name: &str) -> f64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Uploads a guest of the examples and returns its digest.
    pub async fn guest(&self, name: &str) -> ComponentDigest {
        self.upload(&guest_bytes(name)).await.unwrap()
    }

    pub async fn upload(&self, bytes: &[u8]) -> Result<ComponentDigest, WireError> {
        fs::write(self.directory.path().join("run/uploads/file"), bytes).unwrap();
        self.node
            .clone()
            .store_component(context::current(), "file".into())
            .await
            .map(|stored| stored.digest)
    }

    pub async fn prefetch(&self, source: Value, world: World) -> Result<(), WireError> {
        let source = Json::from_text(source.to_string());
        self.node
            .clone()
            .prefetch(
                context::current(),
                Prefetch {
                    source,
                    world,
                    metered: false,
                    deterministic: false,
                },
            )
            .await
    }

    pub async fn run(&self, job: &Job) -> Result<OperatorOutcome, WireError> {
        self.node.clone().run_operator(context::current(), job.operator()).await
    }

    /// The payload of the only response.
    pub async fn payload(&self, job: &Job) -> Vec<u8> {
        let responses = self.run(job).await.unwrap().result.unwrap();
        assert_eq!(responses.len(), 1, "{responses:?}");
        responses[0].payload.clone()
    }

    pub async fn text(&self, job: &Job) -> String {
        String::from_utf8(self.payload(job).await).unwrap()
    }

    pub async fn failure(&self, job: &Job) -> GuestError {
        self.run(job).await.unwrap().result.unwrap_err()
    }

    pub async fn aggregate(&self, job: &Job, call: AggregatorCall) -> Result<AggregatorOutcome, WireError> {
        self.node
            .clone()
            .run_aggregator(context::current(), job.aggregator(call))
            .await
    }

    pub async fn log_lines(&self, job: &Job) -> Vec<(String, String)> {
        let lines = self
            .node
            .clone()
            .guest_logs(context::current(), job.service_id(), 0, 1000)
            .await
            .unwrap();
        lines.into_iter().map(|line| (line.stream, line.line)).collect()
    }
}

pub fn guest_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/components/prebuilt/{name}.wasm"))
}

pub fn guest_bytes(name: &str) -> Vec<u8> {
    let path = guest_path(name);
    fs::read(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// A job for the operator component, or for the aggregator component of the same document.
#[derive(Clone)]
pub struct Job {
    pub component: Value,
    pub aggregator: Value,
    pub trigger: Value,
    pub data: Value,
    pub chains: Vec<(&'static str, Value)>,
    pub env: Vec<(String, String)>,
    pub manager: String,
    pub run: RunId,
    pub mode: RunMode,
}

impl Job {
    pub fn new(digest: ComponentDigest, input: &str) -> Self {
        let component = json!({
            "source": {"digest": digest.to_string()}, "permissions": {}, "config": {}, "env_keys": []
        });
        Self {
            aggregator: component.clone(),
            component,
            trigger: json!("manual"),
            data: json!({"Raw": input.as_bytes()}),
            chains: Vec::new(),
            env: Vec::new(),
            manager: "0x1111111111111111111111111111111111111111".into(),
            run: RunId { job: 7, attempt: 1 },
            mode: RunMode::default(),
        }
    }

    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.component["config"][key] = json!(value);
        self.aggregator["config"][key] = json!(value);
        self
    }

    pub fn permissions(mut self, permissions: Value) -> Self {
        self.component["permissions"] = permissions;
        self
    }

    pub fn limit(mut self, key: &str, value: u64) -> Self {
        self.component[key] = json!(value);
        self.aggregator[key] = json!(value);
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.component["env_keys"].as_array_mut().unwrap().push(json!(key));
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn chain(mut self, key: &'static str, config: Value) -> Self {
        self.chains.push((key, config));
        self
    }

    pub fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// The same job for another service.
    pub fn service(mut self, n: u8) -> Self {
        self.manager = format!("0x{}", hex::encode([n; 20]));
        self
    }

    /// The same job as an attempt at another one of the ledger.
    pub fn run(mut self, job: u128, attempt: u32) -> Self {
        self.run = RunId { job, attempt };
        self
    }

    pub fn deterministic(mut self) -> Self {
        self.mode.deterministic = true;
        self
    }

    pub fn transactional(mut self) -> Self {
        self.mode.transactional = true;
        self
    }

    fn document(&self) -> Value {
        json!({
            "name": "test", "status": "active",
            "manager": {"evm": {"chain": "evm:31337", "address": self.manager}},
            "workflows": {WORKFLOW: {
                "trigger": self.trigger,
                "component": self.component,
                "submit": {"aggregator": {"component": self.aggregator, "signature_kind": {"algorithm": "secp256k1", "prefix": "eip191"}}}
            }}
        })
    }

    pub fn service_id(&self) -> ServiceId {
        serde_json::from_value::<Service>(self.document()).unwrap().id()
    }

    pub fn workflow_id(&self) -> WorkflowId {
        WORKFLOW.parse().unwrap()
    }

    fn context(&self) -> RunContext {
        let text = self.document().to_string();
        RunContext {
            run: self.run,
            mode: self.mode,
            service_id: self.service_id(),
            service_digest: ServiceDigest::of_canonical(&text),
            service: Json::from_text(text),
            workflow_id: self.workflow_id(),
            chains: self
                .chains
                .iter()
                .map(|(key, config)| {
                    (
                        key.parse::<ChainKey>().unwrap(),
                        Json::<ChainConfig>::from_text(config.to_string()),
                    )
                })
                .collect(),
            env: self.env.clone(),
        }
    }

    fn action(&self) -> Json<TriggerAction> {
        Json::from_text(
            json!({
                "config": {"service_id": self.service_id().to_string(), "workflow_id": WORKFLOW, "trigger": self.trigger},
                "data": self.data,
            })
            .to_string(),
        )
    }

    pub fn operator(&self) -> OperatorJob {
        OperatorJob {
            context: self.context(),
            action: self.action(),
        }
    }

    pub fn aggregator(&self, call: AggregatorCall) -> AggregatorJob {
        AggregatorJob {
            context: self.context(),
            action: self.action(),
            response: Response {
                payload: b"payload".to_vec(),
                ordering: None,
                event_id_salt: None,
            },
            event_id: EventId::new([5; 20]),
            call,
        }
    }
}

/// Enough for anything on a busy machine; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);
