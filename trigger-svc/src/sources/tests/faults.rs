//! Networks and endpoints that fail.

use testkit::{Fault, Proxy};
use wavs_ipc::contract::trigger_admin::EndpointState;

use super::*;

/// A configuration that notices failures quickly.
fn impatient(anvil: &Anvil, endpoints: &[String]) -> EvmChainConfig {
    let mut config = config(anvil);
    config.ws_endpoints = endpoints.to_vec();
    // Or it would take over what these tests break.
    config.http_endpoint = None;
    config.connect_timeout_secs = 2;
    config.request_timeout_secs = 2;
    config.ping_interval_secs = 1;
    config.pong_timeout_secs = 1;
    config
}

/// Logs that are emitted before, during and after a fault all come, once and in order, over the endpoint that failed.
async fn survives(fault: Fault) {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let proxy = Proxy::start(anvil.port()).await.unwrap();
    fixture
        .sources
        .apply(&watch(&chain, impatient(&anvil, &[proxy.ws()]), emitter.contract));
    live(&fixture, &chain).await;
    let before = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, before)], "{fault:?}");

    let strikes = proxy.strikes();
    proxy.set(fault.clone());
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(key(&chain, emitter.emit(TOPIC).await));
    }
    proxy.struck(strikes, LIMIT).await.unwrap();
    // A fault that only delays needs no new connection.
    if !matches!(fault, Fault::Delay(_)) {
        until(&fixture, &chain, |shown| shown["reconnects"].as_u64() > Some(0)).await;
    }
    proxy.set(Fault::Pass);
    for _ in 0..5 {
        expected.push(key(&chain, emitter.emit(TOPIC).await));
    }
    assert_eq!(keys(&fixture.next(10).await), expected, "{fault:?}");
    assert!(fixture.nothing_waits().await, "{fault:?}");
}

#[tokio::test]
async fn a_connection_that_is_reset_loses_nothing() {
    survives(Fault::Drop).await;
}

#[tokio::test]
async fn a_connection_that_is_slow_loses_nothing() {
    survives(Fault::Delay(Duration::from_millis(300))).await;
}

#[tokio::test]
async fn a_connection_that_swallows_everything_loses_nothing() {
    survives(Fault::HalfOpen).await;
}

#[tokio::test]
async fn a_connection_that_brings_garbage_loses_nothing() {
    survives(Fault::Garbage).await;
}

#[tokio::test]
async fn a_connection_that_ends_inside_a_frame_loses_nothing() {
    survives(Fault::Truncate).await;
}

#[tokio::test]
async fn an_endpoint_that_limits_the_rate_loses_nothing() {
    survives(Fault::TooManyRequests).await;
}

#[tokio::test]
async fn an_endpoint_that_answers_with_limit_errors_loses_nothing() {
    survives(Fault::limit_exceeded()).await;
}

#[tokio::test]
async fn refused_subscriptions_are_asked_for_again() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let proxy = Proxy::start(anvil.port()).await.unwrap();
    proxy.set(Fault::RpcError {
        code: -32_000,
        message: "too many subscriptions".to_owned(),
        methods: vec!["eth_subscribe".to_owned()],
    });
    fixture
        .sources
        .apply(&watch(&chain, impatient(&anvil, &[proxy.ws()]), emitter.contract));
    until(&fixture, &chain, |shown| shown["reconnects"].as_u64() > Some(0)).await;
    proxy.set(Fault::Pass);
    live(&fixture, &chain).await;
    let first = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, first)]);
}

#[tokio::test]
async fn an_endpoint_on_another_chain_is_never_followed() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let wrong = Proxy::start(anvil.port()).await.unwrap();
    wrong.set(Fault::WrongChain(1));
    let endpoints = [wrong.ws(), anvil.ws()];
    let watch = watch(&chain, impatient(&anvil, &endpoints), emitter.contract);
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    let first = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, first)]);
    let status = fixture.sources.chains(&watch.chains).remove(0);
    let states: Vec<_> = status.endpoints.iter().map(|endpoint| endpoint.state).collect();
    assert_eq!(states, [EndpointState::WrongChain, EndpointState::Active]);
    assert!(
        status.endpoints[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("serves chain id 1")
    );
}

