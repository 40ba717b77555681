//! Sources against a real chain.

mod backfill;
mod clocks;
mod faults;
mod finality;
mod live;
mod provider;

use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, hex};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use testkit::Anvil;
use wavs_ipc::contract::trigger_feed::{SpoolBody, SpoolCursor, SpoolItem};
use wavs_service::config::{CatchUp, MisfirePolicy};
use wavs_types::{ChainConfig, EvmChainConfig, ServiceId};

use super::*;
use crate::spool::{Beginning, Quota};
use crate::watch::Route;

/// Deploys a contract whose call data is a topic and a number: it emits so many logs with the topic, each with what is left
/// of the number as data.
const EMITTER: [u8; 41] = hex!("601e80600b6000396000f3" "6020355b8015601c578060005260003560206000a1600190036003565b00");
const TOPIC: B256 = B256::repeat_byte(0x44);
const QUOTA: Quota = Quota {
    entries: 10_000,
    bytes: 100_000_000,
};
/// Long enough for a slow machine; a passing test never waits for it.
const LIMIT: Duration = Duration::from_secs(60);

fn metrics() -> Metrics {
    Metrics::new(&wavs_service::Metrics::new())
}

fn options() -> Options {
    Options {
        networking: true,
        intervals: IntervalOptions {
            fire_after_end: true,
            catch_up: CatchUp::All,
        },
        misfire: Misfire {
            policy: MisfirePolicy::FireAll,
            window: Duration::from_secs(60),
        },
        scout_pause: Duration::from_millis(200),
    }
}

struct Emitter<P> {
    provider: P,
    from: Address,
    contract: Address,
}

impl<P: Provider> Emitter<P> {
    async fn deploy(provider: P) -> Self {
        let from = provider.get_accounts().await.unwrap()[0];
        let deploy = TransactionRequest::default()
            .with_from(from)
            .with_deploy_code(Bytes::from_static(&EMITTER));
        let receipt = provider
            .send_transaction(deploy)
            .await
            .unwrap()
            .get_receipt()
            .await
            .unwrap();
        Self {
            provider,
            from,
            contract: receipt.contract_address.unwrap(),
        }
    }

    async fn emit(&self, topic: B256) -> (B256, u64) {
        let hash = self.send(topic, 1).await;
        // The chain mines at once; waiting for a new height would not end after a reorganisation. The receipt may be that
        // of an equal transaction which a reorganisation took away.
        let mut polls = tokio::time::interval(Duration::from_millis(5));
        loop {
            polls.tick().await;
            let Some(receipt) = self.provider.get_transaction_receipt(hash).await.unwrap() else {
                continue;
            };
            let (block, height) = (receipt.block_hash.unwrap(), receipt.block_number.unwrap());
            let there = self.provider.get_block_by_number(height.into()).await.unwrap();
            if there.is_some_and(|there| there.header.hash == block) {
                return (block, height);
            }
        }
    }

    /// Asks for `count` logs in one transaction.
    async fn send(&self, topic: B256, count: u64) -> B256 {
        let call = TransactionRequest::default()
            .with_from(self.from)
            .with_to(self.contract)
            .with_gas_limit(100_000 + 5_000 * count)
            .with_input([topic.0, B256::from(U256::from(count)).0].concat());
        *self.provider.send_transaction(call).await.unwrap().tx_hash()
    }
}

/// Where the first log of a block is recorded.
fn key(chain: &ChainKey, (block, _): (B256, u64)) -> String {
    format!("{chain}/{block}/0")
}

struct Fixture {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
    spool: Spool,
    sources: Sources,
    taken: u64,
}

impl Fixture {
    async fn new() -> Self {
        Self::with_quota(QUOTA).await
    }

