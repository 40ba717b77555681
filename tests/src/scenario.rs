//! The main job, set up: a chain, the contracts, a node, and one service registered with its operator.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, FixedBytes};
use alloy::rpc::types::TransactionReceipt;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::anvil::Anvil;
use crate::contracts::Contracts;
use crate::node::{Node, NodeConfig, manager_body};
use crate::service::{self, Component};
use crate::tools;

/// How long a result may take until it counts as lost.
const RESULT_LIMIT: Duration = Duration::from_secs(30);

/// One operator, one service with the workflow `default`: an event of the trigger contract runs a component, and the
/// result goes to the handler.
#[derive(Debug)]
pub struct Scenario {
    /// The node.
    pub node: Node,
    /// The contracts.
    pub contracts: Contracts,
    /// The chain.
    pub chain: Anvil,
    /// Digest of the operator component.
    pub component: String,
    /// Digest of the aggregator component.
    pub aggregator: String,
    /// The service.
    pub service_id: String,
    /// The key that the node signs with for this service.
    pub signer: Address,
}

/// What the workflows of a scenario are made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The contracts.
    pub contracts: &'a Contracts,
    /// The key of their chain.
    pub chain: &'a str,
    /// Digest of the operator component.
    pub component: &'a str,
    /// Digest of the aggregator component.
    pub aggregator: &'a str,
}

impl Parts<'_> {
    /// The operator component.
    #[must_use]
    pub fn operator(&self) -> Component {
        Component::new(self.component)
    }

    /// The aggregator component that submits to the handler.
    #[must_use]
    pub fn submit(&self) -> Component {
        service::submit_to(self.aggregator, self.chain, self.contracts.handler)
    }

    /// The workflow from an event of the trigger contract to the handler.
    #[must_use]
    pub fn landing(&self, operator: &Component) -> Value {
        let trigger = service::new_trigger(self.chain, self.contracts.trigger);
        service::workflow(&trigger, operator, Some(&self.submit()))
    }

    /// A workflow that runs when it is told to.
    #[must_use]
    pub fn manual(&self, operator: &Component, aggregator: Option<&Component>) -> Value {
        service::workflow(&json!("manual"), operator, aggregator)
    }
}

/// A result on chain.
#[derive(Debug, Clone)]
pub struct Landed {
    /// The job as the node tells it.
    pub job: Value,
    /// The event id.
    pub event_id: FixedBytes<20>,
    /// What the handler stored, unwrapped.
    pub data: Bytes,
    /// The transaction that brought it.
    pub transaction: B256,
}

impl Scenario {
    /// Sets everything up on an instant-mining chain with the component `operator` of `examples/components/prebuilt`.
    ///
    /// # Errors
    /// When any step fails.
    pub async fn start(operator: &str) -> Result<Self> {
        let chain = Anvil::start().await?;
        let config = NodeConfig::for_chains(&[&chain]);
        Self::start_on(chain, &config, operator, |component| component).await
    }

    /// Sets everything up on `chain`, with the operator component changed by `adapt`.
    ///
    /// # Errors
    /// When any step fails.
    pub async fn start_on(
        chain: Anvil,
        config: &NodeConfig,
        operator: &str,
        adapt: impl FnOnce(Component) -> Component,
    ) -> Result<Self> {
        let contracts = Contracts::deploy(&chain).await?;
        let workflows = |parts: &Parts<'_>| vec![("default", parts.landing(&adapt(parts.operator())))];
        Self::start_with(chain, contracts, config, operator, workflows).await
    }

    /// Sets everything up with the workflows of your choice.
    ///
    /// # Errors
    /// When any step fails.
    pub async fn start_with(
        chain: Anvil,
        contracts: Contracts,
        config: &NodeConfig,
        operator: &str,
        workflows: impl FnOnce(&Parts<'_>) -> Vec<(&'static str, Value)>,
    ) -> Result<Self> {
        let node = Node::start(config).await?;
        let component = node.upload(&prebuilt(operator)).await?;
        let aggregator = node.upload(&prebuilt("aggregator")).await?;
        let key = chain.chain_key();
        let parts = Parts {
            contracts: &contracts,
            chain: &key,
            component: &component,
            aggregator: &aggregator,
        };
        let document = service::service(&key, contracts.manager, &workflows(&parts));
        let signer = enrol(&node, &chain, &contracts, &document).await?;
        let services = node.get("/services").await?;
        let service_id = services["service_ids"][0]
            .as_str()
            .context("the node lists no service")?
            .to_owned();
        Ok(Self {
            node,
            contracts,
            chain,
            component,
            aggregator,
            service_id,
            signer,
        })
    }

    /// What further workflows can be made of.
    #[must_use]
    pub fn parts<'a>(&'a self, chain: &'a str) -> Parts<'a> {
        Parts {
            contracts: &self.contracts,
            chain,
            component: &self.component,
            aggregator: &self.aggregator,
        }
    }

    /// Points the manager at a new document and waits until the node runs it.
    ///
    /// # Errors
    /// When the node does not take it over; the text has what the node says about the service.
    pub async fn update(&self, document: &Value) -> Result<()> {
        let uri = self.node.host_document(document).await?;
        self.contracts.set_service_uri(&uri).await?;
        let hash = uri.rsplit('/').next().unwrap_or_default();
        let path = format!("/v1/services/{}", self.service_id);
        let is_new = |service: &Value| service["hash"] == hash;
        self.node.wait_for(&path, RESULT_LIMIT, is_new).await.map(drop)
    }

