//! The configuration of the tool: the tables `[default]` and `[cli]` of `wavs.toml`, `WAVS_CLI_*`, and flags.
//!
//! [`sources`] collects raw values with their origins in rising precedence, [`load`] turns them into a validated [`Config`].
//! The node's own loader knows other keys and brings the node's IPC with it, so the tool has this small one. Credentials
//! stay unread until a command needs them.

mod chains;
mod credential;
mod dotenv;
mod file;
mod load;
mod sources;
mod surroundings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use url::Url;
use wavs_types::{ChainConfig, ChainKey};

pub use credential::{Credential, CredentialError, Secret};
pub(crate) use load::load;
pub use surroundings::Surroundings;

use crate::failure::{Exit, Failure};

/// What the commands work with.
#[derive(Clone)]
pub struct Config {
    /// Where the node's API is.
    pub wavs_endpoint: Url,
    /// Directives for the log on stderr.
    pub log_level: Vec<String>,
    /// Where `deployments.json` is kept.
    pub data: PathBuf,
    /// The chains that the tool itself may talk to.
    pub chains: BTreeMap<ChainKey, ChainConfig>,
    /// The user's key for transactions on EVM chains.
    pub evm_credential: Option<Credential>,
    /// The user's phrase for Cosmos chains.
    pub cosmos_mnemonic: Option<Credential>,
    /// The token for the node's API.
    pub token: Option<Credential>,
    /// The node's Unix socket, used in place of `wavs_endpoint` when it is set.
    pub admin_socket: Option<PathBuf>,
    /// Comma separated list of gateways for `ipfs://`.
    pub ipfs_gateway: String,
    /// Whether deployments are recorded.
    pub save_deployment: bool,
    /// No results on stdout.
    pub quiet_results: bool,
    /// Results as JSON.
    pub json: bool,
}

/// A configuration and what is odd about it.
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What is probably a mistake.
    pub warnings: Vec<String>,
}

/// A configuration that cannot be used. No text contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is there but cannot be read.
    #[error("cannot read {path}: {source}; check that this user may read it", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not of its format.
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
        origin: String,
        /// What would be right.
        detail: String,
    },
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, "configuration", error.to_string())
    }
}

impl Config {
    /// The chain under `key`.
    ///
    /// # Errors
    /// When the tool has no such chain, with the table to add.
    pub fn chain(&self, key: &ChainKey) -> Result<&ChainConfig, Failure> {
        self.chains.get(key).ok_or_else(|| {
            let table = format!("[default.chains.{}.{}]", key.namespace(), key.id());
            let known = self.chains.keys().map(ChainKey::as_str).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            let detail =
                format!("the tool knows no chain {key} (configured: {known}); add a table {table} to wavs.toml");
            Failure::new(Exit::Usage, "chain-not-configured", detail)
        })
    }
}
