//! Where responses go, by the component's config.

use aggregator_kit::wavs_types::service::Submit;
use aggregator_kit::{AggregatorAction, address, host};

/// One submission for each handler in the config.
pub fn from_config() -> Result<Vec<AggregatorAction>, String> {
    let gas_price = match host::config_var("gas_price") {
        Some(text) => Some(text.parse().map_err(|_| format!("gas_price {text} is not a number"))?),
        None => None,
    };
    if let Some(chain) = host::config_var("chain") {
        known(&chain)?;
        let handler = host::config_var("service_handler").ok_or("service_handler config variable is required")?;
        return Ok(vec![address::submit(&chain, &handler, gas_price)?]);
    }
    let pairs = chain_pairs();
    if pairs.is_empty() {
        return Err("chain config variable is required".into());
    }
    pairs
        .iter()
        .map(|(chain, handler)| {
            known(chain)?;
            address::submit(chain, handler, gas_price)
        })
        .collect()
}

/// Settings whose key is a chain key. The host answers for single keys only, so the list comes from the
/// workflow itself.
fn chain_pairs() -> Vec<(String, String)> {
    let Submit::Aggregator(submit) = host::get_workflow().workflow.submit else {
        return Vec::new();
    };
    let mut config = submit.component.config;
    config.retain(|(key, _)| key.starts_with("evm:") || key.starts_with("cosmos:"));
    config
}

fn known(chain: &str) -> Result<(), String> {
    let known = host::get_evm_chain_config(chain).is_some() || host::get_cosmos_chain_config(chain).is_some();
    known
        .then_some(())
        .ok_or_else(|| format!("no chain config for {chain}"))
}
