//! The transaction manager: one transaction per target, restarts, foreign nonces, stuck transactions, missing funds, reverts.

use std::sync::Arc;

use alloy::primitives::Bytes;
use alloy::sol_types::SolCall;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use wavs_types::EventId;

use super::scripted::{self, Script};
use super::setup::{HANDLER, MANAGER, Setup, account, mined};
use super::{Key, chains, config, envelope, key};
use crate::chain::contracts::IWavsServiceHandler;
use crate::chain::{Along, LandedQuery, Outcome, PostingSigner, SubmitError, SubmitRequest, Transactions};

#[tokio::test]
async fn a_submission_is_mined_then_final_and_happens_once() {
    let setup = Setup::new().await;
    let stop = CancellationToken::new();
    let transactions = setup.transactions_until(&stop).await;
    let along: Along = Box::new(|tx| tx.execute("CREATE TABLE rode_along (x)", []).map(drop));
    let mut tracked = transactions
        .submit(SubmitRequest {
            along: Some(along),
            ..setup.request(1).await
        })
        .await
        .unwrap();
    let tx = mined(tracked.outcome().await);
    assert_eq!(tracked.hash(), Some(tx.hash));

    let mut again = transactions.submit(setup.request(1).await).await.unwrap();
    assert_eq!(mined(again.outcome().await), tx);
    assert_eq!(setup.count().await, 1, "the target has one transaction");

    setup.anvil.mine(2).await;
    assert_eq!(mined(tracked.finality().await), tx);
    let mut later = transactions.follow("target 1").await.unwrap().unwrap();
    assert_eq!(mined(later.finality().await), tx);
    assert!(transactions.follow("target 2").await.unwrap().is_none());
    let rode =
        |db: &wavs_store::Connection| Ok::<_, wavs_store::StoreError>(db.prepare("SELECT x FROM rode_along").is_ok());
    assert!(
        setup.database().reader().read(rode).await.unwrap(),
        "the caller's change was committed with the reservation"
    );

    let query = LandedQuery {
        chain: key(),
        handler: HANDLER,
        event_id: EventId::new([1; 20]),
        since_block: 0,
    };
    let landed = setup.chains.landed(&query).await.unwrap().unwrap();
    assert_eq!((landed.hash, landed.digest), (tx.hash, Some(envelope(1).digest())));
    let other = LandedQuery {
        event_id: EventId::new([2; 20]),
        ..query
    };
    assert_eq!(setup.chains.landed(&other).await.unwrap(), None);
    stop.cancel();
}

#[tokio::test]
async fn a_stored_transaction_is_sent_after_a_restart() {
    let setup = Setup::new().await;
    // A process that dies between the commit and the broadcast: its chain is out of reach from the commit on.
    setup.anvil.automine(false).await;
    let stop = CancellationToken::new();
    let transactions = setup.transactions_until(&stop).await;
    let tracked = transactions.submit(setup.request(1).await).await.unwrap();
    let hash = tracked.hash().unwrap();
    stop.cancel();
    let mut tracked = tracked;
    assert_eq!(tracked.outcome().await, Outcome::Interrupted);
    setup.anvil.request("anvil_dropAllTransactions", json!([])).await;
    setup.anvil.automine(true).await;

    let stop = CancellationToken::new();
    let transactions = setup.transactions_until(&stop).await;
    let mut resumed = transactions.follow("target 1").await.unwrap().unwrap();
    assert_eq!(mined(resumed.outcome().await).hash, hash, "the same raw transaction");
    assert_eq!(setup.count().await, 1);
    stop.cancel();
}

#[tokio::test]
async fn a_transaction_mined_while_the_process_was_down_is_found() {
    let setup = Setup::new().await;
    setup.anvil.automine(false).await;
    let stop = CancellationToken::new();
    let mut tracked = setup
        .transactions_until(&stop)
        .await
        .submit(setup.request(1).await)
        .await
        .unwrap();
    let hash = tracked.hash().unwrap();
    setup.anvil.pooled(1).await;
    stop.cancel();
    assert_eq!(tracked.outcome().await, Outcome::Interrupted);
    setup.anvil.mine(1).await;

    let stop = CancellationToken::new();
    let transactions = setup.transactions_until(&stop).await;
    let mut resumed = transactions.submit(setup.request(1).await).await.unwrap();
    assert_eq!(mined(resumed.outcome().await).hash, hash);
    assert_eq!(setup.count().await, 1);
    stop.cancel();
}

