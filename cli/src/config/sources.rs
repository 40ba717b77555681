//! Raw values by key, each with its origin. A layer has one entry for each leaf, so laying one over another merges tables at
//! every depth, while arrays, being leaves, replace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ConfigError, Surroundings};

/// The prefix of the tool's variables.
const PREFIX: &str = "WAVS_CLI_";
/// Variables that are about loading itself.
const LOADER: [&str; 1] = ["home"];

/// Leaves by path.
pub(super) type Layer = BTreeMap<Vec<String>, Entry>;

/// A raw value. Text from variables and flags is not yet of the type of its key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File(PathBuf, usize),
    Variable(String),
    Flag(&'static str),
}

impl Origin {
    /// Where a relative path in the value starts.
    pub(super) fn base<'a>(&'a self, current_dir: &'a Path) -> &'a Path {
        match self {
            Self::File(path, _) => path.parent().unwrap_or(current_dir),
            Self::Variable(_) | Self::Flag(_) => current_dir,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Entry {
    /// The error for this entry.
    pub(super) fn wrong(&self, key: &[String], detail: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            key: key.join("."),
            origin: self.origin.to_string(),
            detail: detail.into(),
        }
    }
}

/// The tool's variables. `__` separates segments; the id of a chain keeps its case, all other segments are lower case.
pub(super) fn environment(surroundings: &Surroundings) -> Layer {
    let mut layer = Layer::new();
    for (name, value) in &surroundings.variables {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| !rest.is_empty()) else {
            continue;
        };
        let mut path: Vec<String> = rest.split("__").map(str::to_owned).collect();
        for (index, segment) in path.iter_mut().enumerate() {
            if index != 2 {
                *segment = segment.to_ascii_lowercase();
            }
        }
        if path.len() == 1 && LOADER.contains(&path[0].as_str()) {
            continue;
        }
        let origin = Origin::Variable(name.clone());
        layer.insert(
            path,
            Entry {
                value: Value::from(value.as_str()),
                origin,
            },
        );
    }
    layer
}
