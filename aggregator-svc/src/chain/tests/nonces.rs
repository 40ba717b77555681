//! Nonces: gaps, foreign use, lost transactions, and nodes that take few.

use serde_json::json;
use wavs_store::Durability;

use super::anvil::Anvil;
use super::setup::{Setup, account, mined};
use crate::chain::{Outcome, SubmitError};

#[tokio::test]
async fn a_transaction_that_the_node_lost_is_sent_again_and_holds_nobody_up_for_long() {
    let setup = Setup::on(Anvil::start().await, |config| config).await;
    let transactions = setup.transactions().await;
    setup.anvil.automine(false).await;
    let mut first = setup.submit(&transactions, 1).await.unwrap();
    setup.anvil.pooled(1).await;
    let mut second = setup.submit(&transactions, 2).await.unwrap();
    setup.anvil.pooled(2).await;
    let lost = first.hash().unwrap();
    setup.anvil.request("anvil_dropTransaction", json!([lost])).await;
    setup.anvil.automine(true).await;
    // Sent again after one receipt deadline, and the later one with it.
    mined(first.outcome().await);
    mined(second.outcome().await);
    assert_eq!(setup.count().await, 2);
}

#[tokio::test]
async fn a_nonce_without_a_transaction_is_filled_with_a_cancel() {
    let setup = Setup::new().await;
    let first = setup.stop.child_token();
    let transactions = setup.transactions_until(&first).await;
    setup.anvil.automine(false).await;
    for event in 1..=2 {
        drop(setup.submit(&transactions, event).await.unwrap());
    }
    setup.anvil.pooled(2).await;
    first.cancel();
    // The row of the first nonce is gone, as after a restore of an older ledger, and the node has lost both.
    setup.anvil.request("anvil_dropAllTransactions", json!([])).await;
    let forget = |tx: &wavs_store::Transaction<'_>| {
        tx.execute("DELETE FROM tx WHERE nonce = 0", [])?;
        Ok::<_, SubmitError>(())
    };
    setup
        .database()
        .writer()
        .write(Durability::Power, forget)
        .await
        .unwrap();
    setup.anvil.automine(true).await;

    let transactions = setup.transactions().await;
    let mut second = transactions.follow("target 2").await.unwrap().unwrap();
    mined(second.outcome().await);
    let mut filled = transactions.follow("gap:31337:0").await.unwrap().unwrap();
    assert!(
        matches!(filled.outcome().await, Outcome::Lost(_)),
        "a cancel delivers nothing"
    );
    assert_eq!(setup.count().await, 2);
}

#[tokio::test]
async fn foreign_use_of_the_account_is_adopted_and_told() {
    let setup = Setup::new().await;
    let own = account();
    let stop = setup.stop.child_token();
    let transactions = setup.transactions_until(&stop).await;
    mined(setup.submit(&transactions, 1).await.unwrap().outcome().await);
    stop.cancel();
    for _ in 0..3 {
        setup.anvil.transact(json!({"from": own, "to": own})).await;
    }
    // The look at the start finds them, so that the next submission does not run into them.
    let transactions = setup.transactions().await;
    let mut news = transactions.news();
    while transactions.accounts().iter().all(|account| account.balance.is_none()) {
        news.changed().await.unwrap();
    }
    let mut next = setup.submit(&transactions, 2).await.unwrap();
    mined(next.outcome().await);
    assert_eq!(setup.count().await, 5);
}

#[tokio::test]
async fn a_foreign_transaction_in_the_pool_is_outbid() {
    let setup = Setup::new().await;
    let own = account();
    let transactions = setup.transactions().await;
    setup.anvil.automine(false).await;
    let fee = "0x12a05f2000";
    let foreign = json!({"from": own, "to": own, "maxFeePerGas": fee, "maxPriorityFeePerGas": fee});
    setup.anvil.request("eth_sendTransaction", json!([foreign])).await;
    // Its bid is far above ours: the node says that ours is underpriced until it is not.
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    setup.anvil.mine(1).await;
    setup.anvil.automine(true).await;
    match tracked.outcome().await {
        Outcome::Mined(_) => {}
        Outcome::Lost(_) => drop(mined(setup.submit(&transactions, 1).await.unwrap().outcome().await)),
        other => panic!("{other:?}"),
    }
}
