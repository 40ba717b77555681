//! The values by which the pipeline works, validated from the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wavs_ipc::contract::job::RunMode;
use wavs_service::Secret;
use wavs_service::config::{self, AggregatorConfig, EnvDefault, KvMode, ServicePolicy, StageSize};
use wavs_types::{ChainConfig, ChainKey, Component, ServiceId};

use crate::ledger::retention::Policy;

/// Settings of the whole process.
#[derive(Clone)]
pub struct Settings {
    /// How long an event collects signatures.
    pub collect_ttl: Duration,
    /// How long a target may take to land once it has quorum.
    pub submit_ttl: Duration,
    /// Events of one service that may be open at once; its jobs wait beyond.
    pub max_open_events: u64,
    /// Overrides of these for one service.
    pub overrides: BTreeMap<ServiceId, Override>,
    /// How long a node that may have its own result waits before it fetches that of another operator.
    pub own_input_grace: Duration,
    /// Whether this node takes part in events whose trigger is bound to nothing that their operators signed.
    pub allow_unbound_inputs: bool,
    /// How many operators post in each stage; nothing: all that are left.
    pub stages: Vec<Option<u32>>,
    /// Keys of the posting order, by service.
    pub schedule_keys: BTreeMap<ServiceId, Secret>,
    /// Executable backlog at which intake stops.
    pub max_queue: usize,
    /// Host faults after which a job fails.
    pub retry_max: u32,
    /// How long the bodies of an event are kept after its end.
    pub tombstone: Duration,
    /// How long jobs that are over are kept.
    pub job_retention: Duration,
    /// How many jobs are kept; half of them may wait for their runs ([`Self::max_waiting`]).
    pub max_stored: u64,
    /// Runs of one service that are asked of engine-svc at once.
    pub max_parallel_per_service: usize,
    /// Runs that engine-svc has slots for.
    pub engine_slots: usize,
    /// Limit of a run without limit of its own, and the cap of those with one.
    pub max_execution: Duration,
    /// The cap on the fuel of a run; none: only components that ask for a limit are metered.
    pub max_fuel: Option<u64>,
    /// How often service URIs are read again.
    pub recheck: Duration,
    /// Whether keys without history sign at once although they have weight on chain: a development node, where ledgers come
    /// and go.
    pub accept_empty_history: bool,
    /// Whether a workflow may name a trigger chain that is not configured yet.
    pub allow_pending_chains: bool,
    /// The chains of the configuration.
    pub chains: BTreeMap<ChainKey, ChainConfig>,
    /// Grants by service; what is not listed follows [`Self::env_needs_grant`].
    pub grants: BTreeMap<ServiceId, Grant>,
    /// Whether a variable needs a grant (`grants.env_default = "granted"`) or the declaration is enough.
    pub env_needs_grant: bool,
}

/// Overrides for one service.
#[derive(Debug, Clone, Default)]
pub struct Override {
    /// Replaces [`Settings::collect_ttl`].
    pub collect_ttl: Option<Duration>,
    /// Replaces [`Settings::submit_ttl`].
    pub submit_ttl: Option<Duration>,
    /// Replaces [`Settings::allow_unbound_inputs`].
    pub allow_unbound_inputs: Option<bool>,
    /// How its guests run.
    pub mode: RunMode,
    /// Replaces [`Settings::max_open_events`].
    pub max_open_events: Option<u64>,
}

/// What the operator grants to one service.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// Variables that it may read.
    pub env: BTreeSet<String>,
    /// Chains that it may see; none: all.
    pub chains: Option<BTreeSet<ChainKey>>,
    /// Replaces [`Settings::max_execution`].
    pub max_execution: Option<Duration>,
    /// Replaces [`Settings::max_fuel`].
    pub max_fuel: Option<u64>,
}

/// The fuel cap that stands for none.
const NO_FUEL_CAP: u64 = u64::MAX;

impl Settings {
    /// How long events of a service collect.
    #[must_use]
    pub fn collect_ttl(&self, service: &ServiceId) -> Duration {
        self.overrides
            .get(service)
            .and_then(|own| own.collect_ttl)
            .unwrap_or(self.collect_ttl)
    }

    /// How long targets of a service may take to land.
    #[must_use]
    pub fn submit_ttl(&self, service: &ServiceId) -> Duration {
        self.overrides
            .get(service)
            .and_then(|own| own.submit_ttl)
            .unwrap_or(self.submit_ttl)
    }

    /// Whether bodies of a service may be run whose trigger is bound to nothing that was signed.
    #[must_use]
    pub fn allows_unbound_inputs(&self, service: &ServiceId) -> bool {
        self.overrides
            .get(service)
            .and_then(|own| own.allow_unbound_inputs)
            .unwrap_or(self.allow_unbound_inputs)
    }

    /// How guests of a service run.
    #[must_use]
    pub fn mode(&self, service: &ServiceId) -> RunMode {
        self.overrides.get(service).map(|own| own.mode).unwrap_or_default()
    }

    /// Events of a service that may be open at once.
    #[must_use]
    pub fn max_open_events(&self, service: &ServiceId) -> u64 {
        self.overrides
            .get(service)
            .and_then(|own| own.max_open_events)
            .unwrap_or(self.max_open_events)
    }

    /// Jobs of all services that may wait for their runs. As many others have room in the ledger, so that no backlog costs the
    /// records of what is over.
    #[must_use]
    pub fn max_waiting(&self) -> u64 {
        (self.max_stored / 2).max(1)
    }

    /// What the ledger keeps, and for how long.
    #[must_use]
    pub fn retention(&self) -> Policy {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Policy {
            tombstone_ms: ms(self.tombstone),
            jobs_ms: ms(self.job_retention),
            max_jobs: self.max_stored,
        }
    }

