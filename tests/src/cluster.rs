//! Several operators of one service: a chain, the contracts, and a node of five processes for each, on a loopback address of
//! its own and connected by the real network.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, B256, FixedBytes};
use alloy::providers::Provider as _;
use alloy::rpc::types::TransactionReceipt;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::anvil::Anvil;
use crate::contracts::Contracts;
use crate::node::{Node, NodeConfig, manager_body};
use crate::scenario::{Parts, prebuilt, signer};
use crate::service;

/// How long something among several nodes may take until it counts as failed.
pub const LIMIT: Duration = Duration::from_secs(90);

/// An operator: its node while it runs, and what it is started with.
#[derive(Debug)]
pub struct Operator {
    /// The node; none while it is down.
    pub node: Option<Node>,
    /// Its service key.
    pub signer: Address,
    config: NodeConfig,
    network: Network,
}

/// Where an operator's node is in the network.
#[derive(Debug, Clone)]
struct Network {
    address: String,
    port: u32,
    entrance: Vec<String>,
}

impl Network {
    /// The value of the key `p2p`, with the only peers that may be connected; none: all.
    fn text(&self, allowed: &[String]) -> String {
        let Self {
            address,
            port,
            entrance,
        } = self;
        format!(
            "{{ remote = {{ listen_port = {port}, listen_address = \"{address}\", bootstrap_nodes = {entrance:?}, \
             allow_peers = {allowed:?} }} }}"
        )
    }
}

/// All operators of one service with the workflow `default`.
#[derive(Debug)]
pub struct Cluster {
    /// The operators.
    pub operators: Vec<Operator>,
    /// The contracts.
    pub contracts: Contracts,
    /// The chain.
    pub chain: Anvil,
    /// The service.
    pub service_id: String,
}

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// How many operators, at most 15.
    pub operators: u32,
    /// Share of the weight that is needed.
    pub quorum: (u64, u64),
    /// The third byte of the loopback addresses, so that clusters of tests that run at once do not meet.
    pub block: u8,
    /// Directory of the binaries; that of the running program when absent.
    pub binaries: Option<PathBuf>,
    /// Further text of every node's `wavs.toml`.
    pub toml: String,
}

impl ClusterConfig {
    /// Operators of equal weight, two thirds of which are needed.
    #[must_use]
    pub fn of(operators: u32, block: u8) -> Self {
        Self {
            operators,
            quorum: (2, 3),
            block,
            binaries: None,
            toml: String::new(),
        }
    }

    fn network(&self, index: u32, entrance: &[String]) -> Network {
        Network {
            address: format!("127.77.{}.{}", self.block, index + 1),
            // The same after a restart, and another one than that of a second test on this machine.
            port: 10_000 + std::process::id() % 20_000,
            entrance: entrance.to_vec(),
        }
    }

    fn node(&self, chain: &Anvil, index: u32, network: &Network) -> NodeConfig {
        let mut config = NodeConfig::for_chains(&[chain]).with("p2p", network.text(&[]));
        // Each operator posts from an account of its own; the last ones belong to the contracts' owner and to tests.
        config
            .toml
            .push_str(&format!("[wavs.aggregator]\nhd_index = {index}\n\n"));
        // The first node serves the document to all.
        config.toml.push_str("[wavs.fetch]\nallow_hosts = [\"127.0.0.1\"]\n");
        config.toml.push_str(&self.toml);
        config.binaries.clone_from(&self.binaries);
        config
    }
}

impl Cluster {
    /// Starts everything, and waits until every operator is connected to every other.
    ///
    /// # Errors
    /// When any step fails.
    pub async fn start(config: &ClusterConfig) -> Result<Self> {
        let chain = Anvil::start().await?;
        let contracts = Contracts::deploy(&chain).await?;
        contracts.set_quorum(config.quorum.0, config.quorum.1).await?;
        let key = chain.chain_key();
        let mut operators: Vec<Operator> = Vec::new();
        let mut entrance = Vec::new();
        let mut uri = String::new();
        for index in 0..config.operators {
            let network = config.network(index, &entrance);
            let mut settings = config.node(&chain, index, &network);
            let dir = tempfile::Builder::new().prefix("wavs-operator-").tempdir()?.keep();
            settings.dir = Some(dir);
            let node = Node::start(&settings).await?;
            let component = node.upload(&prebuilt("square")).await?;
            let aggregator = node.upload(&prebuilt("aggregator")).await?;
            if index == 0 {
                entrance = vec![listening(&node).await?];
                let parts = Parts {
                    contracts: &contracts,
                    chain: &key,
                    component: &component,
                    aggregator: &aggregator,
                };
                let workflow = parts.landing(&parts.operator());
                let document = service::service(&key, contracts.manager, &[("default", workflow)]);
                uri = node.host_document(&document).await?;
                contracts.set_service_uri(&uri).await?;
            }
            let mut body = manager_body(&key, contracts.manager);
            body["hd_index"] = json!(index + 1);
            node.post("/services", &body)
                .await
                .with_context(|| format!("operator {index}; the document is at {uri}"))?;
            let signer = signer(&node, &key, contracts.manager).await?;
            contracts.register(signer, 100).await?;
            operators.push(Operator {
                node: Some(node),
                signer,
                config: settings,
                network,
            });
        }
        chain.mine().await?;
        let services = operators[0].node()?.get("/services").await?;
        let service_id = services["service_ids"][0]
            .as_str()
            .context("no service is listed")?
            .to_owned();
        let cluster = Self {
            operators,
            contracts,
            chain,
            service_id,
        };
        cluster.connected().await?;
        Ok(cluster)
    }

