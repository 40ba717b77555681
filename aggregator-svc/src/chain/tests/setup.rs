//! A chain with a manager and a handler that accept everything, and a transaction manager with its ledger.

use std::sync::Arc;

use alloy::primitives::Address;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wavs_store::{Database, Migration};
use wavs_types::EvmChainConfig;

use super::anvil::{Anvil, number};
use super::scripted;
use super::{Key, chains, config, envelope, key, signatures};
use crate::chain::{
    AssessRequest, Assessment, ChainError, Chains, MinedTx, Outcome, PostingSigner, ReadyCall, SubmitError,
    SubmitRequest, TX_SCHEMA, Tracked, Transactions,
};

pub(super) const HANDLER: Address = Address::repeat_byte(0xaa);
pub(super) const MANAGER: Address = Address::repeat_byte(0xbb);

pub(super) struct Setup {
    pub(super) anvil: Anvil,
    pub(super) chains: Chains,
    pub(super) stop: CancellationToken,
    folder: TempDir,
}

impl Setup {
    pub(super) async fn new() -> Self {
        Self::on(Anvil::start().await, |config| config).await
    }

    /// On a chain of its own, with a changed configuration.
    pub(super) async fn on(anvil: Anvil, change: impl FnOnce(EvmChainConfig) -> EvmChainConfig) -> Self {
        anvil.set_code(MANAGER, scripted::manager(100, 100).code()).await;
        anvil.set_code(HANDLER, scripted::handler(MANAGER).code()).await;
        anvil.mine(5).await;
        let chains = chains(change(config(&anvil.http())));
        Self {
            anvil,
            chains,
            stop: CancellationToken::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn database(&self) -> Database {
        let migrations = [Migration::new("transactions", TX_SCHEMA)];
        Database::open(self.folder.path().join("ledger.db"), &migrations).unwrap()
    }

    pub(super) async fn transactions(&self) -> Transactions {
        self.transactions_until(&self.stop).await
    }

    pub(super) async fn transactions_until(&self, stop: &CancellationToken) -> Transactions {
        let writer = self.database().writer();
        Transactions::start(self.chains.clone(), writer, Some(Key::funded()), stop.clone())
            .await
            .unwrap()
    }

    pub(super) async fn assess(&self, event: u8) -> Result<Assessment, ChainError> {
        let request = AssessRequest {
            chain: &key(),
            handler: HANDLER,
            envelope: &envelope(event),
            signatures: &signatures(&[1]),
            quarantined: &[],
            poster: Some(account()),
        };
        self.chains.assess(&request).await
    }

    pub(super) async fn ready(&self, event: u8) -> ReadyCall {
        self.assess(event).await.unwrap().ready.unwrap()
    }

    pub(super) async fn request(&self, event: u8) -> SubmitRequest {
        SubmitRequest {
            target: format!("target {event}"),
            ready: self.ready(event).await,
            gas_price_hint: None,
            along: None,
        }
    }

    pub(super) async fn submit(&self, transactions: &Transactions, event: u8) -> Result<Tracked, SubmitError> {
        transactions.submit(self.request(event).await).await
    }

    /// Transactions of the posting account in blocks.
    pub(super) async fn count(&self) -> u64 {
        let count = self
            .anvil
            .request("eth_getTransactionCount", json!([account(), "latest"]))
            .await;
        number(&count)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The posting account.
pub(super) fn account() -> Address {
    let key: Arc<Key> = Key::funded();
    key.address()
}

pub(super) fn mined(outcome: Outcome) -> MinedTx {
    match outcome {
        Outcome::Mined(tx) => tx,
        other => panic!("not mined: {other:?}"),
    }
}
