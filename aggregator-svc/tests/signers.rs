//! Keys over lost ledgers, rotations and moves: on a real chain whose manager says who registered them.

#![allow(missing_docs)]

mod support;

use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use support::engine::response;
use support::trigger::action;
use support::{Running, World, document};
use wavs_ipc::contract::engine::Action;
use wavs_ipc::contract::registry::{HistoryCursor, HistoryRow, Registry as _, SignerView};
use wavs_ipc::{Context, ErrorCode};
use wavs_types::{EvmAddress, ServiceId};

/// Keys 1 and 2 of the test phrase.
const FIRST: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const SECOND: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

struct Stage {
    chain: Anvil,
    contracts: Contracts,
}

impl Stage {
    async fn new() -> Self {
        let chain = Anvil::start().await.unwrap();
        let contracts = Contracts::deploy(&chain).await.unwrap();
        Self { chain, contracts }
    }

    /// A world with an empty ledger.
    fn world(&self) -> World {
        let mut world = World::new();
        world.chain = Some(self.chain.http());
        world.accept_empty_history = false;
        let manager = self.contracts.manager.to_string();
        world.trigger.publish(&manager, document(&manager, "active"));
        world
    }

    async fn register(&self, signer: &str) {
        self.contracts.register(signer.parse().unwrap(), 100).await.unwrap();
    }

    async fn add(&self, node: &Running) -> ServiceId {
        node.add(&self.contracts.manager.to_string()).await.unwrap().service_id
    }
}

