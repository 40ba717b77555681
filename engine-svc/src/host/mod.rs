//! What a guest can call: the `host` interface of both worlds, the key-value store, and the WASI context of its run.
//!
//! All of it is total: no service document, trigger or guest value makes it panic.

mod clock;
mod convert;
pub(crate) mod descriptors;
mod determinism;
mod fault;
mod files;
mod held;
pub(crate) mod keyvalue;
mod limiter;
mod linker;
mod log;
pub(crate) mod memory;
mod names;
mod shares;
mod sockets;
mod state;
mod stdio;
mod wavs;

pub(crate) use convert::{ResultError, actions, aggregator_input, responses, trigger_action, tx_result};
pub(crate) use determinism::{Determinism, trigger_time};
pub(crate) use fault::{Crowded, HostFault};
pub(crate) use files::{FileFault, FileQuota};
pub(crate) use linker::add_to_linker;
pub(crate) use log::{GuestLogs, RunLog, printable};
pub(crate) use shares::Shares;
pub(crate) use state::{EventSource, GuestState, RunSetup};
