//! The chain table: `[chains.evm.<id>]`, `[chains.cosmos.<id>]` and `[chains.dev.<name>]`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use wavs_types::{ChainConfig, ChainKey, CosmosChainConfig, EvmChainConfig};

use super::ConfigError;
use super::sources::{Entry, Layer, Origin};

/// Builds the chains from their leaves. Fields that the tool does not know belong to the node and are ignored.
pub(super) fn read(layer: &Layer) -> Result<BTreeMap<ChainKey, ChainConfig>, ConfigError> {
    let mut tables: BTreeMap<(&str, &str), Vec<(&str, &Entry)>> = BTreeMap::new();
    for (path, entry) in layer.iter().filter(|(path, _)| path[0] == "chains") {
        match path.as_slice() {
            [_, namespace, id, field] => {
                tables.entry((namespace, id)).or_default().push((field.as_str(), entry));
            }
            _ => return Err(entry.wrong(path, "expected a table chains.<evm, cosmos or dev>.<id> with fields")),
        }
    }
    tables
        .into_iter()
        .map(|((namespace, id), fields)| chain(namespace, id, &fields))
        .collect()
}

fn chain(namespace: &str, id: &str, fields: &[(&str, &Entry)]) -> Result<(ChainKey, ChainConfig), ConfigError> {
    let wrong = |detail: &str| {
        let path = ["chains", namespace, id].map(str::to_owned);
        // A table has at least one field, so there is an origin to show.
        let origin = fields
            .first()
            .map(|(_, entry)| entry.origin.to_string())
            .unwrap_or_default();
        ConfigError::Value {
            key: path.join("."),
            origin,
            detail: detail.to_owned(),
        }
    };
    let key: ChainKey = format!("{namespace}:{id}")
        .parse()
        .map_err(|error: wavs_types::ParseChainKeyError| wrong(&error.to_string()))?;
    let kind = match namespace {
        "evm" | "cosmos" => namespace,
        "dev" => fields
            .iter()
            .find(|(name, _)| *name == "type")
            .and_then(|(_, entry)| entry.value.as_str())
            .unwrap_or_default(),
        _ => return Err(wrong("expected one of chains.evm, chains.cosmos, chains.dev")),
    };
    let defaults = match kind {
        "evm" => serde_json::to_value(EvmChainConfig::default()),
        "cosmos" => serde_json::to_value(CosmosChainConfig::default()),
        _ => return Err(wrong("a dev chain needs type = \"evm\" or type = \"cosmos\"")),
    };
    let defaults = defaults.unwrap_or_default();
    let mut object = Map::new();
    for (name, entry) in fields {
        if let Some(default) = defaults.get(name) {
            object.insert((*name).to_owned(), typed(entry, default));
        }
    }
    object.insert("type".to_owned(), Value::from(kind));
    if namespace != "dev" {
        object.insert("chain_id".to_owned(), Value::from(id));
    }
    let config: ChainConfig =
        serde_json::from_value(Value::Object(object)).map_err(|error| wrong(&error.to_string()))?;
    if config.chain_id().is_empty() {
        return Err(wrong("a dev chain needs a chain_id"));
    }
    Ok((key, config))
}

/// Variables are text; the default says what the text is to become.
fn typed(entry: &Entry, default: &Value) -> Value {
    let (Origin::Variable(_), Value::String(text)) = (&entry.origin, &entry.value) else {
        return entry.value.clone();
    };
    match default {
        Value::Array(_) => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(Value::from)
            .collect(),
        Value::Number(_) | Value::Bool(_) => serde_json::from_str(text).unwrap_or_else(|_| entry.value.clone()),
        // A field without a value by default is an endpoint, or a number.
        Value::Null => text
            .parse::<f64>()
            .ok()
            .and_then(|_| serde_json::from_str(text).ok())
            .unwrap_or_else(|| entry.value.clone()),
        _ => entry.value.clone(),
    }
}
