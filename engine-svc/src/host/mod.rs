//! What a guest can call: the `host` interface of both worlds, the key-value store, and the WASI context of its run.
//!
//! All of it is total: no service document, trigger or guest value makes it panic.

mod clock;
mod convert;
mod determinism;
mod fault;
mod files;
pub(crate) mod keyvalue;
mod limiter;
mod log;
mod sockets;
mod state;
mod stdio;
mod wavs;

pub(crate) use convert::{ResultError, actions, aggregator_input, responses, trigger_action, tx_result};
pub(crate) use determinism::{Determinism, trigger_time};
pub(crate) use fault::HostFault;
pub(crate) use files::FileQuota;
pub(crate) use log::{GuestLogs, RunLog, printable};
pub(crate) use state::{EventSource, GuestState, RunSetup};