async fn signer(node: &Running) -> SignerView {
    let mut all = node.node.service.clone().signers(Context::current()).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn registration(view: &SignerView) -> &str {
    view.registration.as_ref().map_or("unknown", |found| &found.status)
}

async fn export(node: &Running, after: Option<HistoryCursor>, max: u32) -> Vec<HistoryRow> {
    node.node
        .service
        .clone()
        .export_history(Context::current(), after, max)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_weight_but_without_history_signs_nothing_until_it_is_accepted() {
    let stage = Stage::new().await;
    stage.register(FIRST).await;
    let world = stage.world();
    let node = world.start().await;
    let service = stage.add(&node).await;
    let found = signer(&node).await;
    assert_eq!(
        (found.history.as_str(), registration(&found)),
        ("missing", "registered")
    );
    assert!(
        found.refusal.as_deref().unwrap().contains("accept-empty-history"),
        "{found:?}"
    );

    world
        .trigger
        .fire("manual/1/0", &action(service, "submit", b"1"), Some(1));
    let progress = node.injected(1, 1).await;
    let error = progress.first_error.unwrap();
    assert!(error.starts_with("history_missing: "), "{error}");
    assert!(world.engine.runs().is_empty(), "a run whose result nobody may sign");
    assert!(export(&node, None, 10).await.is_empty());
    // What is not signed may run.
    world
        .trigger
        .fire("manual/2/0", &action(service, "silent", b"1"), Some(2));
    assert_eq!(node.injected(2, 1).await.failed, 0);

    // A restart does not make it any better; only the operator's word does, once.
    node.stop().await;
    let node = world.start().await;
    assert_eq!(signer(&node).await.history, "missing");
    let accept = async || {
        node.node
            .service
            .clone()
            .accept_empty_history(Context::current(), None)
            .await
            .unwrap()
    };
    assert_eq!(accept().await, [service]);
    assert!(accept().await.is_empty());
    world
        .trigger
        .fire("manual/3/0", &action(service, "submit", b"3"), Some(3));
    assert_eq!(node.injected(3, 1).await.failed, 0);
    assert_eq!(export(&node, None, 10).await.len(), 1);
    node.stop().await;
    let node = world.start().await;
    assert_eq!(signer(&node).await.history, "complete");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_new_on_chain_too_signs_at_once_and_its_registration_is_followed() {
    let stage = Stage::new().await;
    let world = stage.world();
    let node = world.start().await;
    let service = stage.add(&node).await;
    let found = signer(&node).await;
    assert_eq!(
        (found.history.as_str(), registration(&found)),
        ("complete", "unregistered")
    );
    world
        .trigger
        .fire("manual/1/0", &action(service, "submit", b"1"), Some(1));
    assert_eq!(node.injected(1, 1).await.failed, 0);

    // It was registered since: nothing is doubted, because it signed under this ledger from the first.
    stage.register(FIRST).await;
    node.stop().await;
    let node = world.start().await;
    let found = loop {
        let found = signer(&node).await;
        if found.registration.is_some() {
            break found;
        }
    };
    assert_eq!(
        (found.history.as_str(), registration(&found)),
        ("complete", "registered")
    );
    assert_eq!(found.registration.unwrap().weight, "100");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_takes_an_index_that_was_never_used_and_signs_no_event_again() {
    let stage = Stage::new().await;
    let mut world = stage.world();
    world.accept_empty_history = true;
    world
        .engine
        .on_operator(|number, _| Ok(Ok(vec![response(&[u8::from(number > 2)])])));
    let node = world.start().await;
    let service = stage.add(&node).await;
    world
        .trigger
        .fire("manual/1/0", &action(service, "submit", b"same"), Some(1));
    node.injected(1, 1).await;
    let before = export(&node, None, 10).await;

    let rotated = node
        .node
        .service
        .clone()
        .rotate_signer(Context::current(), service)
        .await
        .unwrap();
    assert_eq!(
        (
            rotated.hd_index,
            EvmAddress::from(rotated.address).to_checksum(None).as_str()
        ),
        (2, SECOND)
    );
    let found = signer(&node).await;
    assert_eq!(found.former, [(1, FIRST.parse::<EvmAddress>().unwrap().into_array())]);

    // The same digest again: the stored signature counts. Another one: refused, whoever would sign it.
    world
        .trigger
        .fire("manual/2/0", &action(service, "submit", b"same"), Some(2));
    assert_eq!(node.injected(2, 1).await.failed, 0);
    world
        .trigger
        .fire("manual/3/0", &action(service, "submit", b"same"), Some(3));
    let progress = node.injected(3, 1).await;
    assert!(progress.first_error.unwrap().starts_with("equivocation_refused: "));
    assert_eq!(export(&node, None, 10).await, before);
    // A new event is signed with the new key, also after a restart.
    node.stop().await;
    let node = world.start().await;
    world
        .trigger
        .fire("manual/4/0", &action(service, "submit", b"other"), Some(4));
    node.injected(4, 1).await;
    let after = export(&node, None, 10).await;
    assert_eq!(after.len(), 2);
    assert!(
        after
            .iter()
            .any(|row| EvmAddress::from(row.signer) == SECOND.parse::<EvmAddress>().unwrap())
    );
    // The former index is never handed out again.
    let rotated = node
        .node
        .service
        .clone()
        .rotate_signer(Context::current(), service)
        .await
        .unwrap();
    assert_eq!(rotated.hd_index, 3);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_moves_to_another_machine_and_keeps_its_promise_there() {
    let stage = Stage::new().await;
    let world = stage.world();
    world
        .engine
        .on_operator(|_, job| Ok(Ok(vec![response(job.action.text())])));
    let node = world.start().await;
    let service = stage.add(&node).await;
    for number in 0..5 {
        let data = [number];
        world.trigger.fire(
            &format!("manual/1/{number}"),
            &action(service, "submit", &data),
            Some(1),
        );
    }
    node.injected(1, 5).await;
    let mut rows = export(&node, None, 2).await;
    while let Some(last) = rows.last().filter(|_| rows.len() < 5) {
        let after = HistoryCursor {
            signer: last.signer,
            event_id: last.event_id,
        };
        rows.extend(export(&node, Some(after), 2).await);
    }
    assert_eq!(rows, export(&node, None, 100).await);
    stage.register(FIRST).await;
    node.stop().await;

    // On the new machine the key would be refused, but its history is brought along.
    let world = stage.world();
    world
        .engine
        .on_operator(|_, _| Ok(Ok(vec![response(b"something else")])));
    let node = world.start().await;
    let import = async |rows: Vec<HistoryRow>| node.node.service.clone().import_history(Context::current(), rows).await;
    assert_eq!(import(rows.clone()).await, Ok(5));
    assert_eq!(import(rows.clone()).await, Ok(0), "again changes nothing");
    assert_eq!(stage.add(&node).await, service);
    assert_eq!(signer(&node).await.history, "complete");
    world
        .trigger
        .fire("manual/1/0", &action(service, "submit", &[0]), Some(1));
    let error = node.injected(1, 1).await.first_error.unwrap();
    assert!(error.starts_with("equivocation_refused: "), "{error}");

    // A history that contradicts this one is taken over neither whole nor in part.
    let mut other = rows.clone();
    other.push(HistoryRow {
        event_id: wavs_types::EventId::new([9; 20]),
        ..rows[0].clone()
    });
    other.rotate_right(1);
    other[1].digest = [1; 32];
    let refused = import(other).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert_eq!(export(&node, None, 100).await.len(), 5);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_of_a_target_chain_is_asked_too() {
    let stage = Stage::new().await;
    stage.register(FIRST).await;
    let mut world = stage.world();
    world.accept_empty_history = true;
    // A handler whose manager is another one, which does not know the key.
    let mirror = Contracts::deploy(&stage.chain).await.unwrap();
    let handler = mirror.handler.into_array();
    world.engine.on_aggregator(move |_| {
        Ok(Ok(vec![Action::SubmitEvm {
            chain: "evm:31337".parse().unwrap(),
            address: handler,
            gas_price: None,
        }]))
    });
    let node = world.start().await;
    let service = stage.add(&node).await;
    assert!(signer(&node).await.mirrors.is_empty());
    world
        .trigger
        .fire("manual/1/0", &action(service, "submit", b"1"), Some(1));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    let found = loop {
        let found = signer(&node).await;
        if !found.mirrors.is_empty() {
            break found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found:?}");
        tokio::task::yield_now().await;
    };
    assert_eq!(registration(&found), "registered");
    assert_eq!(found.mirrors[0].manager, mirror.manager.into_array());
    let there = found.mirrors[0].registration.as_ref().unwrap();
    assert_eq!(there.status, "unregistered");
    node.stop().await;
}
