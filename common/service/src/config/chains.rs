//! The chain table: `[chains.evm.<id>]`, `[chains.cosmos.<id>]` and `[chains.dev.<name>]`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use wavs_types::{ChainConfig, ChainKey, CosmosChainConfig, EvmChainConfig};

use super::error::ConfigError;
use super::layer::{Entry, Origin};
use super::nearest::distance;
use super::values::Values;

/// Reads and checks all chains.
pub(super) fn read(values: &Values<'_>) -> Result<BTreeMap<ChainKey, ChainConfig>, ConfigError> {
    let mut chains = BTreeMap::new();
    for namespace in values.names(&["chains"]) {
        if !["evm", "cosmos", "dev"].contains(&namespace) {
            return Err(values.wrong(&["chains", namespace], "expected one of evm, cosmos, dev"));
        }
        for id in values.names(&["chains", namespace]) {
            let (key, config) = chain(values, namespace, id)?;
            chains.insert(key, config);
        }
    }
    Ok(chains)
}

fn chain(values: &Values<'_>, namespace: &str, id: &str) -> Result<(ChainKey, ChainConfig), ConfigError> {
    let path = ["chains", namespace, id];
    let wrong = |detail: &str| values.wrong(&path, detail);
    let key: ChainKey = format!("{namespace}:{id}")
        .parse()
        .map_err(|error: wavs_types::ParseChainKeyError| wrong(&error.to_string()))?;
    let leaves = values.leaves(&path);
    let kind = match namespace {
        "dev" => leaves
            .iter()
            .find(|(name, _)| *name == "type")
            .and_then(|(_, entry)| entry.value.as_str()),
        other => Some(other),
    };
    let defaults = match kind {
        Some("evm") => serde_json::to_value(EvmChainConfig::default()),
        Some("cosmos") => serde_json::to_value(CosmosChainConfig::default()),
        _ => return Err(wrong("a dev chain needs type = \"evm\" or \"cosmos\"")),
    };
    let Ok(Value::Object(defaults)) = defaults else {
        return Err(wrong("the chain table has no defaults; this is a bug"));
    };
    let mut fields = Map::new();
    for (name, entry) in leaves {
        let Some(default) = defaults.get(name) else {
            unknown(values, name, entry, &key, &defaults);
            continue;
        };
        fields.insert(name.to_owned(), shape(entry, default));
    }
    fields.insert("type".to_owned(), Value::from(kind));
    if namespace != "dev" {
        fields.insert("chain_id".to_owned(), Value::from(id));
    }
    // serde names the field and the expected type; it quotes only numbers and type names, not endpoints.
    let config: ChainConfig =
        serde_json::from_value(Value::Object(fields)).map_err(|error| wrong(&error.to_string()))?;
    complete(&config).map_err(wrong)?;
    if config.as_evm().is_some_and(|evm| evm.ws_endpoints.is_empty()) {
        values.warn(format!(
            "{key} has no ws_endpoints: its events are polled, which is slower"
        ));
    }
    Ok((key, config))
}

/// What a chain cannot do without.
fn complete(config: &ChainConfig) -> Result<(), &'static str> {
    if config.chain_id().is_empty() {
        return Err("a dev chain needs a chain_id");
    }
    match config {
        ChainConfig::Evm(evm) if evm.ws_endpoints.is_empty() && evm.http_endpoint.is_none() => {
            Err("set ws_endpoints or http_endpoint")
        }
        ChainConfig::Cosmos(cosmos) if cosmos.bech32_prefix.is_empty() || cosmos.gas_denom.is_empty() => {
            Err("set bech32_prefix and gas_denom")
        }
        _ => Ok(()),
    }
}

/// The value of a field. Variables are text: the default says what the text is to become.
fn shape(entry: &Entry, default: &Value) -> Value {
    let (Origin::Environment(_), Value::String(text)) = (&entry.origin, &entry.value) else {
        return entry.value.clone();
    };
    match default {
        Value::Array(_) => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(Value::from)
            .collect(),
        Value::String(_) => Value::from(text.as_str()),
        _ => serde_json::from_str(text)
            .ok()
            .filter(|value: &Value| !value.is_object())
            .unwrap_or_else(|| Value::from(text.as_str())),
    }
}

fn unknown(values: &Values<'_>, name: &str, entry: &Entry, key: &ChainKey, known: &Map<String, Value>) {
    if name == "type" {
        return;
    }
    let nearest = known
        .keys()
        .map(|candidate| (distance(name, candidate), candidate))
        .min();
    let hint = nearest
        .filter(|(distance, _)| *distance <= 4)
        .map(|(_, candidate)| format!("; did you mean {candidate}?"))
        .unwrap_or_default();
    values.warn(format!("chain {key}: unknown key {name} ({}){hint}", entry.origin));
}
