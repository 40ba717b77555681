//! What is measured: one chain, one node of release binaries, and one service whose workflows differ in how far they go.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use e2e::node::{Node, NodeConfig};
use e2e::scenario;
use e2e::service::{self, Component};
use reqwest::Method;
use serde_json::{Value, json};

/// Seconds that an injection may take until the node gives up waiting; the most that it allows.
const INJECTION_SECS: u64 = 600;

/// How far an injected trigger goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The component runs and nothing is submitted.
    Run,
    /// The result is signed, stored, and given to an aggregator component, which submits nothing.
    Sign,
}

impl Depth {
    fn workflow(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Sign => "sign",
        }
    }
}

/// A running node with its chain and its service.
pub(super) struct Bed {
    /// The node; before the chain, so that it ends first.
    pub(super) node: Node,
    /// The contracts.
    pub(super) contracts: Contracts,
    /// The chain.
    pub(super) chain: Anvil,
    /// The service.
    pub(super) service_id: String,
}

/// Processes are killed many times here, each time as if it were the first.
const RESTARTS: &str = "restart_max = 1000000\nrestart_delay_max_ms = 250\n";

/// What a node of release binaries is started with.
pub(super) fn config(chain: &Anvil, binaries: &Path) -> NodeConfig {
    let mut config = NodeConfig::for_chains(&[chain]);
    config.binaries = Some(binaries.to_owned());
    for process in ["trigger", "engine", "aggregator", "p2p"] {
        config.toml.push_str(&format!("[wavs.process.{process}]\n{RESTARTS}\n"));
    }
    config
}

impl Bed {
    /// Registers the service at a node that runs.
    pub(super) async fn new(chain: Anvil, node: Node) -> Result<Self> {
        let contracts = Contracts::deploy(&chain).await?;
        let square = Component::new(&node.upload(&scenario::prebuilt("square")).await?);
        let echo = Component::new(&node.upload(&scenario::prebuilt("echo")).await?);
        let aggregator = node.upload(&scenario::prebuilt("aggregator")).await?;
        let key = chain.chain_key();
        let submit = service::submit_to(&aggregator, &key, contracts.handler);
        let event = service::new_trigger(&key, contracts.trigger);
        let manual = json!("manual");
        let document = service::service(
            &key,
            contracts.manager,
            &[
                ("default", service::workflow(&event, &square, Some(&submit))),
                (Depth::Run.workflow(), service::workflow(&manual, &echo, None)),
                (
                    Depth::Sign.workflow(),
                    service::workflow(&manual, &echo, Some(&submit.config("fault", "none"))),
                ),
            ],
        );
        let uri = node.host_document(&document).await?;
        contracts.set_service_uri(&uri).await?;
        node.add_service(&key, contracts.manager).await?;
        let signer = scenario::signer(&node, &key, contracts.manager).await?;
        contracts.register(signer, 100).await?;
        let services = node.get("/services").await?;
        let service_id = services["service_ids"][0]
            .as_str()
            .context("the node lists no service")?
            .to_owned();
        Ok(Self {
            node,
            contracts,
            chain,
            service_id,
        })
    }

    /// Injects copies of a trigger and waits until each is executed, and signed if its workflow submits.
    pub(super) async fn inject(&self, depth: Depth, data: &[u8], count: u32) -> Result<()> {
        self.inject_each(depth, &json!({"Raw": data}), count).await
    }

    /// Injects `count` copies of each of `data`, which is one or a list, and waits in the same way.
    pub(super) async fn inject_each(&self, depth: Depth, data: &Value, count: u32) -> Result<()> {
        let body = json!({
            "service_id": self.service_id,
            "workflow_id": depth.workflow(),
            "trigger": "manual",
            "data": data,
            "count": count,
            "wait_for_completion": true,
            "timeout_secs": INJECTION_SECS,
        });
        let answer = self.node.request(Method::POST, "/dev/triggers", Some(&body)).await?;
        let status = answer.status();
        let failed = answer.headers().get("wavs-failed-jobs").cloned();
        ensure!(
            status.is_success() && failed.as_ref().is_some_and(|failed| failed == "0"),
            "{count} injected triggers: status {status}, failed jobs {failed:?}: {}",
            answer.text().await.unwrap_or_default()
        );
        Ok(())
    }

    /// Waits until no signed event of the workflow waits for its aggregator component any more.
    pub(super) async fn aggregated(&self, depth: Depth) -> Result<()> {
        let path = format!(
            "/v1/jobs?service_id={}&workflow_id={}&state=collecting&limit=1",
            self.service_id,
            depth.workflow()
        );
        let none = |page: &Value| page["items"].as_array().is_some_and(Vec::is_empty);
        self.node
            .wait_for(&path, Duration::from_secs(INJECTION_SECS), none)
            .await
            .map(drop)
    }

    /// All jobs of the workflow that submits.
    pub(super) async fn jobs(&self) -> Result<Vec<Value>> {
        let mut jobs = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!(
                "/v1/jobs?service_id={}&workflow_id=default&limit=500{cursor}",
                self.service_id
            );
            let page = self.node.get(&path).await?;
            jobs.extend(
                page["items"]
                    .as_array()
                    .context("/v1/jobs has no items")?
                    .iter()
                    .cloned(),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(jobs),
            }
        }
    }
}