    async fn with_quota(quota: Quota) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        let spool = Spool::open(&path, quota).await.unwrap();
        let sources = Sources::new(spool.clone(), metrics(), options());
        Self {
            _dir: dir,
            path,
            spool,
            sources,
            taken: 0,
        }
    }

    /// Ends everything as a kill would, and opens the same spool again.
    async fn restart(&mut self) {
        self.sources = Sources::new(self.spool.clone(), metrics(), options());
        self.spool = Spool::open(&self.path, QUOTA).await.unwrap();
        self.sources = Sources::new(self.spool.clone(), metrics(), options());
    }

    async fn next(&mut self, count: usize) -> Vec<SpoolItem> {
        let mut items = Vec::new();
        while items.len() < count {
            let cursor = self.cursor().await;
            let batch = self.spool.pull(cursor, 100, LIMIT).await.unwrap();
            assert!(
                !batch.items.is_empty(),
                "only {} of {count} items came: {:?}; {}",
                items.len(),
                keys(&items),
                self.sources.streams()
            );
            self.taken = batch.items.last().unwrap().seq;
            items.extend(batch.items);
        }
        items
    }

    async fn nothing_waits(&self) -> bool {
        self.spool
            .pull(self.cursor().await, 100, Duration::ZERO)
            .await
            .unwrap()
            .items
            .is_empty()
    }

    async fn cursor(&self) -> SpoolCursor {
        let spool = self
            .spool
            .pull(SpoolCursor::default(), 1, Duration::ZERO)
            .await
            .unwrap()
            .spool;
        SpoolCursor { spool, seq: self.taken }
    }
}

fn watch(chain: &ChainKey, config: EvmChainConfig, contract: Address) -> Watch {
    let route = Route {
        service_id: ServiceId::new([7; 32]),
        workflow_id: "default".parse().unwrap(),
        trigger: Trigger::EvmContractEvent {
            address: contract,
            chain: chain.clone(),
            event_hash: TOPIC,
        },
        active: true,
        since: None,
    };
    let chains = [(chain.clone(), ChainConfig::Evm(config))].into();
    Watch {
        generation: 1,
        chains,
        routes: vec![route],
        managers: Vec::new(),
    }
}

fn beginning(chain: &ChainKey, head: u64) -> Beginning {
    Beginning {
        chain: chain.clone(),
        head: Some(head),
        unused: true,
    }
}

fn config(anvil: &Anvil) -> EvmChainConfig {
    let config = serde_json::json!({"chain_id": "31337", "ws_endpoints": [anvil.ws()], "http_endpoint": anvil.http()});
    serde_json::from_value(config).unwrap()
}

fn keys(items: &[SpoolItem]) -> Vec<String> {
    let key = |item: &SpoolItem| match &item.body {
        SpoolBody::Trigger { source_key, .. } => source_key.clone(),
        SpoolBody::Orphaned { source_key } => format!("orphaned {source_key}"),
        SpoolBody::ServiceUri { uri, .. } => uri.clone(),
    };
    items.iter().map(key).collect()
}

/// A chain with an emitter on it, and sources that watch nothing yet.
async fn bed() -> (Anvil, ChainKey, Emitter<impl Provider>, Fixture) {
    let anvil = Anvil::start().await.unwrap();
    let chain = anvil.chain_key().parse().unwrap();
    let emitter = Emitter::deploy(anvil.provider().unwrap()).await;
    (anvil, chain, emitter, Fixture::new().await)
}

/// Waits until what the stream listing shows of the chain is as it should be.
async fn until(fixture: &Fixture, chain: &ChainKey, shows: impl Fn(&Value) -> bool) {
    let mut polls = tokio::time::interval(Duration::from_millis(5));
    let shown = || fixture.sources.streams()["chains"][chain.as_str()].clone();
    let reached = async {
        while !shows(&shown()) {
            polls.tick().await;
        }
    };
    let reached = tokio::time::timeout(LIMIT, reached).await;
    reached.unwrap_or_else(|_| panic!("never came to be: {}", shown()));
}

/// Waits until the source has reached the head, so that what follows is seen live.
async fn live(fixture: &Fixture, chain: &ChainKey) {
    until(fixture, chain, |shown| shown["is_connected"] == true).await;
}
