//! Which blocks fire, and what becomes of those that leave the chain.

use testkit::anvil::AnvilOptions;
use wavs_types::Finality;

use super::*;

/// A chain that calls the block before the head safe and the one before that finalized.
fn quickly_final() -> AnvilOptions {
    Anvil::options().arguments(["--slots-in-an-epoch", "1"])
}

/// A log fires when its block is `depth` blocks behind the head, and not before; what fires is the same as without delay.
async fn fires_behind(depth: u64, adapt: impl Fn(&mut EvmChainConfig)) {
    let anvil = quickly_final().start().await.unwrap();
    let chain: ChainKey = anvil.chain_key().parse().unwrap();
    let emitter = Emitter::deploy(anvil.provider().unwrap()).await;
    anvil.mine_many(5).await.unwrap();
    let (mut delayed, mut at_once) = (Fixture::new().await, Fixture::new().await);
    let mut late = config(&anvil);
    adapt(&mut late);
    delayed.sources.apply(&watch(&chain, late, emitter.contract));
    at_once.sources.apply(&watch(&chain, config(&anvil), emitter.contract));
    live(&delayed, &chain).await;
    live(&at_once, &chain).await;

    let (_, height) = emitter.emit(TOPIC).await;
    for behind in 0..depth {
        until(&delayed, &chain, |shown| {
            shown["head"] == height + behind && shown["horizon"] == height + behind - depth
        })
        .await;
        assert!(delayed.nothing_waits().await, "fired {behind} blocks behind the head");
        anvil.mine().await.unwrap();
    }
    let (late, early) = (delayed.next(1).await, at_once.next(1).await);
    assert_eq!(late[0].body, early[0].body);
    assert!(delayed.nothing_waits().await);
}

#[tokio::test]
async fn a_log_waits_for_confirmations() {
    fires_behind(3, |config| config.confirmations = 3).await;
}

#[tokio::test]
async fn a_log_waits_until_its_block_is_safe() {
    fires_behind(1, |config| config.finality = Finality::Safe).await;
}

#[tokio::test]
async fn a_log_waits_until_its_block_is_finalized() {
    fires_behind(2, |config| config.finality = Finality::Finalized).await;
}

#[tokio::test]
async fn a_polled_log_waits_for_confirmations() {
    fires_behind(2, |config| {
        config.confirmations = 2;
        config.ws_endpoints.clear();
        config.poll_interval_ms = 100;
    })
    .await;
}

#[tokio::test]
async fn what_leaves_the_chain_before_its_confirmation_is_never_heard_of() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let mut confirmed = config(&anvil);
    confirmed.confirmations = 3;
    fixture.sources.apply(&watch(&chain, confirmed, emitter.contract));
    live(&fixture, &chain).await;
    emitter.emit(TOPIC).await;
    anvil.mine().await.unwrap();
    anvil.reorg(2).await.unwrap();
    let again = emitter.emit(TOPIC).await;
    anvil.mine_many(3).await.unwrap();
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, again)]);
    assert!(fixture.nothing_waits().await);
}

#[tokio::test]
async fn a_reorganisation_below_the_confirmations_is_reported_in_every_mode() {
    for adapt in [
        (|_| {}) as fn(&mut EvmChainConfig),
        |config| config.confirmations = 1,
        |config| config.finality = Finality::Safe,
    ] {
        let anvil = quickly_final().start().await.unwrap();
        let chain: ChainKey = anvil.chain_key().parse().unwrap();
        let emitter = Emitter::deploy(anvil.provider().unwrap()).await;
        let mut fixture = Fixture::new().await;
        let mut config = config(&anvil);
        adapt(&mut config);
        fixture.sources.apply(&watch(&chain, config, emitter.contract));
        live(&fixture, &chain).await;
        let first = emitter.emit(TOPIC).await;
        anvil.mine_many(2).await.unwrap();
        assert_eq!(keys(&fixture.next(1).await), [key(&chain, first)]);
        anvil.reorg(3).await.unwrap();
        let again = emitter.emit(TOPIC).await;
        anvil.mine_many(2).await.unwrap();
        let expected = [format!("orphaned {}", key(&chain, first)), key(&chain, again)];
        assert_eq!(keys(&fixture.next(2).await), expected);
    }
}

#[tokio::test]
async fn a_log_that_is_mined_again_in_an_earlier_block_while_nobody_looks_fires_again() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let watch = watch(&chain, config(&anvil), emitter.contract);
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    let before = anvil.snapshot().await.unwrap();
    anvil.mine_many(2).await.unwrap();
    let first = emitter.emit(TOPIC).await;
    anvil.mine_many(5).await.unwrap();
    assert_eq!(keys(&fixture.next(1).await), [key(&chain, first)]);
    until(&fixture, &chain, |shown| shown["cursor"].as_u64() > Some(first.1)).await;
    fixture.restart().await;

    anvil.revert(&before).await.unwrap();
    let again = emitter.emit(TOPIC).await;
    assert!(again.1 < first.1, "below everything that was looked at");
    anvil.mine_many(9).await.unwrap();
    fixture.sources.apply(&watch);
    let expected = [format!("orphaned {}", key(&chain, first)), key(&chain, again)];
    assert_eq!(keys(&fixture.next(2).await), expected);
    assert!(fixture.nothing_waits().await);
}

#[tokio::test]
async fn a_chain_that_lost_its_blocks_is_followed_from_where_it_is() {
    let (anvil, chain, emitter, mut fixture) = bed().await;
    let watch = watch(&chain, config(&anvil), emitter.contract);
    let before = anvil.snapshot().await.unwrap();
    anvil.mine_many(400).await.unwrap();
    fixture.sources.apply(&watch);
    live(&fixture, &chain).await;
    let first = emitter.emit(TOPIC).await;
    fixture.next(1).await;
    anvil.revert(&before).await.unwrap();
    let again = emitter.emit(TOPIC).await;
    let expected = [format!("orphaned {}", key(&chain, first)), key(&chain, again)];
    assert_eq!(keys(&fixture.next(2).await), expected);
}
