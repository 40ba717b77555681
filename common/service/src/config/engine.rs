//! The part of engine-svc.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavs_ipc::bounds::MAX_DEADLINE;

use super::error::ConfigError;
use super::fetch::FetchConfig;
use super::grants::Grants;
use super::guest_limits::GuestLimits;
use super::values::Values;

/// Time that a call for a run has on top of the limit of the run: waiting for a slot, instantiation, the way there and back.
pub const CALL_MARGIN: Duration = Duration::from_secs(10);
/// Longest run that a call can wait for.
const LONGEST_RUN: Duration = MAX_DEADLINE.saturating_sub(CALL_MARGIN);

/// Slots for each guest thread: guests that wait for the network or sleep leave their thread to others.
const SLOTS_PER_WORKER: usize = 8;
/// Most slots. Each reserves address space for its linear memories, which is finite even at 64 bits.
const MAX_SLOTS: usize = 256;
/// Fewest slots, so that a small machine still runs sleeping guests side by side.
const MIN_SLOTS: usize = 16;

/// What engine-svc is told. It holds no secret; what a running guest may see comes with the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineConfig {
    /// Threads of the runtime that serves calls; guests run on their own.
    pub worker_threads: usize,
    /// Threads of each kind (for brief and for long runs) that guests run on; more guests may be under way at once.
    pub workers: usize,
    /// Guests of one service that run at once.
    pub max_parallel_per_service: usize,
    /// Runs of one service that wait; beyond it the engine answers busy.
    pub queue_per_service: usize,
    /// What guests may use.
    pub guest: GuestLimits,
    /// Bytes that the process may have, guests and all; what its control group or the machine has, where that is less or nothing is
    /// configured.
    pub memory_max: Option<u64>,
    /// No run is longer, whatever a component or a grant says.
    pub hard_timeout: Duration,
    /// Longest run, and the value for components without a limit of their own.
    pub max_execution: Duration,
    /// Most fuel of a run; `None` is no cap, and fuel is then counted only where a component or a grant sets a limit.
    pub max_fuel: Option<u64>,
    /// Compiled components kept in memory.
    pub component_cache: NonZeroUsize,
    /// Loopback and private targets that guests may reach: `ip-or-cidr[:port]` or names.
    pub http_allow_private: Vec<String>,
    /// Ports at which the node itself can be reached; guests may not, unless an entry names address and port.
    pub own_ports: Vec<u16>,
    /// Where compiled components are kept.
    pub cache_dir: PathBuf,
    /// How components are downloaded.
    pub fetch: FetchConfig,
    /// What single services may do beyond their document; variables and chains are decided by aggregator-svc.
    pub grants: Grants,
}

/// The reference writes "no cap" as the largest number.
const NO_FUEL_CAP: u64 = u64::MAX;

/// What 0 means for the component cache, as in the reference.
const SMALL_CACHE: NonZeroUsize = NonZeroUsize::new(10).unwrap();

impl EngineConfig {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let hard_timeout = hard_timeout(values)?;
        let cache_dir = values.optional_path("engine.cache_dir")?;
        let workers = values.optional_size("engine.workers")?.unwrap_or_else(cores);
        Ok(Self {
            worker_threads: values.size("process.engine.worker_threads")?,
            workers,
            max_parallel_per_service: values.size("engine.max_parallel_per_service")?,
            queue_per_service: values.size("engine.queue_per_service")?,
            guest: GuestLimits::read(values, engine_slots(workers))?,
            memory_max: memory_max(values)?,
            hard_timeout,
            max_execution: values.seconds("max_execution_seconds")?.min(hard_timeout),
            max_fuel: Some(values.number("max_wasm_fuel")?).filter(|fuel| *fuel != NO_FUEL_CAP),
            component_cache: NonZeroUsize::new(values.size("wasm_lru_size")?).unwrap_or(SMALL_CACHE),
            http_allow_private: values.list("engine.http_allow_private")?,
            own_ports: own_ports(values)?,
            cache_dir: cache_dir.unwrap_or_else(|| values.data_dir().join("engine").join("aot")),
            fetch: FetchConfig::read(values)?,
            grants: Grants::read(values)?,
        })
    }
}

/// Where the API, the old API for aggregators and the metrics are served.
pub(super) fn own_ports(values: &Values<'_>) -> Result<Vec<u16>, ConfigError> {
    let metrics = values.optional_text("telemetry.metrics_listen")?;
    let metrics = metrics.and_then(|listen| listen.rsplit_once(':')?.1.parse().ok());
    let api = [
        Some(values.number("port")?),
        values.optional_number("http.legacy_aggregator_port")?,
    ];
    let ports = api.into_iter().flatten().filter_map(|port| u16::try_from(port).ok());
    Ok(ports.chain(metrics).filter(|port| *port > 0).collect())
}

fn memory_max(values: &Values<'_>) -> Result<Option<u64>, ConfigError> {
    let mebibytes = values.optional_number("process.engine.memory_max_mb")?;
    Ok(mebibytes.map(|count| count.saturating_mul(1 << 20)))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Runs that engine-svc has slots for with so many threads for guests. aggregator-svc has not many more of them under way.
#[must_use]
pub fn engine_slots(workers: usize) -> usize {
    workers.saturating_mul(SLOTS_PER_WORKER).clamp(MIN_SLOTS, MAX_SLOTS)
}

/// The limit of all runs, which must end before the calls that wait for them.
fn hard_timeout(values: &Values<'_>) -> Result<Duration, ConfigError> {
    let key = "engine.hard_timeout_secs";
    let timeout = values.seconds(key)?;
    if timeout > LONGEST_RUN {
        let detail = format!(
            "a run of {} s is longer than a call can wait for it: expected at most {}",
            timeout.as_secs(),
            LONGEST_RUN.as_secs()
        );
        return Err(values.wrong(&[key], &detail));
    }
    Ok(timeout)
}
