//! Balances: what is told about them, and that nothing is lost while they are too low.

use wavs_types::EvmChainConfig;

use super::anvil::Anvil;
use super::setup::{Setup, account, mined};
use crate::chain::{AccountState, Funds, SubmitError, Transactions};

async fn state(transactions: &Transactions, wanted: impl Fn(&AccountState) -> bool) -> AccountState {
    let mut news = transactions.news();
    loop {
        news.mark_unchanged();
        if let Some(account) = transactions.accounts().into_iter().find(&wanted) {
            return account;
        }
        news.changed().await.unwrap();
    }
}

#[tokio::test]
async fn balances_are_known_before_anything_is_posted() {
    let anvil = Anvil::start().await;
    for (wei, expect) in [
        (10_u128.pow(19), Funds::Ok),
        (10_u128.pow(16), Funds::Low),
        (10_u128.pow(12), Funds::Critical),
    ] {
        anvil.set_balance(account(), wei).await;
        let setup = Setup::on(Anvil::start().await, |config| config).await;
        setup.anvil.set_balance(account(), wei).await;
        let transactions = setup.transactions().await;
        let found = state(&transactions, |account| account.balance.is_some()).await;
        assert_eq!((found.funds, found.account), (expect, account()), "{found:?}");
    }
}

#[tokio::test]
async fn the_configured_amount_replaces_the_critical_one() {
    let setup = Setup::on(Anvil::start().await, |config| EvmChainConfig {
        min_balance_alert: Some(20_000.0),
        ..config
    })
    .await;
    let transactions = setup.transactions().await;
    let found = state(&transactions, |account| account.balance.is_some()).await;
    assert_eq!(
        found.funds,
        Funds::Critical,
        "10,000 coins are below the configured 20,000"
    );
}

#[tokio::test]
async fn an_account_that_cannot_pay_is_unfunded_until_it_is_funded() {
    let setup = Setup::new().await;
    let transactions = setup.transactions().await;
    state(&transactions, |account| account.balance.is_some()).await;
    let (one, two) = (setup.request(1).await, setup.request(2).await);
    setup.anvil.set_balance(account(), 0).await;
    // Both are stored: the balance seen last was ample, and only the node refuses them.
    let mut one = transactions.submit(one).await.unwrap();
    let two = transactions.submit(two).await;
    let empty = state(&transactions, |account| account.funds == Funds::Unfunded).await;
    assert!(empty.pending > 0);
    let refused = setup.submit(&transactions, 3).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Unfunded { .. }), "{refused}");
    setup.anvil.set_balance(account(), 10_u128.pow(18)).await;
    mined(one.outcome().await);
    if let Ok(mut two) = two {
        mined(two.outcome().await);
    }
    mined(setup.submit(&transactions, 3).await.unwrap().outcome().await);
    state(&transactions, |account| account.funds == Funds::Ok).await;
}