#[tokio::test]
async fn the_preferred_endpoint_is_taken_back_without_a_loss() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let preferred = Proxy::start(anvil.port()).await.unwrap();
    let mut config = impatient(&anvil, &[anvil.ws(), preferred.ws()]);
    config.ws_priority_endpoint_index = Some(1);
    fixture.sources.apply(&watch(&chain, config, emitter.contract));
    let uses = |url: String| move |shown: &Value| shown["is_connected"] == true && shown["current_endpoint"] == url;
    until(&fixture, &chain, uses(preferred.ws())).await;
    preferred.set(Fault::Drop);
    until(&fixture, &chain, uses(anvil.ws())).await;
    let mut expected = vec![key(&chain, emitter.emit(TOPIC).await)];
    preferred.set(Fault::Pass);
    until(&fixture, &chain, uses(preferred.ws())).await;
    expected.push(key(&chain, emitter.emit(TOPIC).await));
    assert_eq!(keys(&fixture.next(2).await), expected);
}

#[tokio::test]
async fn http_takes_over_while_no_websocket_works_and_gives_back_without_a_loss() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let proxy = Proxy::start(anvil.port()).await.unwrap();
    let mut config = impatient(&anvil, &[proxy.ws()]);
    config.http_endpoint = Some(anvil.http());
    config.poll_interval_ms = 50;
    fixture.sources.apply(&watch(&chain, config, emitter.contract));
    let uses = |url: String| move |shown: &Value| shown["is_connected"] == true && shown["current_endpoint"] == url;
    until(&fixture, &chain, uses(proxy.ws())).await;
    let mut expected = vec![key(&chain, emitter.emit(TOPIC).await)];
    proxy.set(Fault::Drop);
    expected.push(key(&chain, emitter.emit(TOPIC).await));
    until(&fixture, &chain, uses(anvil.http())).await;
    expected.push(key(&chain, emitter.emit(TOPIC).await));
    assert_eq!(keys(&fixture.next(3).await), expected);
    proxy.set(Fault::Pass);
    until(&fixture, &chain, uses(proxy.ws())).await;
    let last = key(&chain, emitter.emit(TOPIC).await);
    assert_eq!(keys(&fixture.next(1).await), [last]);
}

#[tokio::test]
async fn an_endpoint_that_falls_behind_is_left() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    // A chain of its own with the same id, which stays where it is.
    let stale = Anvil::start().await.unwrap();
    anvil.mine_many(20).await.unwrap();
    let config = impatient(&anvil, &[stale.ws(), anvil.ws()]);
    fixture.sources.apply(&watch(&chain, config, emitter.contract));
    until(&fixture, &chain, |shown| {
        shown["is_connected"] == true && shown["current_endpoint"] == anvil.ws()
    })
    .await;
}

#[tokio::test]
async fn a_dead_chain_does_not_delay_another() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let proxy = Proxy::start(anvil.port()).await.unwrap();
    proxy.set(Fault::HalfOpen);
    let mut both = watch(&chain, config(&anvil), emitter.contract);
    let (black_hole, closed): (ChainKey, ChainKey) = ("dev:hole".parse().unwrap(), "dev:closed".parse().unwrap());
    for (dead, endpoint) in [(&black_hole, proxy.ws()), (&closed, "ws://127.0.0.1:1".to_owned())] {
        let mut config = config(&anvil);
        config.ws_endpoints = vec![endpoint];
        both.chains.insert(dead.clone(), ChainConfig::Evm(config));
        let mut route = both.routes[0].clone();
        route.workflow_id = dead.as_str().replace(':', "-").parse().unwrap();
        route.trigger = Trigger::EvmContractEvent {
            address: emitter.contract,
            chain: dead.clone(),
            event_hash: TOPIC,
        };
        both.routes.push(route);
    }
    fixture.sources.apply(&both);
    live(&fixture, &chain).await;
    let first = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, first)]);
    let status = fixture.sources.chains(&both.chains);
    let connected: Vec<_> = status.iter().map(|status| status.connected).collect();
    assert_eq!(connected, [false, false, true]);
}

#[tokio::test]
async fn an_unused_source_lingers_and_serves_again_at_once() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let used = watch(&chain, config(&anvil), emitter.contract);
    fixture.sources.apply(&used);
    live(&fixture, &chain).await;
    let mut unused = used.clone();
    unused.routes.clear();
    fixture.sources.apply(&unused);
    until(&fixture, &chain, |shown| shown["desired_filters"] == 0).await;
    fixture.sources.end_unused();
    assert_eq!(
        fixture.sources.streams()["chains"][chain.as_str()]["is_connected"],
        true
    );
    fixture.sources.apply(&used);
    until(&fixture, &chain, |shown| shown["desired_filters"] == 1).await;
    let first = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, first)]);

    fixture.sources.apply(&unused);
    let running = fixture.sources.evm.get_mut(&chain).unwrap();
    running.unused_since = Instant::now().checked_sub(UNUSED_LINGER);
    fixture.sources.end_unused();
    assert_eq!(fixture.sources.streams()["chains"], json!({}));
}
