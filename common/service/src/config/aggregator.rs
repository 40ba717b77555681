//! The part of aggregator-svc, the only process with signing and posting keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavs_types::{ChainConfig, ChainKey, ServiceId};

use super::audience::AGGREGATOR;
use super::engine::{EngineConfig, engine_slots};
use super::error::ConfigError;
use super::grants::Grants;
use super::values::Values;
use crate::secret::Secret;

/// What aggregator-svc is told.
#[derive(Clone, Serialize, Deserialize)]
pub struct AggregatorConfig {
    /// Threads of the runtime.
    pub worker_threads: usize,
    /// The chains. Further ones come through the API.
    pub chains: BTreeMap<ChainKey, ChainConfig>,
    /// BIP-39 phrase of the signing keys. Without it no service can be added.
    #[serde(skip)]
    pub signing_mnemonic: Option<Secret>,
    /// Phrase or `0x` key that pays on EVM chains. Without it this node never posts there.
    #[serde(skip)]
    pub evm_credential: Option<Secret>,
    /// Phrase that pays on Cosmos chains.
    #[serde(skip)]
    pub cosmos_credential: Option<Secret>,
    /// Index of the posting key under `evm_credential`.
    pub hd_index: u32,
    /// Values that guests may see, by name. Which service sees which is decided by its document and the grants.
    #[serde(skip)]
    pub component_env: BTreeMap<String, Secret>,
    /// Keys that order the submissions of a service, by service.
    #[serde(skip)]
    pub schedule_keys: BTreeMap<ServiceId, Secret>,
    /// This node signs nothing and only aggregates.
    pub aggregate_only: bool,
    /// A service may name a chain that is not configured; it stays pending.
    pub allow_pending_chains: bool,
    /// Nothing is posted.
    pub submission_networking_disabled: bool,
    /// Whether other operators can be heard.
    pub p2p_enabled: bool,
    /// The node's cap on the run time of components, to warn about a service that asks for more.
    pub max_execution: Duration,
    /// No run is longer, whatever is granted to a service.
    pub hard_timeout: Duration,
    /// The node's cap on fuel; `None` is none.
    pub max_fuel: Option<u64>,
    /// Runs that engine-svc has slots for. It may have fewer where it is a unit of its own with a quota of the processor; then it
    /// answers busy.
    pub engine_slots: usize,
    /// Guests of one service that run at once.
    pub max_parallel_per_service: usize,
    /// Life of a marker that an event is done.
    pub burned_queue_ttl: Duration,
    /// How long the own signature is waited for when another operator's comes first.
    pub own_input_grace: Duration,
    /// Operators that submit in each stage, first stage first.
    pub stages: Vec<StageSize>,
    /// How a service is treated unless [`Self::services`] says otherwise.
    pub service_defaults: ServicePolicy,
    /// Policies of single services.
    pub services: BTreeMap<ServiceId, ServicePolicy>,
    /// What guests are allowed.
    pub grants: Grants,
    /// Bounds of the jobs.
    pub jobs: JobsConfig,
    /// Whether this is a development node: its keys sign although their history may be lost.
    pub dev_endpoints: bool,
    /// How often the on-chain state of services is looked at again.
    pub recheck: Duration,
}

/// How many operators submit in one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageSize {
    /// This many.
    Count(u32),
    /// All that are left.
    Rest,
}

/// How one service is treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePolicy {
    /// How long signatures of an event are collected.
    pub collect_ttl: Duration,
    /// How long a submission is tried.
    pub submit_ttl: Duration,
    /// Events that may be open at once. Beyond it the service's triggers wait until some have ended.
    pub max_open_events: u64,
    /// How often the aggregator component runs.
    pub aggregator_run: AggregatorRun,
    /// When the aggregator component is told about a submission.
    pub callback: Callback,
    /// Post a quorum whose digest differs from the own result.
    pub post_divergent: bool,
    /// Take part in events that this node cannot derive itself.
    pub allow_unbound_inputs: bool,
    /// How guest key-value writes become durable.
    pub kv_mode: KvMode,
    /// The components promise equal output for equal input.
    pub deterministic: bool,
    /// Workflows whose events are submitted in order.
    pub ordered: BTreeSet<String>,
}

/// How often the aggregator component runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AggregatorRun {
    /// Once for each result.
    PerDigest,
    /// Once for each signature.
    PerSignature,
}

/// When the aggregator component is told about a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Callback {
    /// When it is decided.
    Terminal,
    /// After each attempt.
    PerAttempt,
}

/// How guest key-value writes become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvMode {
    /// When the call returns.
    Immediate,
    /// With the successful run.
    Transactional,
}

/// Bounds of the jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobsConfig {
    /// How long terminal jobs are kept.
    pub retention: Duration,
    /// Most jobs stored; the oldest terminal ones go first. Half of them may wait for their runs.
    pub max_stored: u64,
    /// Executable backlog at which intake from trigger-svc stops.
    pub max_queue: usize,
    /// Retries after faults of the host.
    pub retry_max: u32,
}

