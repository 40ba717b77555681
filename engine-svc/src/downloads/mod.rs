//! Getting components from where service documents say, outside of the process that runs guests.
//!
//! The download host is a process of its own, started before engine-svc locks itself down. It downloads from the web and
//! from IPFS gateways under the address policy, hashes what arrives, and puts into the component store what has the digest
//! that was asked for. Packages of registries are read by the library of the wasm-pkg protocol, which makes connections as it
//! likes: it runs in a worker, one for each download, that can connect to nothing but a proxy of the host, and the proxy
//! applies the address policy.

mod client;
mod host;
mod package;
mod process;
mod protocol;
mod sink;
mod worker;

pub(crate) use client::Downloads;
pub(crate) use host::run as run_host;
pub(crate) use process::DownloadHost;
pub(crate) use worker::run as run_worker;

/// The subcommand of the host.
pub(crate) const HOST: &str = "download-host";
/// The subcommand of the worker.
pub(crate) const WORKER: &str = "download-worker";
/// The registry of packages that name none.
const DEFAULT_REGISTRY: &str = "wa.dev";
