//! Chain settings as the guest sees them.

use wavs_types::{CosmosChainConfig, EvmChainConfig};

use crate::bindings::operator::wavs::types::chain as wit;

/// `chain_id` is the id part of the chain key.
pub(in crate::host) fn evm_config(chain_id: &str, config: &EvmChainConfig) -> wit::EvmChainConfig {
    wit::EvmChainConfig {
        chain_id: chain_id.to_owned(),
        ws_endpoints: config.ws_endpoints.clone(),
        http_endpoint: config.http_endpoint.clone(),
    }
}

/// `chain_id` is the id part of the chain key.
pub(in crate::host) fn cosmos_config(chain_id: &str, config: &CosmosChainConfig) -> wit::CosmosChainConfig {
    wit::CosmosChainConfig {
        chain_id: chain_id.to_owned(),
        rpc_endpoint: config.rpc_endpoint.clone(),
        grpc_endpoint: config.grpc_endpoint.clone(),
        grpc_web_endpoint: None,
        gas_price: config.gas_price,
        gas_denom: config.gas_denom.clone(),
        bech32_prefix: config.bech32_prefix.clone(),
    }
}
