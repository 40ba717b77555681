//! A submission under way when the way to the chain breaks: it ends well as soon as the way is there again, without a restart.

use std::time::Duration;

use testkit::{Fault, Proxy};
use wavs_types::EvmChainConfig;

use super::anvil::Anvil;
use super::setup::{Setup, mined};
use super::{Key, chains, config, key};
use crate::chain::{ChainError, PostingSigner as _, Retry, Transactions};

/// How long a fault may take until somebody runs into it.
const LIMIT: Duration = Duration::from_secs(60);

fn faults() -> Vec<Fault> {
    vec![
        Fault::Drop,
        Fault::Delay(Duration::from_secs(3600)),
        Fault::HalfOpen,
        Fault::Garbage,
        Fault::Truncate,
        Fault::TooManyRequests,
        Fault::limit_exceeded(),
        Fault::WrongChain(5),
    ]
}

/// Behind a proxy, by HTTP or by WebSocket.
async fn behind(proxy: &Proxy, anvil: Anvil, websocket: bool) -> Setup {
    let (http, ws) = (proxy.http(), proxy.ws());
    Setup::on(anvil, |config| EvmChainConfig {
        http_endpoint: (!websocket).then_some(http),
        ws_endpoints: if websocket { vec![ws] } else { Vec::new() },
        request_timeout_secs: 2,
        connect_timeout_secs: 2,
        ..config
    })
    .await
}

async fn survives(fault: Fault, websocket: bool) {
    let anvil = Anvil::start().await;
    let proxy = Proxy::start(anvil.kit().port()).await.unwrap();
    let setup = behind(&proxy, anvil, websocket).await;
    let transactions = setup.transactions().await;
    setup.anvil.automine(false).await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    setup.anvil.pooled(1).await;

    let before = proxy.strikes();
    proxy.set(fault.clone());
    if !matches!(fault, Fault::WrongChain(_)) {
        proxy.struck(before, LIMIT).await.unwrap();
    }
    setup.anvil.mine(1).await;
    proxy.set(Fault::Pass);
    mined(tracked.outcome().await);

    // And the next one, whose first attempt may still meet what the fault left behind.
    setup.anvil.automine(true).await;
    let mut next = loop {
        match setup.assess(2).await {
            Ok(_) => break setup.submit(&transactions, 2).await.unwrap(),
            Err(error) => assert_eq!(error.retry(), Retry::Backoff, "{fault:?}: {error}"),
        }
        tokio::task::yield_now().await;
    };
    mined(next.outcome().await);
    assert_eq!(setup.count().await, 2, "{fault:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_over_http() {
    futures::future::join_all(faults().into_iter().map(|fault| survives(fault, false))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_over_websocket() {
    futures::future::join_all(faults().into_iter().map(|fault| survives(fault, true))).await;
}

#[tokio::test]
async fn a_fault_before_the_broadcast_leaves_a_stored_transaction_that_is_sent_later() {
    let anvil = Anvil::start().await;
    let proxy = Proxy::start(anvil.kit().port()).await.unwrap();
    let setup = behind(&proxy, anvil, false).await;
    let transactions = setup.transactions().await;
    let request = setup.request(1).await;
    // Warm the lane, so that only the broadcast is left to do.
    mined(setup.submit(&transactions, 2).await.unwrap().outcome().await);
    let before = proxy.strikes();
    proxy.set(Fault::Drop);
    let mut tracked = transactions.submit(request).await.unwrap();
    proxy.struck(before, LIMIT).await.unwrap();
    proxy.set(Fault::Pass);
    mined(tracked.outcome().await);
    assert_eq!(setup.count().await, 2);
}

#[tokio::test]
async fn a_dead_endpoint_beside_a_live_one_delays_nothing_and_comes_back() {
    let anvil = Anvil::start().await;
    let proxy = Proxy::start(anvil.kit().port()).await.unwrap();
    let live = anvil.ws();
    let setup = Setup::on(anvil, |config| EvmChainConfig {
        http_endpoint: Some(proxy.http()),
        ws_endpoints: vec![live],
        request_timeout_secs: 2,
        ..config
    })
    .await;
    let transactions = setup.transactions().await;
    mined(setup.submit(&transactions, 1).await.unwrap().outcome().await);
    proxy.set(Fault::Drop);
    mined(setup.submit(&transactions, 2).await.unwrap().outcome().await);
    assert_eq!(setup.chains.health()[&key()][0].state, "failing");
    proxy.set(Fault::Pass);
    // It is asked in the background by and by.
    while setup.chains.health()[&key()][0].state != "ok" {
        setup.assess(3).await.unwrap();
    }
}

#[tokio::test]
async fn an_endpoint_that_serves_another_chain_for_a_while_is_left_out_and_not_for_ever() {
    let anvil = Anvil::start().await;
    let proxy = Proxy::start(anvil.kit().port()).await.unwrap();
    let live = anvil.http();
    proxy.set(Fault::WrongChain(5));
    let chains = chains(EvmChainConfig {
        http_endpoint: Some(proxy.http()),
        ws_endpoints: vec![live],
        ..config(&anvil.http())
    });
    let folder = tempfile::tempdir().unwrap();
    let migrations = [wavs_store::Migration::new("transactions", crate::chain::TX_SCHEMA)];
    let writer = wavs_store::Database::open(folder.path().join("ledger.db"), &migrations)
        .unwrap()
        .writer();
    let stop = tokio_util::sync::CancellationToken::new();
    let transactions = Transactions::start(chains.clone(), writer, Some(Key::funded()), stop.clone())
        .await
        .unwrap();
    assert_eq!(transactions.address(), Some(Key::funded().address()));
    let chain = chains.evm(&key()).unwrap();
    chain.head().await.unwrap();
    assert_eq!(chains.health()[&key()][0].state, "wrong_chain_id");
    assert_eq!(chains.health()[&key()][1].state, "ok");
    stop.cancel();
}

#[tokio::test]
async fn a_dead_chain_is_an_error_of_its_own() {
    let anvil = Anvil::start().await;
    let setup = Setup::on(anvil, |config| config).await;
    let dead = "evm:5".parse().unwrap();
    let table = std::collections::BTreeMap::from([
        (key(), wavs_types::ChainConfig::Evm(config(&setup.anvil.http()))),
        (
            dead,
            wavs_types::ChainConfig::Evm(EvmChainConfig {
                chain_id: "5".to_owned(),
                ..config("http://127.0.0.1:9")
            }),
        ),
    ]);
    setup.chains.set(&table);
    let transactions = setup.transactions().await;
    mined(setup.submit(&transactions, 1).await.unwrap().outcome().await);
    let dead = "evm:5".parse().unwrap();
    let asked = setup
        .chains
        .registration(&dead, super::setup::MANAGER, super::setup::account());
    let error = asked.await.unwrap_err();
    assert!(matches!(error, ChainError::Unreachable { .. }), "{error}");
}
