//! Many submissions at once: all are on their way together, in the order of their nonces, and share requests.

use std::sync::Arc;

use futures::future::join_all;

use super::anvil::Anvil;
use super::setup::{Setup, mined};
use crate::chain::{Retry, SubmitRequest, Tracked, Transactions};

const BURST: u8 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_results_fit_into_one_block() {
    let anvil = Anvil::with(testkit::Anvil::options().mining(testkit::Mining::Manual)).await;
    let setup = Arc::new(Setup::on(anvil, |config| config).await);
    let transactions = setup.transactions().await;
    let submitted = join_all((0..BURST).map(|event| {
        let (setup, transactions) = (Arc::clone(&setup), transactions.clone());
        async move { submit(&setup, &transactions, event).await }
    }))
    .await;
    setup.anvil.pooled(u64::from(BURST)).await;
    setup.anvil.mine(1).await;
    let mut blocks: Vec<_> = join_all(
        submitted
            .into_iter()
            .map(|mut tracked| async move { mined(tracked.outcome().await).block_number }),
    )
    .await;
    blocks.dedup();
    assert_eq!(blocks.len(), 1, "all in one block");
    assert_eq!(setup.count().await, u64::from(BURST));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_mines_at_once_takes_them_in_turn() {
    let setup = Arc::new(Setup::new().await);
    let transactions = setup.transactions().await;
    let all = (0..BURST).map(|event| {
        let (setup, transactions) = (Arc::clone(&setup), transactions.clone());
        async move { mined(submit(&setup, &transactions, event).await.outcome().await) }
    });
    join_all(all).await;
    assert_eq!(
        setup.count().await,
        u64::from(BURST),
        "one transaction each, none replaced"
    );
}

/// Submits, again while a busy machine lets requests time out.
async fn submit(setup: &Setup, transactions: &Transactions, event: u8) -> Tracked {
    let ready = loop {
        match setup.assess(event).await {
            Ok(assessment) => break assessment.ready.unwrap(),
            Err(error) => assert_eq!(error.retry(), Retry::Backoff, "{error}"),
        }
    };
    let request = SubmitRequest {
        target: format!("target {event}"),
        ready,
        gas_price_hint: None,
        along: None,
    };
    transactions.submit(request).await.unwrap()
}
