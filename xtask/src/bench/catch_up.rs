//! How fast a node makes up for an absence: it is down while a chain grows, and everything that happened must be run.

use std::path::Path;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256, hex};
use anyhow::{Context as _, Result, ensure};
use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use e2e::node::Node;
use e2e::scenario;
use e2e::service::{self, Component};
use reqwest::Method;
use serde_json::{Value, json};

use super::bed;
use super::figure::Figure;
use super::progress::Step;
use super::starts::milliseconds;

/// Blocks that the chain grows by.
const BLOCKS: u64 = 10_000;
/// Logs in them that the service waits for.
const LOGS: u64 = 5_000;
/// Transactions that emit them; each is followed by its share of empty blocks.
const TRANSACTIONS: u64 = 10;
/// The first topic of each log.
const TOPIC: B256 = B256::repeat_byte(0x44);
/// Code that deploys a contract whose call data is a topic and a number of logs.
const EMITTER: [u8; 41] = hex!("601e80600b6000396000f36020355b8015601c578060005260003560206000a1600190036003565b00");
/// How long each part may take.
const LIMIT: Duration = Duration::from_secs(300);
/// How often the node is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Measures the way back.
pub(super) async fn figures(binaries: &Path) -> Result<Vec<Figure>> {
    let chain = Anvil::start().await?;
    let dir = tempfile::tempdir().context("cannot create a directory")?;
    let mut config = bed::config(&chain, binaries);
    config.dir = Some(dir.path().to_owned());

    let node = Node::start(&config).await?;
    let emitter = deploy(&chain).await?;
    register(&chain, &node, emitter).await?;
    emit(&chain, emitter, 1).await?;
    executed(&node, 1).await?;
    node.stop().await?;

    let step = Step::new("a chain that grows while the node is down", BLOCKS)?;
    for _ in 0..TRANSACTIONS {
        emit(&chain, emitter, LOGS / TRANSACTIONS).await?;
        chain.mine_many(BLOCKS / TRANSACTIONS - 1).await?;
        step.advance(BLOCKS / TRANSACTIONS);
    }
    drop(step);

    let _step = Step::new("the node catches up", 1)?;
    let started = Instant::now();
    let node = Node::start(&config).await?;
    let ready = started.elapsed();
    let key = chain.chain_key();
    let path = "/dev/trigger-streams";
    let read_all = |streams: &Value| {
        let chain = &streams["chains"][key.as_str()];
        chain["is_connected"] == true && chain["lag"] == 0 && chain["gaps"] == json!([])
    };
    node.wait_for(path, LIMIT, read_all).await?;
    let read = started.elapsed();
    // Counters begin anew with the process.
    executed(&node, LOGS).await?;
    let run = started.elapsed();
    // The first one came before the node was stopped.
    let triggers = triggers(&node).await?;
    ensure!(
        triggers == LOGS + 1,
        "{LOGS} logs were missed, and {triggers} triggers came in all"
    );
    node.stop().await?;
    chain.stop().await?;

    let rate = |count: u64, took: Duration| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Some(f64::from(count) / took.as_secs_f64())
    };
    let counted = format!(
        "{BLOCKS} blocks with {LOGS} logs missed; counted from the start, ready after {:.0} ms",
        milliseconds(ready)
    );
    Ok(vec![
        Figure::new("catching up, blocks read per second", rate(BLOCKS, read), "/s").note(counted),
        Figure::new("catching up, logs read per second", rate(LOGS, read), "/s")
            .note(format!("all of them after {:.2} s", read.as_secs_f64())),
        Figure::new("catching up, missed logs run per second", rate(LOGS, run), "/s")
            .note(format!("all of them after {:.2} s", run.as_secs_f64())),
    ])
}

async fn deploy(chain: &Anvil) -> Result<Address> {
    let hash = send(chain, None, &EMITTER, 1_000_000).await?;
    let address = receipt(chain, &hash).await?["contractAddress"].clone();
    serde_json::from_value(address).context("the contract has no address")
}

async fn emit(chain: &Anvil, emitter: Address, count: u64) -> Result<()> {
    let input = [TOPIC.0, B256::from(U256::from(count)).0].concat();
    let hash = send(chain, Some(emitter), &input, 100_000 + 5_000 * count).await?;
    let emitted = receipt(chain, &hash).await?["logs"].as_array().map(Vec::len);
    ensure!(
        emitted == usize::try_from(count).ok(),
        "{emitted:?} of {count} logs were emitted"
    );
    Ok(())
}

async fn send(chain: &Anvil, to: Option<Address>, input: &[u8], gas: u64) -> Result<Value> {
    let from = chain.request("eth_accounts", json!([])).await?[19].clone();
    let transaction = json!({"from": from, "to": to, "data": hex::encode_prefixed(input), "gas": format!("0x{gas:x}")});
    chain.request("eth_sendTransaction", json!([transaction])).await
}

/// The chain mines at once, but not before it answers.
async fn receipt(chain: &Anvil, hash: &Value) -> Result<Value> {
    let mut looks = tokio::time::interval(LOOK);
    let mined = async {
        loop {
            looks.tick().await;
            let receipt = chain.request("eth_getTransactionReceipt", json!([hash])).await?;
            if !receipt.is_null() {
                return Ok(receipt);
            }
        }
    };
    tokio::time::timeout(LIMIT, mined)
        .await
        .context("a transaction was not mined")?
}

async fn register(chain: &Anvil, node: &Node, emitter: Address) -> Result<()> {
    let contracts = Contracts::deploy(chain).await?;
    let key = chain.chain_key();
    let echo = Component::new(&node.upload(&scenario::prebuilt("echo")).await?);
    let trigger = json!({"evm_contract_event": {"chain": key, "address": emitter, "event_hash": TOPIC}});
    let workflows = [("default", service::workflow(&trigger, &echo, None))];
    let uri = node
        .host_document(&service::service(&key, contracts.manager, &workflows))
        .await?;
    contracts.set_service_uri(&uri).await?;
    node.add_service(&key, contracts.manager).await
}

/// The series of a metric whose labels contain a text, summed.
async fn metric(node: &Node, name: &str, label: &str) -> Result<u64> {
    let text = node.request(Method::GET, "/metrics", None).await?.text().await?;
    let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    let series = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    Ok(series.filter_map(value).sum())
}

/// Triggers that became jobs, also before a restart.
async fn triggers(node: &Node) -> Result<u64> {
    let services = node.get("/services").await?;
    let id = services["service_ids"][0]
        .as_str()
        .context("the node lists no service")?;
    let status = node.get(&format!("/v1/services/{id}/status")).await?;
    status["counters"]["triggers"]
        .as_u64()
        .context("the status has no counters")
}

/// Waits until so many runs of components have ended. The component refuses these logs, which are not of the shape that it
/// decodes, so they end as failed; what is measured is the way to it.
async fn executed(node: &Node, count: u64) -> Result<()> {
    let mut looks = tokio::time::interval(LOOK);
    let all = async {
        while metric(node, "engine_operator_executions_", "").await? < count {
            looks.tick().await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, all)
        .await
        .with_context(|| format!("{count} runs did not end within {LIMIT:?}"))?
}
