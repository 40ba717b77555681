//! The contract between the processes of the node.
//!
//! Each file of [`mod@contract`] holds one [`tarpc`] service and its wire structs. Calls only ever point from a more
//! trusted process to a less trusted one; a process that is called never calls back:
//!
//! | server         | contract                                    | caller         | socket                    |
//! |----------------|---------------------------------------------|----------------|---------------------------|
//! | all four       | [`contract::lifecycle`]                     | supervisor     | `<run>/<svc>/ctl.sock`    |
//! | aggregator-svc | [`contract::registry`]                      | supervisor     | its ctl socket            |
//! | aggregator-svc | [`contract::records`]                       | supervisor     | its ctl socket            |
//! | trigger-svc    | [`contract::trigger_feed`]                  | aggregator-svc | `<run>/trigger/rpc.sock`  |
//! | trigger-svc    | [`contract::trigger_admin`]                 | supervisor     | its ctl socket            |
//! | engine-svc     | [`contract::engine`]                        | aggregator-svc | `<run>/engine/rpc.sock`   |
//! | engine-svc     | [`contract::engine_admin`]                  | supervisor     | its ctl socket            |
//! | p2p-svc        | [`contract::gossip`]                        | aggregator-svc | `<run>/p2p/rpc.sock`      |
//! | p2p-svc        | [`contract::p2p_admin`]                     | supervisor     | its ctl socket            |
//!
//! Rules that hold for every method: it is unary (a stream is a long poll that returns at once with data and empty on
//! timeout); it returns `Result<T, WireError>`; a replay under the same id is harmless; the answer to a write means
//! that it is on disk. Enums are append-only. Components travel by digest and path, never as bytes of a call.
//!
//! Beneath the contracts: [`socket`] binds and connects, [`preamble`] decides whether both sides understand each other,
//! [`server`] is the accept loop, [`client`] the caller's side, and [`bounds`] names every limit.
//!
//! ```no_run
//! use std::time::Duration;
//! use wavs_ipc::contract::lifecycle::{Lifecycle, LifecycleClient, ProcessStatus};
//! use wavs_ipc::{Context, Identity, Reconnecting, Role, Router, WireError, handler, socket};
//!
//! #[derive(Clone)]
//! struct Server;
//!
//! impl Lifecycle for Server {
//!     async fn status(self, _: Context) -> Result<ProcessStatus, WireError> {
//!         Err(WireError::internal("no status yet"))
//!     }
//!     async fn metrics(self, _: Context) -> Result<String, WireError> {
//!         Ok(String::new())
//!     }
//!     async fn drain(self, _: Context) -> Result<(), WireError> {
//!         Ok(())
//!     }
//!     async fn set_log_level(self, _: Context, _: Vec<String>) -> Result<(), WireError> {
//!         Ok(())
//!     }
//! }
//!
//! # async fn example(path: &std::path::Path, shutdown: tokio::sync::oneshot::Receiver<()>) -> Result<(), Box<dyn std::error::Error>> {
//! let router = Router::new(Identity::new(Role::Engine)).serve::<LifecycleClient, _, _>(handler!(Lifecycle, Server));
//! let listener = socket::bind(path)?;
//! tokio::spawn(router.run(listener, async { drop(shutdown.await) }));
//!
//! let engine = Reconnecting::<LifecycleClient>::new(path, Identity::new(Role::Supervisor));
//! let metrics = engine
//!     .call(Duration::from_secs(2), async |client, context| client.metrics(context).await)
//!     .await?;
//! # Ok(()) }
//! ```

pub mod bounds;
mod callers;
pub mod client;
mod codec;
pub mod connect;
mod connection;
pub mod contract;
pub mod contract_table;
pub mod deadline;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod identity;
pub mod json;
pub mod preamble;
pub mod server;
pub mod socket;
pub mod transport;

pub use client::Reconnecting;
pub use connect::{ConnectError, connect};
pub use contract_table::Contract;
pub use error::{ErrorCode, Retry, WireError};
pub use identity::{BuildId, Identity, Role};
pub use json::Json;
pub use preamble::{Refusal, Refused, VersionRange};
pub use server::{Limits, Router, Stopped};
pub use tarpc;
pub use tarpc::context::Context;
