//! The settings of engine-svc, validated: what [`crate::Node`] is built from.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wavs_fetch::{AddressPolicy, AllowEntry, AllowEntryError, FetchLimits, GatewayError, Gateways, Verify};
use wavs_ipc::bounds::MAX_PAYLOAD;
use wavs_service::ProcessName;
use wavs_service::config::{EngineConfig, GuestLimits, IpfsVerify, engine_slots};
use wavs_types::ServiceId;

use crate::host::memory;
use crate::limits::{CapGrant, Caps, NO_FUEL_CAP, SALT_BYTES};

/// What an answer needs besides results: usage and framing.
const ANSWER_OVERHEAD: usize = 60 << 10;
/// What it needs for each result besides its payload: the salt, or an action, and their framing.
const RESULT_OVERHEAD: usize = SALT_BYTES + 64;

/// Compiled components in memory where there is no configuration: as many as it has built in.
const COMPILED: NonZeroUsize = NonZeroUsize::new(20).unwrap();

/// The program that runs, even when its file was replaced meanwhile.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

/// Settings of the process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The state directory, `<data>/engine`.
    pub state_dir: PathBuf,
    /// Where compiled components are kept.
    pub cache_dir: PathBuf,
    /// The program that compiles and downloads: this one, which knows the subcommands of [`crate::run_subcommand`].
    pub program: PathBuf,
    /// Where the supervisor puts uploads.
    pub uploads_dir: PathBuf,
    /// Threads that guests run on.
    pub workers: usize,
    /// Runs of one service at a time.
    pub max_parallel_per_service: usize,
    /// Waiting runs of one service.
    pub queue_per_service: usize,
    /// Caps of one run.
    pub caps: Caps,
    /// Bytes that the process may have, guests and all.
    pub memory: u64,
    /// Compiled components in memory; the one unused for the longest time is dropped and mapped again when needed.
    pub compiled: NonZeroUsize,
    /// Bounds of a component download; `max_bytes` also bounds uploads.
    pub fetch: FetchLimits,
    /// Where components may be downloaded from.
    pub fetch_policy: AddressPolicy,
    /// IPFS gateways for components.
    pub gateways: Gateways,
    /// Whether what a gateway answers is checked against its content id, before its digest is.
    pub ipfs_verify: Verify,
    /// Addresses that guests may reach.
    pub guest_policy: Arc<AddressPolicy>,
    /// What the operator granted to single services.
    pub grants: BTreeMap<ServiceId, Grant>,
}

/// What the operator granted to one service.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Caps in place of the node's.
    pub caps: CapGrant,
    /// Addresses that its guests may reach, in place of the node's.
    pub addresses: Arc<AddressPolicy>,
    /// Whether its sockets may bind and listen.
    pub listen: bool,
}

/// A configured value that engine-svc cannot use.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A line of an allow list.
    #[error("{key}: {cause}")]
    Allow {
        /// The configuration key.
        key: String,
        /// Why the line does not parse.
        cause: AllowEntryError,
    },
    /// An IPFS gateway.
    #[error("ipfs_gateway: {0}")]
    Gateway(#[from] GatewayError),
}

