//! The configuration in two stages.
//!
//! [`Loader`] merges `wavs.toml`, environment and flags into flat layers that remember where each value came from, checked against the one
//! table of [`keys`]. [`NodeConfig`] is the validated result, composed of one struct for each process. No file is fine: everything has
//! a built-in value. Nothing is written, and what is shown ([`RedactedConfig`]) holds no secret.

mod aggregator;
mod alias;
mod audience;
mod chains;
mod credential;
mod dormant;
mod dotenv;
mod engine;
mod environment;
mod error;
mod fetch;
mod file;
mod fingerprints;
mod flags;
mod grants;
mod guest_limits;
mod http;
pub mod keys;
mod kind;
mod layer;
mod loader;
mod nearest;
mod node;
mod p2p;
mod redacted;
mod sources;
mod telemetry;
mod trigger;
mod values;

pub use aggregator::{AggregatorConfig, AggregatorRun, Callback, JobsConfig, KvMode, ServicePolicy, StageSize};
pub use audience::Audience;
pub use engine::{CALL_MARGIN, EngineConfig, engine_slots};
pub use error::ConfigError;
pub use fetch::{FetchConfig, IpfsVerify};
pub use fingerprints::{Fingerprints, fingerprint};
pub use flags::Flags;
pub use grants::{EnvDefault, Grant, Grants};
pub use guest_limits::GuestLimits;
pub use http::{ApiToken, HealthCheckMode, HttpConfig, OpenReads, TokenScope};
pub use kind::Kind;
pub use layer::Origin;
pub use loader::{Loaded, Loader};
pub use node::{NodeConfig, ProcessConfig, ProcessLimits};
pub use p2p::{P2pBridge, P2pConfig, P2pMode, P2pNetwork};
pub use redacted::RedactedConfig;
pub use sources::Sources;
pub use telemetry::{LogFormat, TelemetryConfig};
pub use trigger::{CatchUp, HypercoreStart, MisfirePolicy, TriggerConfig};
