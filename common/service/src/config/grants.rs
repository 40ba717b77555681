//! What the operator grants to the guests of single services.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wavs_types::ServiceId;

use super::aggregator::service_id;
use super::error::ConfigError;
use super::values::Values;

/// Grants of all services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Which variables a service sees without a grant.
    pub env_default: EnvDefault,
    /// Grants by service.
    pub services: BTreeMap<ServiceId, Grant>,
}

/// Which variables a service sees without a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvDefault {
    /// All that its document names.
    Declared,
    /// None.
    Granted,
}

/// Grants of one service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Grant {
    /// Variables that it may see.
    pub env: BTreeSet<String>,
    /// Loopback and private targets that its guests may use beside those of all services, where its document allows the host too:
    /// `ip-or-cidr[:port]` or names.
    pub http_hosts: Vec<String>,
    /// Raw sockets may bind and listen too.
    pub raw_sockets: bool,
    /// Chains whose configuration it may see; `None` is all.
    pub chains: Option<BTreeSet<String>>,
    /// Replaces the node's cap on fuel.
    pub max_fuel: Option<u64>,
    /// Replaces the node's cap on run time, in seconds.
    pub max_seconds: Option<u64>,
}

impl Grants {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let mut services = BTreeMap::new();
        for name in values
            .names(&["grants"])
            .into_iter()
            .filter(|name| *name != "env_default")
        {
            let section = values.section(&["grants", name]);
            let grant = Grant {
                env: section.list("env")?.into_iter().collect(),
                http_hosts: section.list("http_hosts")?,
                raw_sockets: section.flag("raw_sockets")?,
                chains: section
                    .optional_list("chains")?
                    .map(|chains| chains.into_iter().collect()),
                max_fuel: section.optional_number("max_fuel")?,
                max_seconds: section.optional_number("max_seconds")?,
            };
            services.insert(service_id(values, &["grants", name])?, grant);
        }
        Ok(Self {
            env_default: values.choice("grants.env_default")?,
            services,
        })
    }
}