    /// The limit of a run whose component asks for `own`.
    #[must_use]
    pub fn execution_limit(&self, service: &ServiceId, own: Option<u64>) -> Duration {
        let cap = self
            .grants
            .get(service)
            .and_then(|grant| grant.max_execution)
            .unwrap_or(self.max_execution);
        own.map_or(cap, |seconds| Duration::from_secs(seconds).min(cap))
    }

    /// The cap on the fuel of a service's runs, if there is one.
    #[must_use]
    pub fn fuel_cap(&self, service: &ServiceId) -> Option<u64> {
        let granted = self.grants.get(service).and_then(|grant| grant.max_fuel);
        granted.or(self.max_fuel).filter(|fuel| *fuel != NO_FUEL_CAP)
    }

    /// Whether engine-svc counts the fuel of a component's runs, for which it needs other code.
    #[must_use]
    pub fn metered(&self, service: &ServiceId, component: &Component) -> bool {
        component.fuel_limit.is_some() || self.fuel_cap(service).is_some()
    }
}

impl From<&AggregatorConfig> for Settings {
    fn from(config: &AggregatorConfig) -> Self {
        let policy = |policy: &ServicePolicy| Override {
            collect_ttl: Some(policy.collect_ttl),
            submit_ttl: Some(policy.submit_ttl),
            allow_unbound_inputs: Some(policy.allow_unbound_inputs),
            mode: RunMode {
                deterministic: policy.deterministic,
                transactional: policy.kv_mode == KvMode::Transactional,
            },
            max_open_events: Some(policy.max_open_events),
        };
        let grant = |grant: &config::Grant| Grant {
            env: grant.env.clone(),
            // A name that is no chain key matches no chain.
            chains: grant
                .chains
                .as_ref()
                .map(|names| names.iter().filter_map(|name| name.parse().ok()).collect()),
            max_execution: grant
                .max_seconds
                .map(|seconds| Duration::from_secs(seconds).min(config.hard_timeout)),
            max_fuel: grant.max_fuel,
        };
        Self {
            collect_ttl: config.service_defaults.collect_ttl,
            submit_ttl: config.service_defaults.submit_ttl,
            max_open_events: config.service_defaults.max_open_events,
            own_input_grace: config.own_input_grace,
            allow_unbound_inputs: config.service_defaults.allow_unbound_inputs,
            stages: config.stages.iter().map(|size| stage(*size)).collect(),
            schedule_keys: config.schedule_keys.clone(),
            overrides: config.services.iter().map(|(id, own)| (*id, policy(own))).collect(),
            max_queue: config.jobs.max_queue,
            retry_max: config.jobs.retry_max,
            tombstone: config.burned_queue_ttl,
            job_retention: config.jobs.retention,
            max_stored: config.jobs.max_stored,
            max_parallel_per_service: config.max_parallel_per_service,
            engine_slots: config.engine_slots,
            max_execution: config.max_execution,
            max_fuel: config.max_fuel,
            recheck: config.recheck,
            accept_empty_history: config.dev_endpoints,
            allow_pending_chains: config.allow_pending_chains,
            chains: config.chains.clone(),
            grants: config
                .grants
                .services
                .iter()
                .map(|(id, own)| (*id, grant(own)))
                .collect(),
            env_needs_grant: config.grants.env_default == EnvDefault::Granted,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            collect_ttl: Duration::from_secs(86_400),
            submit_ttl: Duration::from_secs(86_400),
            max_open_events: 10_000,
            own_input_grace: Duration::from_secs(2),
            allow_unbound_inputs: false,
            stages: vec![Some(1), Some(1), Some(1), Some(2), Some(2), Some(4), None],
            schedule_keys: BTreeMap::new(),
            overrides: BTreeMap::new(),
            max_queue: 4_096,
            retry_max: 5,
            tombstone: Duration::from_secs(2 * 86_400),
            job_retention: Duration::from_secs(7 * 86_400),
            max_stored: 1_000_000,
            max_parallel_per_service: 8,
            engine_slots: 16,
            max_execution: Duration::from_secs(300),
            max_fuel: None,
            recheck: Duration::from_secs(600),
            accept_empty_history: false,
            allow_pending_chains: false,
            chains: BTreeMap::new(),
            grants: BTreeMap::new(),
            env_needs_grant: false,
        }
    }
}

fn stage(size: StageSize) -> Option<u32> {
    match size {
        StageSize::Count(count) => Some(count),
        StageSize::Rest => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_metered_as_engine_svc_meters_them() {
        let service = ServiceId::new([1; 32]);
        let component = |fuel: Option<u64>| -> Component {
            let source = serde_json::json!({"digest": "ab".repeat(32)});
            let document = serde_json::json!({
                "source": source, "permissions": {}, "config": {}, "env_keys": [], "fuel_limit": fuel
            });
            serde_json::from_value(document).unwrap()
        };
        let metered = |own, node, granted| {
            let grant = Grant {
                max_fuel: granted,
                ..Grant::default()
            };
            let settings = Settings {
                max_fuel: node,
                grants: BTreeMap::from([(service, grant)]),
                ..Settings::default()
            };
            settings.metered(&service, &component(own))
        };
        assert!(!metered(None, None, None));
        assert!(metered(Some(5), None, None));
        assert!(metered(None, Some(5), None));
        assert!(metered(None, None, Some(5)));
        // A grant replaces the cap of the node, also with none.
        assert!(!metered(None, Some(5), Some(NO_FUEL_CAP)));
    }
}
