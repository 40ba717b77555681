//! The chain of the test kit, with the few calls that these tests make often; their failures fail the test.

use alloy::primitives::{Address, Bytes};
use serde_json::{Value, json};
use testkit::anvil::AnvilOptions;

/// Ends with the test.
pub(super) struct Anvil(testkit::Anvil);

impl Anvil {
    /// Starts a chain on a free port that mines at once.
    pub(super) async fn start() -> Self {
        Self::with(testkit::Anvil::options()).await
    }

    /// Starts a chain on a free port; with a message where there is no anvil on this machine.
    pub(super) async fn with(options: AnvilOptions) -> Self {
        Self(options.start().await.unwrap())
    }

    pub(super) fn http(&self) -> String {
        self.0.http()
    }

    pub(super) fn ws(&self) -> String {
        self.0.ws()
    }

    pub(super) fn kit(&self) -> &testkit::Anvil {
        &self.0
    }

    pub(super) async fn request(&self, method: &'static str, params: Value) -> Value {
        self.0.request(method, params).await.unwrap()
    }

    /// Sends a transaction of an account that the node itself holds the key of; answers its receipt.
    pub(super) async fn transact(&self, transaction: Value) -> Value {
        let hash = self.request("eth_sendTransaction", json!([transaction])).await;
        loop {
            let receipt = self.request("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                assert_eq!(receipt["status"], "0x1", "transaction failed");
                return receipt;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn mine(&self, blocks: u64) {
        self.0.mine_many(blocks).await.unwrap();
    }

    /// Whether a transaction gets into a block as soon as it comes.
    pub(super) async fn automine(&self, on: bool) {
        self.request("evm_setAutomine", json!([on])).await;
    }

    pub(super) async fn set_code(&self, address: Address, code: Bytes) {
        self.request("anvil_setCode", json!([address, code])).await;
    }

    pub(super) async fn set_balance(&self, address: Address, wei: u128) {
        self.request("anvil_setBalance", json!([address, format!("0x{wei:x}")]))
            .await;
    }

    /// Transactions in the pool: those that can be mined, and those that wait for an earlier one.
    pub(super) async fn pool(&self) -> (u64, u64) {
        let status = self.request("txpool_status", json!([])).await;
        (number(&status["pending"]), number(&status["queued"]))
    }

    /// Waits until so many transactions could be mined.
    pub(super) async fn pooled(&self, count: u64) {
        while self.pool().await.0 < count {
            tokio::task::yield_now().await;
        }
    }

    /// A transaction as the chain knows it, waited for.
    pub(super) async fn transaction(&self, hash: alloy::primitives::B256) -> Value {
        loop {
            let transaction = self.request("eth_getTransactionByHash", json!([hash])).await;
            if !transaction.is_null() {
                return transaction;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A number as JSON-RPC writes it.
pub(super) fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}
