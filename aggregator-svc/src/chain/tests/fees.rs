//! What is paid: legacy fees, caps that make calls wait, bids that rise to the cap, and cancels.

use serde_json::json;
use wavs_types::EvmChainConfig;

use super::anvil::{Anvil, number};
use super::setup::{Setup, mined};
use crate::chain::{Outcome, SubmitError, SubmitRequest};

#[tokio::test]
async fn a_chain_without_a_base_fee_gets_legacy_transactions_and_replacements() {
    let options = testkit::Anvil::options().arguments(["--hardfork", "berlin"]);
    let setup = Setup::on(Anvil::with(options).await, |config| config).await;
    let transactions = setup.transactions().await;
    setup.anvil.automine(false).await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    let first = setup.anvil.transaction(tracked.hash().unwrap()).await;
    assert_eq!((&first["type"], &first["maxFeePerGas"]), (&json!("0x0"), &json!(null)));
    let mut replaced = tracked.clone();
    replaced.changed().await;
    let second = setup.anvil.transaction(replaced.hash().unwrap()).await;
    assert!(
        number(&second["gasPrice"]) * 4 >= number(&first["gasPrice"]) * 5,
        "{second}"
    );
    setup.anvil.mine(1).await;
    mined(tracked.outcome().await);
    assert_eq!(setup.count().await, 1);
}

#[tokio::test]
async fn each_cap_makes_a_call_wait_and_says_which() {
    type Change = fn(EvmChainConfig) -> EvmChainConfig;
    type Expect = fn(&SubmitError) -> bool;
    let table: [(Change, Expect); 4] = [
        (
            |config| EvmChainConfig {
                max_fee_gwei: Some(0.000_000_1),
                ..config
            },
            |error| matches!(error, SubmitError::FeeAboveCap),
        ),
        (
            |config| EvmChainConfig {
                max_cost_per_tx: Some(0.000_000_000_001),
                ..config
            },
            |error| matches!(error, SubmitError::CostAboveCap { .. }),
        ),
        (
            |config| EvmChainConfig {
                max_cost_per_day: Some(0.000_000_000_001),
                ..config
            },
            |error| matches!(error, SubmitError::DayAboveCap { .. }),
        ),
        (
            |config| EvmChainConfig {
                max_gas: 21_000,
                ..config
            },
            |error| matches!(error, SubmitError::GasAboveCap { .. }),
        ),
    ];
    for (change, expect) in table {
        let setup = Setup::on(Anvil::start().await, change).await;
        let transactions = setup.transactions().await;
        let error = setup.submit(&transactions, 1).await.unwrap_err();
        assert!(expect(&error), "{error}");
        assert!(
            transactions.follow("target 1").await.unwrap().is_none(),
            "nothing is reserved"
        );
    }
}

#[tokio::test]
async fn the_budget_of_a_day_lets_some_through() {
    let setup = Setup::on(Anvil::start().await, |config| EvmChainConfig {
        max_cost_per_day: Some(0.000_3),
        ..config
    })
    .await;
    let transactions = setup.transactions().await;
    let mut sent = 0;
    let error = loop {
        match setup.submit(&transactions, sent).await {
            Ok(mut tracked) => drop(mined(tracked.outcome().await)),
            Err(error) => break error,
        }
        sent += 1;
    };
    assert!(
        sent > 0 && matches!(error, SubmitError::DayAboveCap { .. }),
        "{sent}: {error}"
    );
}

#[tokio::test]
async fn a_cap_on_the_cost_lowers_the_bid_before_it_refuses_the_call() {
    let setup = Setup::on(Anvil::start().await, |config| EvmChainConfig {
        // Above the base fee, below twice of it, which is what is bid without a cap.
        max_cost_per_tx: Some(0.000_05),
        ..config
    })
    .await;
    let transactions = setup.transactions().await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    let tx = mined(tracked.outcome().await);
    let transaction = setup.anvil.transaction(tx.hash).await;
    let worst = number(&transaction["gas"]) * number(&transaction["maxFeePerGas"]);
    assert!(worst <= 50_000_000_000_000, "{worst}");
}

#[tokio::test]
async fn a_bid_rises_to_the_cap_and_no_further_and_lands_when_the_market_falls() {
    let setup = Setup::on(Anvil::start().await, |config| EvmChainConfig {
        max_fee_gwei: Some(4.0),
        ..config
    })
    .await;
    let transactions = setup.transactions().await;
    setup.anvil.automine(false).await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    setup.anvil.pooled(1).await;
    // The market rises above the cap: no bid gets in.
    setup
        .anvil
        .request("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be400"]))
        .await;
    setup.anvil.mine(1).await;
    // Versions that the node does not take are in the ledger only.
    let mut bids = tracked.clone();
    let enough = 4_000_000_000 * 10 / 11;
    loop {
        let highest = highest_bid(&setup).await;
        assert!(highest <= 4_000_000_000, "{highest}");
        if highest > enough {
            break;
        }
        bids.changed().await;
    }
    setup
        .anvil
        .request("anvil_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"]))
        .await;
    setup.anvil.mine(1).await;
    setup.anvil.automine(true).await;
    mined(tracked.outcome().await);
    assert_eq!(setup.count().await, 1);
}

