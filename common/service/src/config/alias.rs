//! Old names that still work, each with one deprecation warning. A new name wins over an old one wherever the two are set.

use super::keys;
use super::kind::Kind;
use super::layer::{Layer, Path};
use crate::ProcessName;

/// Old key, and the key that it means now; an empty one has no effect any more.
const KEYS: [(&str, &str); 7] = [
    ("submission_mnemonic", "signing_mnemonic"),
    ("cosmos_submission_mnemonic", "aggregator_cosmos_credential"),
    ("aggregator_credential", "aggregator_evm_credential"),
    ("aggregator.credential", "aggregator_evm_credential"),
    ("aggregator_hd_index", "aggregator.hd_index"),
    ("wasm_threads", "engine.workers"),
    ("submission_poll_interval_ms", ""),
];

/// Fields of a chain without effect.
const CHAIN_FIELDS: [&str; 2] = ["event_channel_size", "submission_poll_interval_ms"];

/// Keys of the `[aggregator]` table of old releases.
const LEGACY_AGGREGATOR: [(&str, &str); 5] = [
    ("credential", "aggregator_evm_credential"),
    ("hd_index", "aggregator.hd_index"),
    ("port", "http.legacy_aggregator_port"),
    ("data", ""),
    ("cors_allowed_origins", ""),
];

/// The path and type for an old environment variable, without its prefix. The path keeps the old name, so that [`split`] finds it.
pub(crate) fn variable(rest: &str) -> Option<(Path, Kind)> {
    let old = rest.to_ascii_lowercase();
    let (_, new) = KEYS.iter().find(|(name, _)| *name == old)?;
    let kind = keys::find(&segments(new)).map_or(Kind::Text, |key| key.kind);
    Some((vec![old], kind))
}

/// Brings the full names of processes (`process.engine-svc`), as status and logs have them, to the short ones.
pub(crate) fn shorten_processes(layer: &mut Layer) {
    for name in ProcessName::ALL {
        let is_full = |path: &&Path| matches!(path.as_slice(), [first, second, ..] if first == "process" && second == name.full());
        let paths: Vec<_> = layer.entries.keys().filter(is_full).cloned().collect();
        for path in paths {
            let mut short = path.clone();
            name.short().clone_into(&mut short[1]);
            if let Some(entry) = layer.entries.remove(&path) {
                layer.set(short, entry);
            }
        }
    }
}

/// Takes the old names out of `layer` and gives them under their new names.
pub(crate) fn split(layer: &mut Layer, warnings: &mut Vec<String>) -> Layer {
    let mut old = Layer::default();
    let renamed = layer
        .entries
        .keys()
        .filter_map(|path| Some((path.clone(), new_name(path)?)))
        .collect::<Vec<_>>();
    for (path, new) in renamed {
        let Some(entry) = layer.entries.remove(&path) else {
            continue;
        };
        warn(&path.join("."), new, &entry.origin.to_string(), warnings);
        if !new.is_empty() {
            old.set(segments(new), entry);
        }
    }
    old
}

/// Brings an `[aggregator]` table to the present keys.
pub(crate) fn legacy_aggregator(table: Layer, warnings: &mut Vec<String>) -> Layer {
    let mut old = Layer::default();
    for (path, entry) in table.entries {
        let name = path.join(".");
        let new = LEGACY_AGGREGATOR
            .iter()
            .find(|(old, _)| *old == name)
            .map_or("", |(_, new)| *new);
        warn(
            &format!("[aggregator] {name}"),
            new,
            &entry.origin.to_string(),
            warnings,
        );
        if !new.is_empty() {
            old.set(segments(new), entry);
        }
    }
    old
}

fn new_name(path: &Path) -> Option<&'static str> {
    if let [chains, _, _, field] = path.as_slice()
        && chains == "chains"
        && CHAIN_FIELDS.contains(&field.as_str())
    {
        return Some("");
    }
    let name = path.join(".");
    KEYS.iter().find(|(old, _)| *old == name).map(|(_, new)| *new)
}

fn warn(old: &str, new: &str, origin: &str, warnings: &mut Vec<String>) {
    warnings.push(if new.is_empty() {
        format!("{old} ({origin}) has no effect any more; remove it")
    } else {
        format!("{old} ({origin}) is an old name; use {new}")
    });
}

fn segments(path: &str) -> Path {
    path.split('.').map(str::to_owned).collect()
}