impl Settings {
    /// The settings that the configuration of the node makes.
    ///
    /// # Errors
    /// [`SettingsError`] for the first value that cannot be used.
    pub fn from_config(config: &EngineConfig, data_dir: &Path) -> Result<Self, SettingsError> {
        let policy = |hosts| AddressPolicy::new(hosts).without_own_ports(config.own_ports.clone());
        let guests = allow("engine.http_allow_private", &config.http_allow_private)?;
        let mut grants = BTreeMap::new();
        for (service, grant) in &config.grants.services {
            let key = format!("grants.\"{service}\".http_hosts");
            let hosts = [guests.clone(), allow(&key, &grant.http_hosts)?].concat();
            let grant = Grant {
                caps: CapGrant {
                    max_fuel: grant.max_fuel,
                    max_seconds: grant.max_seconds,
                },
                addresses: Arc::new(policy(hosts)),
                listen: grant.raw_sockets,
            };
            grants.insert(*service, grant);
        }
        Ok(Self {
            state_dir: ProcessName::Engine.state_dir(data_dir),
            cache_dir: config.cache_dir.clone(),
            program: PathBuf::from(OWN_PROGRAM),
            uploads_dir: data_dir.join("run").join("uploads"),
            workers: config.workers,
            max_parallel_per_service: config.max_parallel_per_service,
            queue_per_service: config.queue_per_service,
            caps: Caps {
                max_fuel: config.max_fuel.unwrap_or(NO_FUEL_CAP),
                max_seconds: config.max_execution.as_secs(),
                hard_seconds: config.hard_timeout.as_secs(),
                guest: answerable(config.guest),
            },
            memory: memory::of_process(config.memory_max),
            compiled: config.component_cache,
            fetch: Self::fetch_limits(config.fetch.max_component_bytes, config.fetch.timeout),
            fetch_policy: policy(allow("fetch.allow_hosts", &config.fetch.allow_hosts)?),
            gateways: Gateways::parse(config.fetch.ipfs_gateways.iter().map(String::as_str))?,
            ipfs_verify: match config.fetch.ipfs_verify {
                IpfsVerify::Require => Verify::Require,
                IpfsVerify::Prefer => Verify::Prefer,
                IpfsVerify::Off => Verify::Off,
            },
            guest_policy: Arc::new(policy(guests)),
            grants,
        })
    }

    /// The defaults, for a state directory and an upload directory.
    ///
    /// # Errors
    /// When the default gateway does not parse, which is a bug.
    pub fn new(state_dir: PathBuf, uploads_dir: PathBuf) -> Result<Self, SettingsError> {
        Ok(Self {
            cache_dir: state_dir.join("aot"),
            program: PathBuf::from(OWN_PROGRAM),
            state_dir,
            uploads_dir,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            max_parallel_per_service: 8,
            queue_per_service: 1024,
            caps: Caps {
                max_fuel: NO_FUEL_CAP,
                max_seconds: 300,
                hard_seconds: 3600,
                guest: answerable(GuestLimits::default()),
            },
            memory: memory::of_process(None),
            compiled: COMPILED,
            fetch: Self::fetch_limits(64 << 20, Duration::from_secs(30)),
            fetch_policy: AddressPolicy::default(),
            gateways: Gateways::parse(["https://ipfs.io/ipfs/"])?,
            ipfs_verify: Verify::default(),
            guest_policy: Arc::default(),
            grants: BTreeMap::new(),
        })
    }

    /// Limits of a component download: the whole may take four times the longest silence.
    #[must_use]
    pub fn fetch_limits(max_bytes: u64, stall: Duration) -> FetchLimits {
        FetchLimits {
            max_bytes,
            stall,
            total: stall.saturating_mul(4),
        }
    }

    /// The directory of the component store.
    #[must_use]
    pub fn components_dir(&self) -> PathBuf {
        self.state_dir.join("ca")
    }

    /// The directory of the key-value store.
    #[must_use]
    pub fn kv_dir(&self) -> PathBuf {
        self.state_dir.join("kv")
    }

    /// The directory beneath which each service has its files.
    #[must_use]
    pub fn files_dir(&self) -> PathBuf {
        self.state_dir.join("app")
    }

    /// Runs at a time.
    #[must_use]
    pub fn slots(&self) -> usize {
        engine_slots(self.workers)
    }

    /// The grant of a service, or what applies without one.
    #[must_use]
    pub fn grant(&self, service: &ServiceId) -> Grant {
        self.grants.get(service).cloned().unwrap_or_else(|| Grant {
            caps: CapGrant::default(),
            addresses: self.guest_policy.clone(),
            listen: false,
        })
    }
}

