//! The table of chains: one client per chain key, replaced when its configuration changes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};

use tokio::sync::watch;
use wavs_types::{ChainConfig, ChainKey};

use super::error::ChainError;
use super::evm::EvmChain;
use super::landed::{self, LandedQuery, LandedTx};
use super::members;
use super::metrics::ChainMetrics;
use super::pool::EndpointHealth;
use super::quorum::{self, AssessRequest, Assessment};

/// All configured chains. Clones share everything.
#[derive(Clone)]
pub struct Chains {
    inner: Arc<Inner>,
}

struct Inner {
    table: RwLock<BTreeMap<ChainKey, Entry>>,
    changes: watch::Sender<u64>,
    metrics: Arc<ChainMetrics>,
}

#[derive(Clone)]
enum Entry {
    Evm(Arc<EvmChain>),
    Cosmos,
}

impl Chains {
    /// An empty table.
    pub fn new(metrics: Arc<ChainMetrics>) -> Self {
        Self {
            inner: Arc::new(Inner {
                table: RwLock::default(),
                changes: watch::Sender::new(0),
                metrics,
            }),
        }
    }

    /// Replaces the table. Chains whose configuration did not change keep their connections and caches. Does no I/O.
    pub fn set(&self, configs: &BTreeMap<ChainKey, ChainConfig>) {
        let mut table = self.inner.table.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::take(&mut *table);
        for (key, config) in configs {
            let entry = match (config, old.get(key)) {
                (ChainConfig::Cosmos(_), _) => Entry::Cosmos,
                (ChainConfig::Evm(config), Some(Entry::Evm(chain))) if chain.config == *config => {
                    Entry::Evm(Arc::clone(chain))
                }
                (ChainConfig::Evm(config), _) => {
                    let metrics = Arc::clone(&self.inner.metrics);
                    Entry::Evm(Arc::new(EvmChain::new(key.clone(), config.clone(), metrics)))
                }
            };
            table.insert(key.clone(), entry);
        }
        drop(table);
        self.inner.changes.send_modify(|count| *count += 1);
    }

    /// Judges a set of signatures at the newest block of the target chain.
    ///
    /// # Errors
    /// When the chain cannot be read or the handler or its manager is not what it should be. A set that does not suffice is no
    /// error but a verdict.
    pub async fn assess(&self, request: &AssessRequest<'_>) -> Result<Assessment, ChainError> {
        let chain = self.evm(request.chain)?;
        quorum::assess(&chain, request).await
    }

    /// Looks for a successful transaction that delivered an event to a handler, whoever sent it.
    ///
    /// # Errors
    /// When the chain cannot be read.
    pub async fn landed(&self, query: &LandedQuery) -> Result<Option<LandedTx>, ChainError> {
        let chain = self.evm(&query.chain)?;
        landed::find(&chain, query).await
    }

    /// Whether a transaction delivered an event to a handler, successfully.
    ///
    /// # Errors
    /// When the chain cannot be read.
    pub async fn landed_in(&self, query: &LandedQuery, tx: B256) -> Result<Option<LandedTx>, ChainError> {
        let chain = self.evm(&query.chain)?;
        landed::find_in(&chain, query, tx).await
    }

    /// The weights of the operators behind service keys at a manager, now; zero for a key of nobody.
    ///
    /// # Errors
    /// When the chain cannot be read or is none that is served.
    pub async fn operator_weights(
        &self,
        chain: &ChainKey,
        manager: Address,
        signers: &[Address],
    ) -> Result<Vec<(Address, U256)>, ChainError> {
        let chain = self.evm(chain)?;
        members::weights(&chain, manager, signers).await
    }

    /// Time between two blocks, as seen lately; two seconds for a chain that was not looked at.
    #[must_use]
    pub fn block_time(&self, chain: &ChainKey) -> Duration {
        self.evm(chain)
            .map_or(Duration::from_secs(2), |chain| chain.block_time())
    }

    /// State of all endpoints, per chain.
    pub fn health(&self) -> BTreeMap<ChainKey, Vec<EndpointHealth>> {
        let table = self.inner.table.read().unwrap_or_else(PoisonError::into_inner);
        let view = |entry: &Entry| match entry {
            Entry::Evm(chain) => chain.health(),
            Entry::Cosmos => Vec::new(),
        };
        table.iter().map(|(key, entry)| (key.clone(), view(entry))).collect()
    }

    /// The client of an EVM chain.
    pub(super) fn evm(&self, key: &ChainKey) -> Result<Arc<EvmChain>, ChainError> {
        let table = self.inner.table.read().unwrap_or_else(PoisonError::into_inner);
        match table.get(key) {
            Some(Entry::Evm(chain)) => Ok(Arc::clone(chain)),
            Some(Entry::Cosmos) => Err(ChainError::CosmosNotServed(key.clone())),
            None => Err(ChainError::Unknown(key.clone())),
        }
    }

    /// Follows changes of the table.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// The EVM chains.
    pub(super) fn evm_keys(&self) -> Vec<ChainKey> {
        let table = self.inner.table.read().unwrap_or_else(PoisonError::into_inner);
        let is_evm = |(key, entry): (&ChainKey, &Entry)| matches!(entry, Entry::Evm(_)).then(|| key.clone());
        table.iter().filter_map(is_evm).collect()
    }

    pub(super) fn metrics(&self) -> &Arc<ChainMetrics> {
        &self.inner.metrics
    }
}
