//! Sources against a real chain.

use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, hex};
use alloy::providers::{Provider, ext::AnvilApi};
use alloy::rpc::types::TransactionRequest;
use e2e::anvil::{Anvil, Mining};
use wavs_ipc::contract::trigger_feed::{SpoolBody, SpoolCursor, SpoolItem};
use wavs_service::config::{CatchUp, MisfirePolicy};
use wavs_types::{ChainConfig, EvmChainConfig, ServiceId, TriggerData};

use super::*;
use crate::spool::Quota;
use crate::watch::Route;

/// Deploys a contract that emits one log, whose topic is the first word of the call data.
const EMITTER: [u8; 18] = hex!("6860003560006000a10060005260096017f3");
const TOPIC: B256 = B256::repeat_byte(0x44);
const QUOTA: Quota = Quota {
    entries: 1_000,
    bytes: 1_000_000,
};
/// Long enough for a slow machine; a passing test never waits for it.
const LIMIT: Duration = Duration::from_secs(20);

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
        let call = TransactionRequest::default()
            .with_from(self.from)
            .with_to(self.contract)
            .with_input(topic.0);
        let hash = *self.provider.send_transaction(call).await.unwrap().tx_hash();
        // The chain mines at once; waiting for a new height would not end after a reorganisation.
        let mut polls = tokio::time::interval(Duration::from_millis(5));
        let receipt = loop {
            polls.tick().await;
            if let Some(receipt) = self.provider.get_transaction_receipt(hash).await.unwrap() {
                break receipt;
            }
        };
        (receipt.block_hash.unwrap(), receipt.block_number.unwrap())
    }
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
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        let spool = Spool::open(&path, QUOTA).await.unwrap();
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

/// Waits until the source has reached the head, so that what follows is seen live.
async fn live(fixture: &Fixture, chain: &ChainKey) {
    let mut polls = tokio::time::interval(Duration::from_millis(5));
    tokio::time::timeout(LIMIT, async {
        while !fixture.sources.streams()["chains"][chain.as_str()]["is_connected"]
            .as_bool()
            .unwrap_or(false)
        {
            polls.tick().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never connected: {}", fixture.sources.streams()));
}

#[tokio::test]
async fn a_log_is_seen_live_once_with_its_whole_payload() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    fixture.sources.apply(&watch(&chain, config(&anvil), emitter.contract));
    live(&fixture, &chain).await;
    emitter.emit(B256::repeat_byte(0x55)).await;
    let (hash, height) = emitter.emit(TOPIC).await;
    let items = fixture.next(1).await;
    assert_eq!(keys(&items), [format!("{chain}/{hash}/0")]);
    let SpoolBody::Trigger { action, event_id, .. } = &items[0].body else {
        panic!("{items:?}")
    };
    let action = action.decode().unwrap();
    let TriggerData::EvmContractEvent {
        block_number,
        block_timestamp,
        contract_address,
        ..
    } = &action.data
    else {
        panic!("{action:?}")
    };
    assert_eq!((*block_number, *contract_address), (height, emitter.contract));
    let block = emitter.provider.get_block_by_hash(hash).await.unwrap().unwrap();
    assert_eq!(*block_timestamp, Some(block.header.timestamp));
    let derived = wavs_types::EventId::for_response(
        &action.config.service_id,
        &action.config.workflow_id,
        &action.data,
        None,
    );
    assert_eq!(*event_id, derived);
    assert!(fixture.nothing_waits().await);
}

#[tokio::test]
async fn what_was_emitted_while_the_process_was_down_is_fetched_in_order_and_nothing_comes_twice() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let mut small = config(&anvil);
    small.max_getlogs_range = 3;
    let watch = watch(&chain, small, emitter.contract);
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    let (first, _) = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [format!("{chain}/{first}/0")]);
    fixture.restart().await;

    let mut expected = Vec::new();
    for _ in 0..10 {
        expected.push(format!("{chain}/{}/0", emitter.emit(TOPIC).await.0));
    }
    fixture.sources.apply(&watch);
    assert_eq!(keys(&fixture.next(10).await), expected);
    let (last, _) = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [format!("{chain}/{last}/0")]);
}

