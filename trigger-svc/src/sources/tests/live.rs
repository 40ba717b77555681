//! What is seen while everything works.

use testkit::Mining;
use wavs_types::TriggerData;

use super::*;

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
    anvil.reorg(1).await.unwrap();
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

#[tokio::test]
async fn a_full_spool_stops_the_chain_and_room_lets_it_go_on() {
    let (anvil, chain, emitter, _) = bed().await;
    let mut fixture = Fixture::with_quota(Quota {
        entries: 3,
        bytes: 1_000_000,
    })
    .await;
    fixture.sources.apply(&watch(&chain, config(&anvil), emitter.contract));
    live(&fixture, &chain).await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(key(&chain, emitter.emit(TOPIC).await));
    }
    assert_eq!(keys(&fixture.next(3).await), expected);
    let full = emitter.emit(TOPIC).await;
    expected.push(key(&chain, full));
    let mut polls = tokio::time::interval(Duration::from_millis(5));
    while fixture.spool.waiting_for_room() == 0 {
        polls.tick().await;
    }
    for _ in 0..20 {
        expected.push(key(&chain, emitter.emit(TOPIC).await));
    }
    let position = fixture.spool.position(&chain).await.unwrap().unwrap();
    assert!(position.height < full.1 && position.scanned < full.1);
    assert!(fixture.nothing_waits().await);

    let mut items = expected[..3].to_vec();
    while items.len() < expected.len() {
        let taken = fixture.cursor().await;
        fixture.spool.ack(taken).await.unwrap();
        items.extend(keys(&fixture.next(1).await));
    }
    assert_eq!(items, expected);
}