/// The limits with payloads that fit into an answer between processes, beside as many results as a run may have.
fn answerable(limits: GuestLimits) -> GuestLimits {
    let overhead = limits
        .results
        .saturating_mul(RESULT_OVERHEAD)
        .saturating_add(ANSWER_OVERHEAD);
    GuestLimits {
        response: limits.response.min(MAX_PAYLOAD.saturating_sub(overhead)),
        ..limits
    }
}

fn allow(key: &str, lines: &[String]) -> Result<Vec<AllowEntry>, SettingsError> {
    lines
        .iter()
        .map(|line| {
            line.parse().map_err(|cause| SettingsError::Allow {
                key: key.to_owned(),
                cause,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(allow_private: &str) -> EngineConfig {
        let seconds = |secs: u64| json!({"secs": secs, "nanos": 0});
        let service = "11".repeat(32);
        serde_json::from_value(json!({
            "worker_threads": 1, "workers": 3, "max_parallel_per_service": 8, "queue_per_service": 9, "memory_max": 1 << 20,
            "guest": GuestLimits { files: 5, response: usize::MAX, ..GuestLimits::default() }, "hard_timeout": seconds(10), "max_execution": seconds(5),
            "max_fuel": null, "component_cache": 2, "http_allow_private": [allow_private], "own_ports": [8000], "cache_dir": "/x",
            "fetch": {"timeout": seconds(30), "max_component_bytes": 7, "allow_hosts": [], "allow_file": false,
                "ipfs_verify": "prefer", "ipfs_gateways": ["https://ipfs.io/ipfs/"]},
            "grants": {"env_default": "declared", "services": {service: {"env": [], "http_hosts": ["10.0.0.1"], "raw_sockets": true,
                "chains": null, "max_fuel": 5, "max_seconds": 8}}}
        }))
        .unwrap()
    }

    #[test]
    fn grants_add_to_what_the_node_allows() {
        let settings = Settings::from_config(&config("127.0.0.1:80"), Path::new("/data")).unwrap();
        assert_eq!(settings.state_dir, Path::new("/data/engine"));
        assert_eq!(settings.uploads_dir, Path::new("/data/run/uploads"));
        assert!(settings.caps.guest.response < MAX_PAYLOAD);
        assert_eq!(settings.caps.max_fuel, NO_FUEL_CAP);
        assert_eq!(settings.caps.guest.files, 5);
        assert_eq!(settings.memory, 1 << 20);
        let permits = |grant: &Grant, ip: &str| grant.addresses.permits(ip, ip.parse().unwrap(), 80);
        let (granted, other) = (
            settings.grant(&ServiceId::new([0x11; 32])),
            settings.grant(&ServiceId::new([0; 32])),
        );
        assert_eq!(
            granted.caps,
            CapGrant {
                max_fuel: Some(5),
                max_seconds: Some(8)
            }
        );
        assert!(granted.listen && permits(&granted, "10.0.0.1") && permits(&granted, "127.0.0.1"));
        assert!(!other.listen && !permits(&other, "10.0.0.1") && permits(&other, "127.0.0.1"));
    }

    /// Of this machine an entry of an address opens everything but the ports of the node, which only an entry with the port opens.
    #[test]
    fn neither_guests_nor_downloads_reach_the_node_by_a_broad_entry() {
        for (entry, own) in [("127.0.0.0/8", false), ("127.0.0.1", false), ("127.0.0.1:8000", true)] {
            let mut config = config(entry);
            config.fetch.allow_hosts = vec![entry.to_owned()];
            let settings = Settings::from_config(&config, Path::new("/data")).unwrap();
            for policy in [&settings.fetch_policy, &settings.guest_policy] {
                let permits = |port| policy.permits("127.0.0.1", [127, 0, 0, 1].into(), port);
                assert_eq!((permits(8000), permits(8001)), (own, !own), "{entry}");
            }
        }
    }

    #[test]
    fn a_bad_line_is_named_with_its_key() {
        let error = Settings::from_config(&config("not a host"), Path::new("/data"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("engine.http_allow_private") && error.contains("not a host"),
            "{error}"
        );
    }
}
