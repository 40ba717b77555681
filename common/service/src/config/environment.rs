//! `WAVS_*` variables as a layer.

use std::collections::BTreeMap;

use super::alias;
use super::error::ConfigError;
use super::keys::{self, KEYS};
use super::layer::{Entry, Layer, Origin};

/// Variables that steer the loader or the process, or belong to other programs.
const LOADER: [&str; 7] = [
    "WAVS_HOME",
    "WAVS_DOTENV",
    "WAVS_LOG_FORMAT",
    "WAVS_CALLERS",
    "WAVS_STRICT_CONFIG",
    "WAVS_FAULT",
    "WAVS_FAULT_DIRECTORY",
];

/// Prefixes that are not keys of the node.
const FOREIGN: [&str; 3] = ["WAVS_CLI_", "WAVS_ENV", "WAVS_AGGREGATOR_"];

/// Reads the variables; names that fit no key become warnings.
pub(crate) fn read(variables: &BTreeMap<String, String>, warnings: &mut Vec<String>) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix("WAVS_").filter(|_| !LOADER.contains(&name.as_str())) else {
            continue;
        };
        let segments = rest.split("__").collect::<Vec<_>>();
        let Some((path, kind)) = known(&segments).or_else(|| alias::variable(rest)) else {
            if !FOREIGN.iter().any(|prefix| name.starts_with(prefix)) {
                let hint = super::nearest::hint(&rest.to_ascii_lowercase().replace("__", "."));
                warnings.push(format!(
                    "the environment variable {name} fits no configuration key{hint}"
                ));
            }
            continue;
        };
        let origin = Origin::Environment(name.clone());
        match kind.parse(text) {
            Ok(value) => layer.set(path, Entry { value, origin }),
            Err(detail) => {
                return Err(ConfigError::Value {
                    key: path.join("."),
                    origin,
                    detail,
                });
            }
        }
    }
    Ok(layer)
}

/// The path of a variable. Names of keys are compared without case; what the user names is kept as it is written.
fn known(segments: &[&str]) -> Option<(Vec<String>, super::kind::Kind)> {
    let fits = |key: &&keys::Key| {
        let names = key.path.split('.').collect::<Vec<_>>();
        names.len() == segments.len()
            && names
                .iter()
                .zip(segments)
                .all(|(name, given)| *name == "*" || name.eq_ignore_ascii_case(given))
    };
    let key = KEYS
        .iter()
        .filter(fits)
        .min_by_key(|key| key.path.matches('*').count())?;
    let chain = key.path.starts_with("chains");
    let segment = |(at, (name, given)): (usize, (&str, &&str))| match name {
        // Of a chain the namespace and the field are lower-case words, only the id is the user's.
        "*" if chain && at != 2 => given.to_ascii_lowercase(),
        "*" if key.path.starts_with("process") || key.path.starts_with("p2p") => given.to_ascii_lowercase(),
        "*" => (*given).to_owned(),
        name => name.to_owned(),
    };
    Some((
        key.path.split('.').zip(segments).enumerate().map(segment).collect(),
        key.kind,
    ))
}