#[tokio::test]
async fn a_reorganised_log_is_reported_as_orphaned_and_its_successor_fires() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    fixture.sources.apply(&watch(&chain, config(&anvil), emitter.contract));
    live(&fixture, &chain).await;
    let (hash, _) = emitter.emit(TOPIC).await;
    fixture.next(1).await;
    let options = alloy::rpc::types::anvil::ReorgOptions {
        depth: 1,
        tx_block_pairs: vec![],
    };
    emitter.provider.anvil_reorg(options).await.unwrap();
    let (again, _) = emitter.emit(TOPIC).await;
    let items = keys(&fixture.next(2).await);
    assert_eq!(
        items,
        [format!("orphaned {chain}/{hash}/0"), format!("{chain}/{again}/0")]
    );
}

#[tokio::test]
async fn a_dead_and_a_foreign_endpoint_are_passed_over() {
    let foreign = Anvil::start_with(1, Mining::Instant, 0).await.unwrap();
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let mut several = config(&anvil);
    several.ws_endpoints = vec!["ws://127.0.0.1:1".to_owned(), foreign.ws(), anvil.ws()];
    fixture.sources.apply(&watch(&chain, several, emitter.contract));
    live(&fixture, &chain).await;
    let (hash, _) = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [format!("{chain}/{hash}/0")]);
}

#[tokio::test]
async fn a_chain_without_websocket_is_polled() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let mut polled = config(&anvil);
    polled.ws_endpoints.clear();
    polled.poll_interval_ms = 100;
    fixture.sources.apply(&watch(&chain, polled, emitter.contract));
    live(&fixture, &chain).await;
    let (hash, _) = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [format!("{chain}/{hash}/0")]);
}

#[tokio::test]
async fn a_route_added_later_receives_nothing_older_and_everything_newer() {
    let anvil = Anvil::start().await.unwrap();
    let chain: ChainKey = anvil.chain_key().parse().unwrap();
    let provider = anvil.provider().unwrap();
    let (first, second) = (Emitter::deploy(provider.clone()).await, Emitter::deploy(provider).await);
    let mut fixture = Fixture::new().await;
    let mut watch = watch(&chain, config(&anvil), first.contract);
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    second.emit(TOPIC).await;
    let mut added = watch.routes[0].clone();
    added.workflow_id = "second".parse().unwrap();
    added.trigger = Trigger::EvmContractEvent {
        address: second.contract,
        chain: chain.clone(),
        event_hash: TOPIC,
    };
    added.since = Some(second.provider.get_block_number().await.unwrap());
    watch.routes.push(added);
    // Emitted after the registration and before the subscription can exist.
    let (hash, _) = second.emit(TOPIC).await;
    fixture.sources.apply(&watch);
    assert_eq!(keys(&fixture.next(1).await), [format!("{chain}/{hash}/0")]);
    assert!(fixture.nothing_waits().await);
}

/// A watch for every third block, from block 2 on.
fn every_third(chain: &ChainKey, config: EvmChainConfig) -> Watch {
    let mut watch = watch(chain, config, Address::ZERO);
    watch.routes[0].trigger = Trigger::BlockInterval {
        chain: chain.clone(),
        n_blocks: 3.try_into().unwrap(),
        start_block: 2.try_into().ok(),
        end_block: None,
    };
    watch.routes[0].since = Some(0);
    watch
}

