//! engine-svc: runs the WASM components of services in a sandbox.
//!
//! aggregator-svc sends a job that carries all that its run needs: the service document, the chains, the variables. The
//! component is fetched by digest and compiled, by two processes of their own; its code is checked and kept. Each run gets a fresh
//! store and ends by itself, by a limit, or by its deadline. Beside components the process keeps only what guests store: key-value
//! data and files.
//!
//! It calls no other process and holds no keys. Whether a job runs, how often, and what becomes of its result is decided
//! by the caller.

mod bindings;
mod chains;
mod compiler;
mod components;
mod documents;
mod downloads;
mod egress;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod helper;
mod host;
mod kv;
mod limits;
mod metrics;
mod node;
mod processes;
mod runtime;
mod serve;
mod service;
mod settings;
#[cfg(test)]
mod testing;

pub use limits::{CapGrant, Caps, NO_FUEL_CAP};
pub use node::{Node, OpenError};
pub use processes::{Helpers, SpawnError, run_subcommand};
pub use serve::{prepare, run, serve};
pub use settings::{Grant, Settings, SettingsError};