    /// Waits until every running operator knows all other running ones as operators.
    ///
    /// # Errors
    /// When it does not happen in time.
    pub async fn connected(&self) -> Result<()> {
        let others = self.running().count() - 1;
        for operator in self.running() {
            let known = |peers: &Value| {
                let items = peers["items"].as_array().map(Vec::as_slice).unwrap_or_default();
                let operators = items.iter().filter(|peer| {
                    peer["connected"] == true && peer["operators"].as_array().is_some_and(|list| !list.is_empty())
                });
                operators.count() >= others
            };
            operator.node()?.wait_for("/v1/p2p/peers", LIMIT, known).await?;
        }
        Ok(())
    }

    /// The operators that run.
    pub fn running(&self) -> impl Iterator<Item = &Operator> {
        self.operators.iter().filter(|operator| operator.node.is_some())
    }

    /// Kills an operator's node with everything in it; its data stays.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self, index: usize) -> Result<()> {
        let node = self.operators[index]
            .node
            .take()
            .context("the operator is down already")?;
        // The processes end with the supervisor that started them.
        node.kill_all().await
    }

    /// Starts an operator again on the data that it left.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn revive(&mut self, index: usize) -> Result<()> {
        let operator = &mut self.operators[index];
        operator.node = Some(Node::start(&operator.config).await?);
        Ok(())
    }

    /// Splits the network: from now on each operator is connected to those of its own group alone.
    ///
    /// # Errors
    /// When it does not happen in time.
    pub async fn split(&mut self, groups: &[&[usize]]) -> Result<()> {
        for group in groups {
            let mut allowed = Vec::new();
            for index in *group {
                allowed.push(self.operators[*index].peer_id().await?);
            }
            for index in *group {
                self.operators[*index].allow(&allowed)?;
            }
        }
        for (group, index) in groups
            .iter()
            .flat_map(|group| group.iter().map(move |index| (group, index)))
        {
            let others = group.len() - 1;
            let alone = |status: &Value| status["connected_peers"] == others;
            self.operators[*index]
                .node()?
                .wait_for("/p2p/status", LIMIT, alone)
                .await?;
        }
        Ok(())
    }

    /// Lets every operator connect to every other again.
    ///
    /// # Errors
    /// When it does not happen in time.
    pub async fn heal(&mut self) -> Result<()> {
        for operator in self.operators.iter_mut().filter(|operator| operator.node.is_some()) {
            operator.allow(&[])?;
        }
        self.connected().await
    }

    /// Waits until an operator holds so many signatures for one envelope of an event that is open.
    ///
    /// # Errors
    /// When it does not in time; the text has the logs of all nodes.
    pub async fn gathered(&self, index: usize, signatures: usize) -> Result<()> {
        let path = format!("/v1/quorums?service_id={}&state=open", self.service_id);
        let enough = |quorums: &Value| {
            let buckets = quorums["items"].as_array().into_iter().flatten();
            let mut buckets = buckets.flat_map(|event| event["buckets"].as_array().into_iter().flatten());
            buckets.any(|bucket| {
                bucket["signers"]
                    .as_array()
                    .is_some_and(|signers| signers.len() == signatures)
            })
        };
        let waited = self.operators[index].node()?.wait_for(&path, LIMIT, enough).await;
        waited.map(drop).map_err(|error| error.context(self.logs()))
    }

    /// Fires an event and waits until its result is on the chain.
    ///
    /// # Errors
    /// When it does not land in time; the text has the logs of all nodes.
    pub async fn fire_and_land(&self, data: &[u8]) -> Result<Delivery> {
        let receipt = self.contracts.fire(data).await?;
        self.delivered(&receipt).await
    }

    /// Waits until the event in `receipt` is landed for every running operator.
    ///
    /// # Errors
    /// When it is not in time; the text has the logs of all nodes.
    pub async fn delivered(&self, receipt: &TransactionReceipt) -> Result<Delivery> {
        let block = receipt.block_hash.context("the event is in no block")?;
        let log = receipt
            .inner
            .logs()
            .first()
            .and_then(|log| log.log_index)
            .context("the event has no log")?;
        let source = format!("{}/{block}/{log}", self.chain.chain_key());
        let mut delivery: Option<Delivery> = None;
        for operator in self.running() {
            let (event_id, transaction) = self.landed_at(operator, &source).await?;
            if let Some(known) = &delivery
                && known.transaction != transaction
            {
                bail!(
                    "operators disagree about the transaction of event {event_id}: {} and {transaction}",
                    known.transaction
                );
            }
            delivery = Some(Delivery { event_id, transaction });
        }
        delivery.context("no operator runs")
    }

    async fn landed_at(&self, operator: &Operator, source: &str) -> Result<(FixedBytes<20>, B256)> {
        let node = operator.node()?;
        let path = format!("/v1/jobs?service_id={}&limit=500", self.service_id);
        let find = |jobs: &Value| {
            let is_it = |job: &&Value| job["source"].as_str().or(job["source_key"].as_str()) == Some(source);
            let job = jobs["items"].as_array()?.iter().find(is_it)?;
            let event_id: FixedBytes<20> = job["events"][0]["event_id"].as_str()?.parse().ok()?;
            Some((event_id, crate::scenario::transaction(job)?))
        };
        let jobs = node.wait_for(&path, LIMIT, |jobs| find(jobs).is_some()).await;
        let jobs = jobs.map_err(|error| error.context(self.logs()))?;
        find(&jobs).context("the job is gone")
    }

    /// Transactions that were sent to the handler, whether they succeeded or not.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn transactions(&self) -> Result<Vec<B256>> {
        let provider = self.chain.provider()?;
        let head = provider.get_block_number().await?;
        let mut found = Vec::new();
        for number in 0..=head {
            let block = provider
                .get_block(number.into())
                .full()
                .await?
                .context("a block is missing")?;
            for transaction in block.transactions.txns() {
                use alloy::consensus::Transaction as _;
                if transaction.to() == Some(self.contracts.handler) {
                    found.push(*transaction.inner.tx_hash());
                }
            }
        }
        Ok(found)
    }

    /// What all nodes have logged, for the text of an error.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = |(index, operator): (usize, &Operator)| {
            let log = operator.node.as_ref().map(Node::log).unwrap_or_default();
            format!("operator {index}:\n{log}")
        };
        self.operators
            .iter()
            .enumerate()
            .map(log)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for operator in &mut self.operators {
            operator.node = None;
            if let Some(dir) = &operator.config.dir {
                // What is left behind is in the temporary directory.
                let _ = std::fs::remove_dir_all(dir);
            }
        }
    }
}