async fn block_intervals_on(adapt: impl Fn(&mut EvmChainConfig)) {
    let anvil = Anvil::start().await.unwrap();
    let chain: ChainKey = anvil.chain_key().parse().unwrap();
    let provider = anvil.provider().unwrap();
    let mut fixture = Fixture::new().await;
    let mut config = config(&anvil);
    adapt(&mut config);
    let watch = every_third(&chain, config);
    fixture
        .spool
        .store_watch(&watch, vec![(chain.clone(), 0)])
        .await
        .unwrap();
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    let expected = |heights: &[u64]| {
        heights
            .iter()
            .map(|height| format!("{chain}/block/{height}"))
            .collect::<Vec<_>>()
    };
    provider.anvil_mine(Some(6), None).await.unwrap();
    let items = fixture.next(2).await;
    assert_eq!(keys(&items), expected(&[2, 5]));
    let SpoolBody::Trigger { action, event_id, .. } = &items[1].body else {
        panic!("{items:?}")
    };
    let action = action.decode().unwrap();
    let data = TriggerData::BlockInterval {
        chain: chain.clone(),
        block_height: 5,
    };
    let id = wavs_types::EventId::for_response(&action.config.service_id, &action.config.workflow_id, &data, None);
    assert_eq!((&action.data, *event_id), (&data, id));

    // What the chain reached while nobody looked is made up for, and the phase stays.
    fixture.restart().await;
    provider.anvil_mine(Some(9), None).await.unwrap();
    fixture.sources.apply(&watch);
    assert_eq!(keys(&fixture.next(3).await), expected(&[8, 11, 14]));
    live(&fixture, &chain).await;
    provider.anvil_mine(Some(2), None).await.unwrap();
    assert_eq!(keys(&fixture.next(1).await), expected(&[17]));

    // A reorganisation brings heights again; they have fired.
    let depth = alloy::rpc::types::anvil::ReorgOptions {
        depth: 4,
        tx_block_pairs: vec![],
    };
    provider.anvil_reorg(depth).await.unwrap();
    provider.anvil_mine(Some(3), None).await.unwrap();
    assert_eq!(keys(&fixture.next(1).await), expected(&[20]));
    assert!(fixture.nothing_waits().await);
    let shown = &fixture.sources.streams()["chains"][chain.as_str()]["block_intervals"][0];
    assert_eq!((&shown["anchor"], &shown["next"]), (&json!(2), &json!(23)));
}

#[tokio::test]
async fn block_intervals_follow_the_heads_of_a_subscription() {
    block_intervals_on(|_| {}).await;
}

#[tokio::test]
async fn block_intervals_follow_the_heads_of_a_polled_chain() {
    block_intervals_on(|config| {
        config.ws_endpoints.clear();
        config.poll_interval_ms = 100;
    })
    .await;
}

#[tokio::test]
async fn schedules_need_no_chain_and_show_where_they_stand() {
    let mut fixture = Fixture::new().await;
    let chain: ChainKey = "evm:1".parse().unwrap();
    let mut watch = watch(
        &chain,
        serde_json::from_str(r#"{"chain_id":"1"}"#).unwrap(),
        Address::ZERO,
    );
    watch.routes[0].trigger = Trigger::Cron {
        schedule: "* * * * * *".to_owned(),
        start_time: None,
        end_time: None,
    };
    fixture.spool.store_watch(&watch, vec![]).await.unwrap();
    fixture.sources.options.networking = false;
    fixture.sources.apply(&watch);
    let items = fixture.next(2).await;
    let slot = |item: &SpoolItem| match &item.body {
        SpoolBody::Trigger { action, .. } => match action.decode().unwrap().data {
            TriggerData::Cron { trigger_time } => trigger_time,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let second = 1_000_000_000;
    assert_eq!(slot(&items[0]) % second, 0);
    assert_eq!(slot(&items[1]), slot(&items[0]) + second);
    let shown = &fixture.sources.streams()["cron"]["routes"][0];
    assert_eq!(shown["workflow_id"], "default");
    assert!(
        shown["next"].as_u64().is_some_and(|next| next > slot(&items[1])),
        "{shown}"
    );
    watch.routes.clear();
    fixture.sources.apply(&watch);
    let mut polls = tokio::time::interval(Duration::from_millis(5));
    while fixture.sources.streams()["cron"]["routes"] != json!([]) {
        polls.tick().await;
    }
}
