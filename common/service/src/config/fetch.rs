//! Downloads of service documents and components.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::values::Values;

/// How something is downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchConfig {
    /// Time for the download of a document; for a component the longest silence, and a quarter of the time for the whole.
    pub timeout: Duration,
    /// Largest component in bytes.
    pub max_component_bytes: u64,
    /// Loopback and private targets that are allowed: `ip-or-cidr[:port]` or names.
    pub allow_hosts: Vec<String>,
    /// Service documents may be read from `file://` URIs; components never are.
    pub allow_file: bool,
    /// Whether content from an IPFS gateway is checked against its identifier.
    pub ipfs_verify: IpfsVerify,
    /// Gateway bases in order of preference, each with a trailing slash.
    pub ipfs_gateways: Vec<String>,
}

/// Whether content from an IPFS gateway is checked against its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpfsVerify {
    /// Refuse what cannot be checked.
    Require,
    /// Check what can be checked.
    Prefer,
    /// Believe the gateway.
    Off,
}

impl FetchConfig {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let gateways = values.list("ipfs_gateway")?;
        Ok(Self {
            timeout: values.seconds("fetch.timeout_secs")?,
            max_component_bytes: values.mebibytes("fetch.max_component_mb")?,
            allow_hosts: values.list("fetch.allow_hosts")?,
            allow_file: values.flag("fetch.allow_file")?,
            ipfs_verify: values.choice("fetch.ipfs_verify")?,
            ipfs_gateways: gateways
                .into_iter()
                .map(|base| if base.ends_with('/') { base } else { base + "/" })
                .collect(),
        })
    }
}
