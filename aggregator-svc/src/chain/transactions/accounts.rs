//! The posting account on every configured chain: opened as soon as its chain is known, whether or not something is posted there, so
//! that a missing balance shows before the first result has to wait for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use wavs_types::ChainKey;

use super::Inner;
use super::rows::Account;

/// Pause between two attempts to learn the id of a chain.
const ID_PAUSE: Duration = Duration::from_secs(5);

/// Opens the accounts of chains that are there and of chains that come, until the process stops.
pub(super) async fn open(inner: Arc<Inner>, address: Address) {
    let mut changes = inner.chains.changes();
    let mut opened = BTreeSet::new();
    loop {
        changes.mark_unchanged();
        for key in inner.chains.evm_keys() {
            if opened.insert(key.clone()) {
                // Each on its own: a chain that does not answer must not keep the others waiting.
                tokio::spawn(open_one(Arc::clone(&inner), address, key));
            }
        }
        tokio::select! {
            () = inner.shutdown.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn open_one(inner: Arc<Inner>, address: Address, key: ChainKey) {
    loop {
        if let Ok(chain) = inner.chains.evm(&key) {
            match chain.pool.chain_id().await {
                Ok(chain_id) => {
                    inner.lane(Account { chain_id, address }, &key);
                    return;
                }
                Err(error) => tracing::debug!(%error, "posting account waits for its chain"),
            }
        }
        tokio::select! {
            () = inner.shutdown.cancelled() => return,
            () = tokio::time::sleep(ID_PAUSE) => {}
        }
    }
}