    /// Runs a workflow by hand, `count` times.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn inject(&self, workflow: &str, data: &[u8], count: u32, wait: bool) -> Result<()> {
        let body = json!({
            "service_id": self.service_id,
            "workflow_id": workflow,
            "trigger": "manual",
            "data": {"Raw": data},
            "count": count,
            "wait_for_completion": wait,
        });
        self.node.post("/dev/triggers", &body).await.map(drop)
    }

    /// Waits until the newest job of a workflow satisfies `condition`.
    ///
    /// # Errors
    /// When it does not in time; the text has the job and the node's log.
    pub async fn job_in(&self, workflow: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        let path = format!("/v1/jobs?service_id={}&workflow_id={workflow}&limit=1", self.service_id);
        let newest = |jobs: &Value| jobs["items"][0].clone();
        let is_it = |jobs: &Value| {
            Some(newest(jobs))
                .filter(|job| !job.is_null())
                .is_some_and(|job| condition(&job))
        };
        Ok(newest(&self.node.wait_for(&path, RESULT_LIMIT, is_it).await?))
    }

    /// Fires one event and waits until its result is on the chain.
    ///
    /// # Errors
    /// When it does not land; the text has the job and the node's log.
    pub async fn fire_and_land(&self, data: &[u8]) -> Result<Landed> {
        let receipt = self.contracts.fire(data).await?;
        self.landed(&receipt).await
    }

    /// Waits until the result of the event in `receipt` is on the chain.
    ///
    /// # Errors
    /// When it does not land; the text has the job and the node's log.
    pub async fn landed(&self, receipt: &TransactionReceipt) -> Result<Landed> {
        let job = self
            .job_of(receipt, |job| ended(job) || transaction(job).is_some())
            .await?;
        let event = &job["events"][0];
        let event_id: FixedBytes<20> = event["event_id"]
            .as_str()
            .with_context(|| format!("the job has no event: {job:#}"))?
            .parse()?;
        let transaction = transaction(&job)
            .with_context(|| format!("nothing landed: {job:#}\nthe node's log:\n{}", self.node.log()))?;
        let data = self.contracts.result(event_id).await?;
        let Some(data) = data else {
            bail!("the handler has no result for {event_id}: {job:#}")
        };
        Ok(Landed {
            event_id,
            data,
            transaction,
            job,
        })
    }

    /// Waits until the job that the event in `receipt` led to satisfies `condition`.
    ///
    /// # Errors
    /// When it does not in time; the text has the jobs and the node's log.
    pub async fn job_of(&self, receipt: &TransactionReceipt, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        let block = receipt.block_hash.context("the event is in no block")?;
        let log = receipt
            .inner
            .logs()
            .first()
            .and_then(|log| log.log_index)
            .context("the event has no log")?;
        let source = format!("{}/{block}/{log}", self.chain.chain_key());
        let path = format!("/v1/jobs?service_id={}&limit=500", self.service_id);
        let is_it = |job: &&Value| job["source"].as_str().or(job["source_key"].as_str()) == Some(source.as_str());
        let find = |jobs: &Value| {
            jobs["items"]
                .as_array()
                .and_then(|jobs| jobs.iter().find(is_it))
                .cloned()
        };
        let jobs = self
            .node
            .wait_for(&path, RESULT_LIMIT, |jobs| find(jobs).as_ref().is_some_and(&condition))
            .await?;
        find(&jobs).context("the job is gone")
    }
}

/// Publishes a service document, opts the node in, and registers its key as the one operator.
///
/// # Errors
/// When the node or the chain refuses.
pub async fn enrol(node: &Node, chain: &Anvil, contracts: &Contracts, document: &Value) -> Result<Address> {
    let key = chain.chain_key();
    let uri = node.host_document(document).await?;
    contracts.set_service_uri(&uri).await?;
    node.add_service(&key, contracts.manager).await?;
    let signer = signer(node, &key, contracts.manager).await?;
    contracts.register(signer, 100).await?;
    chain.mine().await?;
    Ok(signer)
}

/// A committed component.
#[must_use]
pub fn prebuilt(name: &str) -> std::path::PathBuf {
    tools::example(&format!("components/prebuilt/{name}.wasm"))
}

/// The key that a node signs with for a service.
///
/// # Errors
/// When the node does not know the service.
pub async fn signer(node: &Node, chain: &str, manager: Address) -> Result<Address> {
    let answer = node.post("/services/signer", &manager_body(chain, manager)).await?;
    let address = answer["secp256k1"]["evm_address"]
        .as_str()
        .context("the signer has no address")?;
    Ok(address.parse()?)
}

/// Whether a job has reached a state that it does not leave by itself.
#[must_use]
pub fn ended(job: &Value) -> bool {
    let state = job["state"].as_str().unwrap_or_default();
    let word = state.split('(').next().unwrap_or_default();
    matches!(
        word,
        "final" | "landed" | "no_output" | "skipped" | "expired" | "failed" | "superseded" | "orphaned"
    )
}

/// The transaction that is mined for the first event of a job.
#[must_use]
pub fn transaction(job: &Value) -> Option<B256> {
    let target = &job["events"][0]["targets"][0];
    let state = target["state"].as_str()?;
    if !matches!(state, "mined" | "final" | "landed") {
        return None;
    }
    target["tx"].as_str()?.parse().ok()
}
