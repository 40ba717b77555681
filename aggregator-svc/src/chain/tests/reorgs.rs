//! Our own transactions on chains that are reorganised, and chains that say themselves what is final.

use serde_json::json;
use wavs_types::SubmitConfirmations;

use super::anvil::Anvil;
use super::setup::{Setup, account, mined};
use crate::chain::Outcome;

#[tokio::test]
async fn a_transaction_that_a_reorganisation_dropped_is_sent_again() {
    let setup = Setup::on(Anvil::start().await, |config| wavs_types::EvmChainConfig {
        submit_confirmations: SubmitConfirmations::Depth(4),
        ..config
    })
    .await;
    let transactions = setup.transactions().await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    let first = mined(tracked.outcome().await);
    // At depth 0, 1 and 2 in turn: it is never final before it is four deep in one history.
    for depth in 1..=3 {
        let mut pending = tracked.clone();
        setup.anvil.kit().reorg(depth).await.unwrap();
        pending.changed().await;
        let again = mined(tracked.outcome().await);
        assert_eq!(again.hash, first.hash, "the same raw transaction");
        assert_ne!(again.block_hash, first.block_hash);
        setup.anvil.mine(depth).await;
    }
    setup.anvil.mine(4).await;
    let last = mined(tracked.finality().await);
    assert_eq!((last.hash, setup.count().await), (first.hash, 1));
    // What was learnt on the way does not stand in the way of the next one.
    mined(setup.submit(&transactions, 2).await.unwrap().outcome().await);
}

#[tokio::test]
async fn a_nonce_that_went_to_another_transaction_after_a_reorganisation_is_lost() {
    let setup = Setup::on(Anvil::start().await, |config| wavs_types::EvmChainConfig {
        submit_confirmations: SubmitConfirmations::Depth(6),
        ..config
    })
    .await;
    let snapshot = setup.anvil.kit().snapshot().await.unwrap();
    let transactions = setup.transactions().await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    mined(tracked.outcome().await);
    setup.anvil.automine(false).await;
    setup.anvil.kit().revert(&snapshot).await.unwrap();
    let own = account();
    setup
        .anvil
        .request(
            "eth_sendTransaction",
            json!([{"from": own, "to": own, "maxFeePerGas": "0x174876e800", "maxPriorityFeePerGas": "0x174876e800"}]),
        )
        .await;
    setup.anvil.mine(3).await;
    setup.anvil.automine(true).await;
    let outcome = tracked.finality().await;
    assert!(matches!(outcome, Outcome::Lost(_)), "{outcome:?}");
    mined(setup.submit(&transactions, 1).await.unwrap().outcome().await);
}

#[tokio::test]
async fn finality_may_be_what_the_chain_calls_finalized() {
    let setup = Setup::on(Anvil::start().await, |config| wavs_types::EvmChainConfig {
        submit_confirmations: serde_json::from_value(json!("finalized")).unwrap(),
        ..config
    })
    .await;
    let transactions = setup.transactions().await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    let tx = mined(tracked.outcome().await);
    let finalized = || async {
        let block = setup
            .anvil
            .request("eth_getBlockByNumber", json!(["finalized", false]))
            .await;
        super::anvil::number(&block["number"])
    };
    assert!(finalized().await < tx.block_number);
    while finalized().await < tx.block_number {
        setup.anvil.mine(8).await;
    }
    assert_eq!(mined(tracked.finality().await), tx);
}
