//! Values with their origins, in layers of rising precedence.
//!
//! A layer is flat: one entry for each leaf, so laying one over another merges tables key by key at every depth. Arrays are leaves and replace.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The program.
    BuiltIn,
    /// A file, with the line from 1.
    File(PathBuf, usize),
    /// An environment variable, also one from a dotenv file.
    Environment(String),
    /// A flag.
    CommandLine(String),
}

/// A value with its origin.
#[derive(Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// The segments of a key.
pub(crate) type Path = Vec<String>;

/// Leaves by path.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Layer {
    pub(crate) entries: BTreeMap<Path, Entry>,
}

impl Layer {
    /// Sets a leaf. What contradicts it, a leaf above or leaves beneath, goes.
    pub(crate) fn set(&mut self, path: Path, entry: Entry) {
        let network = path.len() > 1 && path[0] == "p2p";
        self.entries.retain(|other, _| {
            let related = other.starts_with(&path) || path.starts_with(other);
            // The two kinds of networks exclude each other as well.
            let other_network = network && other.len() > 1 && other[0] == "p2p" && other[1] != path[1];
            !related && !other_network
        });
        self.entries.insert(path, entry);
    }

    /// Lays `upper` over this.
    pub(crate) fn overlay(&mut self, upper: Layer) {
        for (path, entry) in upper.entries {
            self.set(path, entry);
        }
    }
}

impl Origin {
    /// Whether a process list or a crash report of the shell could show the value.
    pub(crate) fn is_command_line(&self) -> bool {
        matches!(self, Self::CommandLine(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::CommandLine(name) => write!(f, "flag {name}"),
        }
    }
}
