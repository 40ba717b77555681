//! Adding chains that the configuration does not have.

use wavs_ipc::{ErrorCode, Json, WireError};
use wavs_store::Durability;
use wavs_types::{ChainConfig, ChainKey};

use super::{Registry, ledger_failed};
use crate::ledger::{chains, meta};

impl Registry {
    /// Adds a chain, durably, and tells everybody.
    ///
    /// # Errors
    /// `Conflict` when the key is known, `Invalid` when key and configuration do not fit.
    pub async fn add_chain(&self, key: ChainKey, config: Json<ChainConfig>) -> Result<(), WireError> {
        let config = config.decode()?;
        fits(&key, &config)?;
        let _one = self.inner.chains.lock().await;
        if self.directory().chains().contains_key(&key) {
            return Err(WireError::never(
                ErrorCode::Conflict,
                format!("Chain already exists: {key}"),
            ));
        }
        let (stored, generation) = self
            .core()
            .ledger
            .write(Durability::Process, move |tx| {
                chains::put(tx, &key, &config)?;
                Ok((chains::all(tx)?, meta::next_generation(tx)?))
            })
            .await
            .map_err(ledger_failed)?;
        self.set_chains(stored)?;
        self.inner.watch.announce(generation);
        // Targets may have waited for this chain.
        self.core().reload();
        Ok(())
    }

    /// All chains.
    #[must_use]
    pub fn chains(&self) -> Vec<(ChainKey, Json<ChainConfig>)> {
        let chains = self.directory().chains();
        chains
            .iter()
            .map(|(key, chain)| (key.clone(), chain.encoded.clone()))
            .collect()
    }
}

/// Whether a configuration can belong to a key.
fn fits(key: &ChainKey, config: &ChainConfig) -> Result<(), WireError> {
    let refuse = |text: String| Err(WireError::never(ErrorCode::Invalid, text));
    match key.namespace() {
        "dev" => Ok(()),
        namespace @ ("evm" | "cosmos") => {
            if namespace != config.family() {
                return refuse(format!(
                    "Chain type mismatch: {key} needs a configuration of type {namespace}, got {}",
                    config.family()
                ));
            }
            if key.id() != config.chain_id() {
                return refuse(format!(
                    "Chain ID mismatch: {key} has a configuration with chain_id {}",
                    config.chain_id()
                ));
            }
            Ok(())
        }
        namespace => refuse(format!(
            "namespace {namespace} of chain {key} has no configuration: use evm, cosmos or dev"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavs_types::EvmChainConfig;

    #[test]
    fn key_and_configuration_have_to_fit() {
        let config = |id: &str| {
            ChainConfig::Evm(EvmChainConfig {
                chain_id: id.to_owned(),
                ..EvmChainConfig::default()
            })
        };
        for (key, id, good) in [
            ("evm:1", "1", true),
            ("evm:1", "2", false),
            ("cosmos:1", "1", false),
            ("dev:x", "1", true),
            ("sol:1", "1", false),
        ] {
            assert_eq!(fits(&key.parse().unwrap(), &config(id)).is_ok(), good, "{key} {id}");
        }
    }
}