#[tokio::test]
async fn six_higher_bids_are_made_and_a_cancel_follows_when_another_operator_has_landed() {
    let setup = Setup::new().await;
    let transactions = setup.transactions().await;
    setup.anvil.automine(false).await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    let call = setup.anvil.transaction(tracked.hash().unwrap()).await;
    let mut bids = tracked.clone();
    for _ in 0..6 {
        bids.changed().await;
    }
    let fees = bids_of(&setup, "call").await;
    assert_eq!(fees.len(), 7);
    for pair in fees.windows(2) {
        assert!(pair[1] * 4 >= pair[0] * 5, "each is a quarter more: {fees:?}");
    }
    // The market did not rise, so three further deadlines bring no seventh.
    let more = tokio::time::timeout(std::time::Duration::from_secs(3), bids.changed()).await;
    assert!(more.is_err(), "a seventh bid: {:?}", bids_of(&setup, "call").await);

    // The market rises above all of them, and another operator pays for it.
    setup
        .anvil
        .request("anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"]))
        .await;
    let other = setup.anvil.request("eth_accounts", json!([])).await[5].clone();
    let landing = json!({"from": other, "to": call["to"], "data": call["input"], "gas": "0x7a120",
        "maxFeePerGas": "0x2e90edd000", "maxPriorityFeePerGas": "0x2e90edd000"});
    let landed = setup.anvil.request("eth_sendTransaction", json!([landing])).await;
    setup.anvil.mine(1).await;
    assert_eq!(setup.count().await, 0, "ours was too cheap for the block");
    while bids_of(&setup, "cancel").await.is_empty() {
        bids.changed().await;
    }
    assert_eq!(bids_of(&setup, "call").await.len(), 7);
    setup.anvil.automine(true).await;
    let outcome = loop {
        // The base fee falls with each empty block.
        setup.anvil.mine(1).await;
        let soon = tokio::time::timeout(std::time::Duration::from_millis(100), tracked.outcome()).await;
        if let Ok(outcome) = soon {
            break outcome;
        }
    };
    let Outcome::LandedElsewhere(found) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(json!(found.hash), landed);
    assert_eq!(
        setup.count().await,
        1,
        "the nonce is used up, by a transfer to ourselves"
    );
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_cancelled() {
    let setup = Setup::new().await;
    let transactions = setup.transactions().await;
    setup.anvil.automine(false).await;
    let mut tracked = setup.submit(&transactions, 1).await.unwrap();
    let call = tracked.hash().unwrap();
    setup.anvil.transaction(call).await;
    let mut news = tracked.clone();
    tracked.give_up();
    news.changed().await;
    let cancel = setup.anvil.transaction(news.hash().unwrap()).await;
    assert_eq!((&cancel["to"], &cancel["input"]), (&cancel["from"], &json!("0x")));
    setup.anvil.mine(1).await;
    let outcome = tracked.outcome().await;
    assert!(matches!(outcome, Outcome::Lost(_)), "{outcome:?}");
    assert_eq!(setup.count().await, 1, "the nonce is used up");
}

#[tokio::test]
async fn a_hint_raises_the_bid() {
    let setup = Setup::new().await;
    let transactions = setup.transactions().await;
    let hinted = SubmitRequest {
        gas_price_hint: Some(50_000_000_000),
        ..setup.request(1).await
    };
    let mut tracked = transactions.submit(hinted).await.unwrap();
    let tx = mined(tracked.outcome().await);
    assert!(number(&setup.anvil.transaction(tx.hash).await["maxFeePerGas"]) >= 50_000_000_000);
}

/// The fees per gas of all versions of a kind in the ledger, oldest first.
async fn bids_of(setup: &Setup, kind: &'static str) -> Vec<u64> {
    let read = move |connection: &wavs_store::Connection| {
        let mut fees = connection.prepare("SELECT CAST(max_fee AS INTEGER) FROM tx WHERE kind = ?1 ORDER BY id")?;
        let fees = fees.query_map([kind], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok::<_, wavs_store::StoreError>(fees)
    };
    setup.database().reader().read(read).await.unwrap()
}

/// The highest fee per gas of all versions in the ledger.
async fn highest_bid(setup: &Setup) -> u64 {
    let read = |connection: &wavs_store::Connection| {
        let highest = "SELECT max(CAST(max_fee AS INTEGER)) FROM tx";
        Ok::<_, wavs_store::StoreError>(connection.query_row(highest, [], |row| row.get(0))?)
    };
    setup.database().reader().read(read).await.unwrap()
}