#[tokio::test]
async fn a_nonce_used_elsewhere_is_given_up_and_the_next_one_works() {
    let setup = Setup::new().await;
    let stop = CancellationToken::new();
    let transactions = setup.transactions_until(&stop).await;
    mined(
        transactions
            .submit(setup.request(1).await)
            .await
            .unwrap()
            .outcome()
            .await,
    );
    let account = account();
    setup.anvil.transact(json!({"from": account, "to": account})).await;
    let outcome = transactions
        .submit(setup.request(2).await)
        .await
        .unwrap()
        .outcome()
        .await;
    assert!(matches!(outcome, Outcome::Lost(_)), "{outcome:?}");
    let mut retried = transactions.submit(setup.request(2).await).await.unwrap();
    mined(retried.outcome().await);
    assert_eq!(setup.count().await, 3);
    stop.cancel();
}

#[tokio::test]
async fn a_stuck_transaction_is_outbid() {
    let setup = Setup::new().await;
    setup.anvil.automine(false).await;
    let stop = CancellationToken::new();
    let mut tracked = setup
        .transactions_until(&stop)
        .await
        .submit(setup.request(1).await)
        .await
        .unwrap();
    let first = tracked.hash().unwrap();
    let mut bumped = tracked.clone();
    bumped.changed().await;
    let second = bumped.hash().unwrap();
    assert_ne!(first, second);
    setup.anvil.transaction(second).await;
    setup.anvil.automine(true).await;
    setup.anvil.mine(1).await;
    assert_ne!(mined(tracked.outcome().await).hash, first);
    assert_eq!(setup.count().await, 1);
    stop.cancel();
}

#[tokio::test]
async fn an_account_without_funds_waits_and_goes_on_when_funded() {
    let setup = Setup::new().await;
    let account = account();
    let stop = CancellationToken::new();
    let transactions = setup.transactions_until(&stop).await;
    mined(
        transactions
            .submit(setup.request(1).await)
            .await
            .unwrap()
            .outcome()
            .await,
    );
    let request = setup.request(2).await;
    setup.anvil.set_balance(account, 0).await;
    // The balance seen last was ample, so the transaction is stored and only the node refuses it.
    let mut waiting = transactions.submit(request).await.unwrap();
    // Further submissions are stored as well until the node's refusal is known; then nothing more is reserved.
    let mut event = 3;
    let refused = loop {
        match transactions.submit(setup.request(event).await).await {
            Err(error) => break error,
            Ok(_) => event += 1,
        }
    };
    assert!(matches!(refused, SubmitError::Unfunded { .. }), "{refused}");
    setup.anvil.set_balance(account, 10u128.pow(18)).await;
    mined(waiting.outcome().await);
    stop.cancel();
}

#[tokio::test]
async fn a_call_that_reverts_in_its_block_is_replayed() {
    let setup = Setup::new().await;
    let stop = CancellationToken::new();
    let transactions = setup.transactions_until(&stop).await;
    let request = setup.request(1).await;
    let reverting = scripted::handler(MANAGER)
        .reverts::<IWavsServiceHandler::handleSignedEnvelopeCall>(vec![0xca, 0xfe, 0xba, 0xbe]);
    setup.anvil.set_code(HANDLER, reverting.code()).await;
    setup.anvil.mine(1).await;
    let outcome = transactions.submit(request).await.unwrap().outcome().await;
    let Outcome::Reverted { revert, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(revert.to_string(), "custom error 0xcafebabe");
    setup.anvil.set_code(HANDLER, scripted::handler(MANAGER).code()).await;
    setup.anvil.mine(1).await;
    let request = setup.request(1).await;
    mined(transactions.submit(request).await.unwrap().outcome().await);
    stop.cancel();
}

#[tokio::test]
async fn caps_and_missing_keys_reserve_nothing() {
    let setup = Setup::new().await;
    let stop = CancellationToken::new();
    let writer = setup.database().writer();
    let keyless = Transactions::start(setup.chains.clone(), writer, None, stop.clone())
        .await
        .unwrap();
    assert!(keyless.address().is_none());
    let refused = keyless.submit(setup.request(1).await).await.unwrap_err();
    assert!(matches!(refused, SubmitError::NoPostingKey));

    let capped = chains(wavs_types::EvmChainConfig {
        max_fee_gwei: Some(0.000_000_001),
        ..config(&setup.anvil.http())
    });
    let writer = setup.database().writer();
    let transactions = Transactions::start(capped, writer, Some(Key::funded()), stop.clone())
        .await
        .unwrap();
    let refused = transactions.submit(setup.request(1).await).await.unwrap_err();
    assert!(matches!(refused, SubmitError::FeeAboveCap), "{refused}");
    assert!(transactions.follow("target 1").await.unwrap().is_none());
    stop.cancel();
}

#[test]
fn scripts_answer_by_selector() {
    let code: Bytes = Script::default()
        .accepts::<IWavsServiceHandler::getServiceManagerCall>()
        .code();
    assert!(
        code.windows(4)
            .any(|window| window == IWavsServiceHandler::getServiceManagerCall::SELECTOR)
    );
    let _: Arc<dyn PostingSigner> = Key::funded();
}