/// An event on chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The event id.
    pub event_id: FixedBytes<20>,
    /// The transaction that brought it.
    pub transaction: B256,
}

impl Operator {
    /// The running node.
    ///
    /// # Errors
    /// When it is down.
    pub fn node(&self) -> Result<&Node> {
        self.node.as_ref().context("the operator is down")
    }

    /// Its peer id.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn peer_id(&self) -> Result<String> {
        let status = self.node()?.get("/p2p/status").await?;
        let id = status["local_peer_id"].as_str().context("the node has no peer id")?;
        Ok(id.to_owned())
    }

    /// The address under which others reach its node.
    #[must_use]
    pub fn listens_on(&self) -> String {
        format!("/ip4/{}/tcp/{}", self.network.address, self.network.port)
    }

    /// Lets only these peers connect; none: all.
    fn allow(&mut self, allowed: &[String]) -> Result<()> {
        self.config = self.config.clone().with("p2p", self.network.text(allowed));
        self.node()?.reconfigure(&self.config)
    }
}

/// The address under which others enter the network at a node.
async fn listening(node: &Node) -> Result<String> {
    let tcp = |status: &Value| {
        let addresses = status["listen_addresses"].as_array()?.iter().filter_map(Value::as_str);
        addresses
            .into_iter()
            .find(|address| address.contains("/tcp/"))
            .map(str::to_owned)
    };
    let status = node
        .wait_for("/p2p/status", LIMIT, |status| tcp(status).is_some())
        .await?;
    tcp(&status).context("it listens nowhere")
}
