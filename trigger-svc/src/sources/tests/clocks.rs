//! Block intervals and schedules.

use wavs_types::TriggerData;

use super::*;

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
    let mut fixture = Fixture::new().await;
    let mut config = config(&anvil);
    adapt(&mut config);
    let watch = every_third(&chain, config);
    fixture
        .spool
        .store_watch(&watch, vec![beginning(&chain, 0)])
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
    anvil.mine_many(6).await.unwrap();
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
    anvil.mine_many(9).await.unwrap();
    fixture.sources.apply(&watch);
    assert_eq!(keys(&fixture.next(3).await), expected(&[8, 11, 14]));
    live(&fixture, &chain).await;
    anvil.mine_many(2).await.unwrap();
    assert_eq!(keys(&fixture.next(1).await), expected(&[17]));

    // A reorganisation brings heights again; they have fired.
    anvil.reorg(4).await.unwrap();
    anvil.mine_many(3).await.unwrap();
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

#[tokio::test]
async fn block_intervals_wait_for_confirmations() {
    let anvil = Anvil::start().await.unwrap();
    let chain: ChainKey = anvil.chain_key().parse().unwrap();
    let mut fixture = Fixture::new().await;
    let mut config = config(&anvil);
    config.confirmations = 2;
    let watch = every_third(&chain, config);
    fixture
        .spool
        .store_watch(&watch, vec![beginning(&chain, 0)])
        .await
        .unwrap();
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    anvil.mine_many(6).await.unwrap();
    assert_eq!(keys(&fixture.next(1).await), [format!("{chain}/block/2")]);
    until(&fixture, &chain, |shown| shown["horizon"] == 4).await;
    assert!(fixture.nothing_waits().await);
    anvil.mine().await.unwrap();
    assert_eq!(keys(&fixture.next(1).await), [format!("{chain}/block/5")]);
}
