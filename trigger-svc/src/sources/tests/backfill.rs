//! What is read later than it happened.

use std::collections::BTreeSet;

use super::provider::{self, Provider as LimitedProvider};
use super::*;

/// A watch of a chain that is polled at `url`.
fn polled(anvil: &Anvil, url: String) -> EvmChainConfig {
    let mut config = config(anvil);
    config.ws_endpoints.clear();
    config.http_endpoint = Some(url);
    config.poll_interval_ms = 100;
    config
}

#[tokio::test]
async fn a_log_that_is_read_later_is_byte_for_byte_the_one_that_was_seen_live() {
    let (anvil, chain, emitter, mut seen) = bed().await;
    let mut read = Fixture::new().await;
    let watch = watch(&chain, config(&anvil), emitter.contract);
    for fixture in [&mut seen, &mut read] {
        fixture.sources.apply(&watch);
        live(fixture, &chain).await;
    }
    read.restart().await;
    for count in [1, 7, 30] {
        emitter.send(TOPIC, count).await;
    }
    let seen = seen.next(38).await;
    anvil.mine_many(10).await.unwrap();
    read.sources.apply(&watch);
    let read = read.next(38).await;
    let bytes = |items: &[SpoolItem]| {
        items
            .iter()
            .map(|item| serde_json::to_vec(&item.body).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(bytes(&seen), bytes(&read));
    assert_eq!(keys(&seen).into_iter().collect::<BTreeSet<_>>().len(), 38);
}

#[tokio::test]
async fn a_long_absence_is_caught_up_with_completely() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let mut config = config(&anvil);
    config.max_getlogs_range = 300;
    let watch = watch(&chain, config, emitter.contract);
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    fixture.restart().await;
    for _ in 0..10 {
        emitter.send(TOPIC, 100).await;
        anvil.mine_many(99).await.unwrap();
    }
    fixture.sources.apply(&watch);
    let items = keys(&fixture.next(1_000).await);
    assert_eq!(items.iter().collect::<BTreeSet<_>>().len(), 1_000);
    live(&fixture, &chain).await;
    assert!(fixture.nothing_waits().await);
    let shown = &fixture.sources.streams()["chains"][chain.as_str()];
    assert_eq!((&shown["lag"], &shown["gaps"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn a_gap_beyond_the_bound_is_cut_and_reported() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let mut config = config(&anvil);
    config.max_backfill_blocks = 100;
    let watch = watch(&chain, config, emitter.contract);
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    let start = anvil.height().await.unwrap();
    fixture.restart().await;
    emitter.emit(TOPIC).await;
    anvil.mine_many(399).await.unwrap();
    let near = emitter.emit(TOPIC).await;
    anvil.mine_many(99).await.unwrap();
    fixture.sources.apply(&watch);
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, near)]);
    let gaps = &fixture.sources.streams()["chains"][chain.as_str()]["gaps"];
    assert_eq!(
        (&gaps[0]["from"], &gaps[0]["to"]),
        (&json!(start + 1), &json!(start + 400))
    );
    assert!(fixture.nothing_waits().await);
}

#[tokio::test]
async fn a_provider_that_limits_ranges_in_its_own_words_is_asked_for_less() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let texts = [
        (
            -32_602,
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
        ),
        (-32_005, "query returned more than 10000 results"),
        (-32_614, "eth_getLogs is limited to a 100 range"),
        (-32_000, "exceed maximum block range: 100"),
        (-32_005, "daily request count exceeded, request rate limited"),
        (-32_062, "Block range is too large"),
        (-32_000, "query timeout exceeded"),
    ];
    let limited = LimitedProvider::start(anvil.http(), move |filter, asked| {
        let (code, message) = texts[usize::try_from(asked).unwrap() % texts.len()];
        (provider::blocks(filter) > 100).then(|| json!({"code": code, "message": message}))
    })
    .await;
    let watch = watch(&chain, polled(&anvil, limited.url()), emitter.contract);
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    fixture.restart().await;
    let mut expected = Vec::new();
    for _ in 0..37 {
        expected.push(key(&chain, emitter.emit(TOPIC).await));
        anvil.mine_many(13).await.unwrap();
    }
    fixture.sources.apply(&watch);
    assert_eq!(keys(&fixture.next(37).await), expected);
    assert!(fixture.nothing_waits().await);
}

#[tokio::test]
async fn a_provider_that_limits_contracts_is_asked_for_fewer_at_a_time() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let limited = LimitedProvider::start(anvil.http(), |filter, _| {
        let many = filter["address"]
            .as_array()
            .is_some_and(|addresses| addresses.len() > 3);
        many.then(|| json!({"code": -32_602, "message": "exceed max addresses or topics per search position"}))
    })
    .await;
    let mut watch = watch(&chain, polled(&anvil, limited.url()), emitter.contract);
    for other in 1..=20 {
        let mut route = watch.routes[0].clone();
        route.workflow_id = format!("other-{other}").parse().unwrap();
        route.trigger = Trigger::EvmContractEvent {
            address: Address::repeat_byte(other),
            chain: chain.clone(),
            event_hash: TOPIC,
        };
        watch.routes.push(route);
    }
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    let first = emitter.emit(TOPIC).await;
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, first)]);
    assert!(limited.asked() > 0);
}
