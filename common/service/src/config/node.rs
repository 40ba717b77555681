//! The validated configuration of the whole node, and which part of it each process gets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wavs_types::{ChainConfig, ChainKey};

use super::aggregator::AggregatorConfig;
use super::chains;
use super::engine::EngineConfig;
use super::error::ConfigError;
use super::http::HttpConfig;
use super::p2p::P2pConfig;
use super::telemetry::TelemetryConfig;
use super::trigger::TriggerConfig;
use super::values::Values;
use crate::process::ProcessName;
use crate::sandbox::Strictness;
use crate::secret::Secret;

/// Everything, validated.
#[derive(Clone)]
pub struct NodeConfig {
    /// The directory under which all processes keep their state.
    pub data_dir: PathBuf,
    /// The chains.
    pub chains: BTreeMap<ChainKey, ChainConfig>,
    /// The API, in the supervisor.
    pub http: HttpConfig,
    /// For trigger-svc.
    pub trigger: TriggerConfig,
    /// For engine-svc.
    pub engine: EngineConfig,
    /// For aggregator-svc.
    pub aggregator: AggregatorConfig,
    /// For p2p-svc.
    pub p2p: P2pConfig,
    /// For all.
    pub telemetry: TelemetryConfig,
    /// Limits of each process.
    pub processes: BTreeMap<ProcessName, ProcessLimits>,
}

/// Limits under which the supervisor runs a process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessLimits {
    /// Most memory in bytes, where the kernel offers control groups.
    pub memory_max_bytes: Option<u64>,
    /// Most CPU time per second of all cores together, 1.0 is one core.
    pub cpu_quota: Option<f64>,
    /// Restarts within 60 s before the process counts as failing.
    pub restart_max: u32,
    /// Longest wait before a restart.
    pub restart_delay_max: Duration,
    /// Its own filter directives.
    pub log_level: Option<Vec<String>>,
    /// Whether it runs at all.
    pub enabled: bool,
    /// Whether it may start where the kernel lacks a protection.
    pub sandbox: Strictness,
}

/// The configuration type of one process: what it is handed, and which secrets it may hold.
pub trait ProcessConfig: Serialize + DeserializeOwned + Send + 'static {
    /// The process.
    const PROCESS: ProcessName;

    /// Its part of the whole.
    fn of(node: &NodeConfig) -> Self;

    /// Threads of its runtime.
    fn worker_threads(&self) -> usize;

    /// Its secrets by name, in a form that [`Self::put_secret`] takes. They are no part of the serial form.
    fn secrets(&self) -> Vec<(String, Secret)> {
        Vec::new()
    }

    /// Puts one secret back; `false` if this process has no use for it.
    fn put_secret(&mut self, _name: &str, _secret: Secret) -> bool {
        false
    }
}

impl NodeConfig {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let chains = chains::read(values)?;
        let mut processes = BTreeMap::new();
        for name in ProcessName::ALL {
            processes.insert(name, ProcessLimits::read(&values.section(&["process", name.short()]))?);
        }
        let engine = EngineConfig::read(values)?;
        Ok(Self {
            data_dir: values.data_dir().to_owned(),
            http: HttpConfig::read(values)?,
            trigger: TriggerConfig::read(values, &chains)?,
            aggregator: AggregatorConfig::read(values, &chains, &engine)?,
            engine,
            p2p: P2pConfig::read(values)?,
            telemetry: TelemetryConfig::read(values)?,
            chains,
            processes,
        })
    }

    /// Whether a process may start where the kernel lacks a protection.
    #[must_use]
    pub fn strictness_of(&self, name: ProcessName) -> Strictness {
        self.processes
            .get(&name)
            .map_or(Strictness::Strict, |limits| limits.sandbox)
    }

    /// How a process logs: its own level if it has one.
    #[must_use]
    pub fn telemetry_of(&self, name: ProcessName) -> TelemetryConfig {
        let own = self.processes.get(&name).and_then(|limits| limits.log_level.clone());
        let mut telemetry = self.telemetry.clone();
        telemetry.log_level = own.unwrap_or(telemetry.log_level);
        telemetry
    }
}

impl ProcessLimits {
    fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            memory_max_bytes: values
                .optional_number("memory_max_mb")?
                .map(|megabytes| megabytes.saturating_mul(1024 * 1024)),
            cpu_quota: values.optional_float("cpu_quota")?,
            restart_max: values.small("restart_max")?,
            restart_delay_max: Duration::from_millis(values.number("restart_delay_max_ms")?),
            log_level: values.optional_list("log_level")?,
            enabled: values.flag("enabled")?,
            sandbox: values.choice("sandbox")?,
        })
    }
}

impl ProcessConfig for TriggerConfig {
    const PROCESS: ProcessName = ProcessName::Trigger;

    fn of(node: &NodeConfig) -> Self {
        node.trigger.clone()
    }

    fn worker_threads(&self) -> usize {
        self.worker_threads
    }
}

impl ProcessConfig for EngineConfig {
    const PROCESS: ProcessName = ProcessName::Engine;

    fn of(node: &NodeConfig) -> Self {
        node.engine.clone()
    }

    fn worker_threads(&self) -> usize {
        self.worker_threads
    }
}

impl ProcessConfig for AggregatorConfig {
    const PROCESS: ProcessName = ProcessName::Aggregator;

    fn of(node: &NodeConfig) -> Self {
        node.aggregator.clone()
    }

    fn worker_threads(&self) -> usize {
        self.worker_threads
    }

    fn secrets(&self) -> Vec<(String, Secret)> {
        let single = [
            ("signing_mnemonic", &self.signing_mnemonic),
            ("aggregator_evm_credential", &self.evm_credential),
            ("aggregator_cosmos_credential", &self.cosmos_credential),
        ];
        let single = single
            .into_iter()
            .filter_map(|(name, secret)| Some((name.to_owned(), secret.clone()?)));
        let variables = self
            .component_env
            .iter()
            .map(|(name, secret)| (format!("component_env/{name}"), secret.clone()));
        let schedule = self
            .schedule_keys
            .iter()
            .map(|(id, secret)| (format!("schedule_key/{id}"), secret.clone()));
        single.chain(variables).chain(schedule).collect()
    }

    fn put_secret(&mut self, name: &str, secret: Secret) -> bool {
        match (name, name.split_once('/')) {
            ("signing_mnemonic", _) => self.signing_mnemonic = Some(secret),
            ("aggregator_evm_credential", _) => self.evm_credential = Some(secret),
            ("aggregator_cosmos_credential", _) => self.cosmos_credential = Some(secret),
            (_, Some(("component_env", variable))) => drop(self.component_env.insert(variable.to_owned(), secret)),
            (_, Some(("schedule_key", id))) => match id.parse() {
                Ok(id) => drop(self.schedule_keys.insert(id, secret)),
                Err(_) => return false,
            },
            _ => return false,
        }
        true
    }
}

impl ProcessConfig for P2pConfig {
    const PROCESS: ProcessName = ProcessName::P2p;

    fn of(node: &NodeConfig) -> Self {
        node.p2p.clone()
    }

    fn worker_threads(&self) -> usize {
        self.worker_threads
    }

    fn secrets(&self) -> Vec<(String, Secret)> {
        self.identity
            .iter()
            .map(|secret| ("identity".to_owned(), secret.clone()))
            .collect()
    }

    fn put_secret(&mut self, name: &str, secret: Secret) -> bool {
        let known = name == "identity";
        if known {
            self.identity = Some(secret);
        }
        known
    }
}
