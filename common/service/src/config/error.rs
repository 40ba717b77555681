//! Why a configuration is refused. Each text names the key, where the value came from and what would be right, and never a secret.

use std::path::PathBuf;

use super::layer::Origin;

/// A configuration that cannot be used: exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named explicitly, or found, cannot be read.
    #[error("cannot read {path}: {source}; check that it exists and that this user may read it", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not TOML or not a dotenv file.
    #[error("{path}, line {line}: {detail}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// A value does not fit its key.
    #[error("{key} ({origin}): {detail}")]
    Value {
        /// The key, dotted.
        key: String,
        /// Where the value came from.
        origin: Origin,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// The strict mode refuses what is only a warning otherwise.
    #[error("refused because of --strict-config: {0}")]
    Strict(String),
}
