//! Whether an entry of the chain table can be what its key says.

use super::ChainConfig;
use crate::chain_key::ChainKey;

/// Why a configuration does not fit its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainConfigError {
    /// The key's namespace cannot be configured.
    #[error("chain `{key}` cannot be configured: its namespace is not evm, cosmos or dev")]
    Namespace {
        /// The key.
        key: ChainKey,
    },
    /// The configuration is of the other family.
    #[error(
        "chain `{key}` has a configuration of type `{family}`; the type must be the namespace of the key, except for dev"
    )]
    Family {
        /// The key.
        key: ChainKey,
        /// The type of the configuration.
        family: &'static str,
    },
    /// Key and configuration name different chains.
    #[error("chain `{key}` has chain_id `{chain_id}`; it must be `{}`", key.id())]
    ChainId {
        /// The key.
        key: ChainKey,
        /// The id in the configuration.
        chain_id: String,
    },
    /// A member that cannot be defaulted is absent or empty.
    #[error("chain `{key}` lacks `{member}`; set it")]
    Missing {
        /// The key.
        key: ChainKey,
        /// The member.
        member: &'static str,
    },
    /// The priority index points behind the list.
    #[error(
        "chain `{key}` has ws_priority_endpoint_index {index} but only {endpoints} ws_endpoints; the first one has index 0"
    )]
    PriorityIndex {
        /// The key.
        key: ChainKey,
        /// The index.
        index: usize,
        /// Length of the list.
        endpoints: usize,
    },
}

impl ChainConfig {
    /// Checks what can be told without asking an endpoint.
    ///
    /// # Errors
    /// The first mismatch between key and configuration, or a member that is missing.
    pub fn check(&self, key: &ChainKey) -> Result<(), ChainConfigError> {
        let dev = key.namespace() == "dev";
        if !dev && !matches!(key.namespace(), "evm" | "cosmos") {
            return Err(ChainConfigError::Namespace { key: key.clone() });
        }
        if !dev && key.namespace() != self.family() {
            return Err(ChainConfigError::Family {
                key: key.clone(),
                family: self.family(),
            });
        }
        if !dev && self.chain_id() != key.id() {
            return Err(ChainConfigError::ChainId {
                key: key.clone(),
                chain_id: self.chain_id().to_owned(),
            });
        }
        self.check_members(key)
    }

    fn check_members(&self, key: &ChainKey) -> Result<(), ChainConfigError> {
        let missing = |member| {
            Err(ChainConfigError::Missing {
                key: key.clone(),
                member,
            })
        };
        if self.chain_id().is_empty() {
            return missing("chain_id");
        }
        match self {
            Self::Evm(config) => match config.ws_priority_endpoint_index {
                Some(index) if index >= config.ws_endpoints.len() => Err(ChainConfigError::PriorityIndex {
                    key: key.clone(),
                    index,
                    endpoints: config.ws_endpoints.len(),
                }),
                _ => Ok(()),
            },
            Self::Cosmos(config) if config.bech32_prefix.is_empty() => missing("bech32_prefix"),
            Self::Cosmos(config) if config.gas_denom.is_empty() => missing("gas_denom"),
            Self::Cosmos(_) => Ok(()),
        }
    }
}
