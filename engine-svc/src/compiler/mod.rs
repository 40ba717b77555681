//! From WASM to machine code, outside of the process that runs guests.
//!
//! The compile host is a process of its own, started before engine-svc locks itself down. For each compilation it starts a
//! fresh worker with tight limits, hands it the bytes of the component, and keeps the code that comes back on disk, under a
//! MAC. engine-svc asks it by digest, then maps the file. A component that breaks the compiler, or takes all of its time or
//! memory, costs one worker; code that was compiled once is loaded again after a restart.
//!
//! Which components are wanted, and their links to host functions, are the business of the runtime.

mod cache;
mod client;
mod code;
mod compat;
mod host;
mod mac;
mod process;
mod protocol;
mod worker;

pub(crate) use cache::Lookup;
pub(crate) use client::Compiler;
pub(crate) use host::run as run_host;
pub(crate) use process::CompileHost;
pub(crate) use worker::run as run_worker;

/// The subcommand of the host.
pub(crate) const HOST: &str = "compile-host";
/// The subcommand of the worker.
pub(crate) const WORKER: &str = "compile-worker";
