//! The knobs of the chain.

use std::time::Duration;

use serde_json::json;
use testkit::{Anvil, Mining};

#[tokio::test]
async fn blocks_come_when_they_are_asked_for_and_go_with_a_reorganisation() {
    let chain = Anvil::options()
        .chain_id(5)
        .mining(Mining::Manual)
        .start()
        .await
        .unwrap();
    assert_eq!(chain.chain_key(), "evm:5");
    chain.mine_many(10).await.unwrap();
    assert_eq!(chain.height().await.unwrap(), 10);
    let hash = async || {
        chain
            .request("eth_getBlockByNumber", json!(["0x9", false]))
            .await
            .unwrap()["hash"]
            .clone()
    };
    let before = hash().await;
    chain.reorg(3).await.unwrap();
    assert_eq!(chain.height().await.unwrap(), 10);
    assert_ne!(hash().await, before);

    let snapshot = chain.snapshot().await.unwrap();
    chain.mine().await.unwrap();
    chain.revert(&snapshot).await.unwrap();
    assert_eq!(chain.height().await.unwrap(), 10);
    assert!(
        chain.revert(&snapshot).await.is_err(),
        "a state can be gone back to once"
    );
}

#[tokio::test]
async fn a_restarted_chain_has_the_same_port_and_the_same_blocks() {
    let mut chain = Anvil::start().await.unwrap();
    let transfer = json!([{"from": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "to": "0x00000000000000000000000000000000000000aa", "value": "0x1"}]);
    let hash = chain.request("eth_sendTransaction", transfer).await.unwrap();
    let receipt = async |chain: &Anvil| chain.request("eth_getTransactionReceipt", json!([hash])).await.unwrap();
    let before = receipt(&chain).await;
    assert_eq!(before["status"], "0x1");
    let port = chain.port();
    chain.restart().await.unwrap();
    assert_eq!(chain.port(), port);
    assert_eq!(receipt(&chain).await["blockHash"], before["blockHash"]);
}

#[tokio::test]
async fn a_frozen_chain_answers_when_it_is_thawed() {
    let chain = Anvil::start().await.unwrap();
    chain.freeze().unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(200), chain.height()).await;
    assert!(silent.is_err());
    chain.thaw().unwrap();
    assert_eq!(chain.height().await.unwrap(), 0);
}