impl AggregatorConfig {
    pub(super) fn read(
        values: &Values<'_>,
        chains: &BTreeMap<ChainKey, ChainConfig>,
        engine: &EngineConfig,
    ) -> Result<Self, ConfigError> {
        let service_defaults = ServicePolicy::read(values, None)?;
        let mut services = BTreeMap::new();
        let mut schedule_keys = BTreeMap::new();
        for name in values.names(&["service"]) {
            let id = service_id(values, &["service", name])?;
            let section = values.section(&["service", name]);
            services.insert(id, ServicePolicy::read(&section, Some(&service_defaults))?);
            if let Some(secret) = section.secret(AGGREGATOR, "schedule_key")? {
                schedule_keys.insert(id, secret);
            }
        }
        let env = values.names(&["component_env"]);
        let mut component_env = values.guest_environment();
        for name in env {
            component_env.extend(
                values
                    .section(&["component_env"])
                    .secret(AGGREGATOR, name)?
                    .map(|secret| (name.to_owned(), secret)),
            );
        }
        Ok(Self {
            worker_threads: values.size("process.aggregator.worker_threads")?,
            chains: chains.clone(),
            signing_mnemonic: values.secret(AGGREGATOR, "signing_mnemonic")?,
            evm_credential: values.secret(AGGREGATOR, "aggregator_evm_credential")?,
            cosmos_credential: values.secret(AGGREGATOR, "aggregator_cosmos_credential")?,
            hd_index: values.small("aggregator.hd_index")?,
            component_env,
            schedule_keys,
            aggregate_only: values.flag("aggregate_only")?,
            allow_pending_chains: values.flag("allow_pending_chains")?,
            submission_networking_disabled: values.flag("disable_submission_networking")?,
            p2p_enabled: values.p2p_enabled(),
            max_execution: engine.max_execution,
            hard_timeout: engine.hard_timeout,
            max_fuel: engine.max_fuel,
            engine_slots: engine_slots(engine.workers),
            max_parallel_per_service: engine.max_parallel_per_service,
            dev_endpoints: values.flag("dev_endpoints_enabled")?,
            burned_queue_ttl: values.seconds("aggregator.burned_queue_ttl_secs")?,
            own_input_grace: values.seconds("aggregator.own_input_grace_secs")?,
            stages: stages(values)?,
            service_defaults,
            services,
            grants: Grants::read(values)?,
            jobs: JobsConfig {
                retention: values.days("jobs.retention_days")?,
                max_stored: values.number("jobs.max_stored")?,
                max_queue: values.size("jobs.max_queue")?,
                retry_max: values.small("jobs.retry_max")?,
            },
            recheck: values.seconds("services.recheck_secs")?,
        })
    }

    /// The policy of a service.
    #[must_use]
    pub fn policy(&self, service: &ServiceId) -> &ServicePolicy {
        self.services.get(service).unwrap_or(&self.service_defaults)
    }
}

impl ServicePolicy {
    /// The policy of the whole node (`defaults` absent), or that of one service over `defaults`.
    fn read(values: &Values<'_>, defaults: Option<&Self>) -> Result<Self, ConfigError> {
        let Some(defaults) = defaults else {
            return Ok(Self {
                collect_ttl: values.seconds("aggregator.collect_ttl_secs")?,
                submit_ttl: values.seconds("aggregator.submit_ttl_secs")?,
                max_open_events: values.number("aggregator.max_open_events")?,
                aggregator_run: values.choice("aggregator.aggregator_run")?,
                callback: values.choice("aggregator.callback")?,
                post_divergent: values.flag("aggregator.post_divergent")?,
                allow_unbound_inputs: values.flag("aggregator.allow_unbound_inputs")?,
                kv_mode: KvMode::Immediate,
                deterministic: false,
                ordered: BTreeSet::new(),
            });
        };
        Ok(Self {
            collect_ttl: values
                .optional_seconds("collect_ttl_secs")?
                .unwrap_or(defaults.collect_ttl),
            submit_ttl: values
                .optional_seconds("submit_ttl_secs")?
                .unwrap_or(defaults.submit_ttl),
            max_open_events: values
                .optional_number("max_open_events")?
                .unwrap_or(defaults.max_open_events),
            aggregator_run: values
                .optional_choice("aggregator_run")?
                .unwrap_or(defaults.aggregator_run),
            callback: values.optional_choice("callback")?.unwrap_or(defaults.callback),
            post_divergent: values
                .optional_flag("post_divergent")?
                .unwrap_or(defaults.post_divergent),
            allow_unbound_inputs: values
                .optional_flag("allow_unbound_inputs")?
                .unwrap_or(defaults.allow_unbound_inputs),
            kv_mode: values.choice("kv_mode")?,
            deterministic: values.flag("deterministic")?,
            ordered: values.list("ordered")?.into_iter().collect(),
        })
    }
}

/// The service id that is the last segment of `path`.
pub(super) fn service_id(values: &Values<'_>, path: &[&str]) -> Result<ServiceId, ConfigError> {
    let name = path.last().copied().unwrap_or_default();
    name.parse()
        .map_err(|_| values.wrong(path, &format!("{name:?} is not a service id: expected 64 hex digits")))
}

fn stages(values: &Values<'_>) -> Result<Vec<StageSize>, ConfigError> {
    let wrong = |text: &str| {
        values.wrong(
            &["aggregator", "stages"],
            &format!("{text:?} is neither a positive number nor \"rest\""),
        )
    };
    let size = |text: &String| match text.as_str() {
        "rest" => Ok(StageSize::Rest),
        text => text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .map(StageSize::Count)
            .ok_or_else(|| wrong(text)),
    };
    values.list("aggregator.stages")?.iter().map(size).collect()
}
