//! The contract between the processes of the node.
//!
//! Each file of [`contract`] holds one [`tarpc`] service and its wire structs. Calls only ever point from a more
//! trusted process to a less trusted one; a process that is called never calls back:
//!
//! | server         | contract                                    | caller         | socket                    |
//! |----------------|---------------------------------------------|----------------|---------------------------|
//! | all four       | [`contract::lifecycle`]                     | supervisor     | `<run>/<svc>/ctl.sock`    |
//! | aggregator-svc | [`contract::registry`]                      | supervisor     | its ctl socket            |
//! | trigger-svc    | [`contract::trigger_feed`]                  | aggregator-svc | `<run>/trigger/rpc.sock`  |
//! | trigger-svc    | [`contract::trigger_admin`]                 | supervisor     | its ctl socket            |
//! | engine-svc     | [`contract::engine`]                        | aggregator-svc | `<run>/engine/rpc.sock`   |
//! | engine-svc     | [`contract::engine_admin`]                  | supervisor     | its ctl socket            |
//! | p2p-svc        | [`contract::p2p_admin`]                     | supervisor     | its ctl socket            |
//!
//! Rules that hold for every method: it is unary (a stream is a long poll that returns at once with data and empty on
//! timeout); it returns `Result<T, WireError>`; a replay under the same id is harmless; the answer to a write means
//! that it is on disk. Enums are append-only. Components travel by digest and path, never as bytes of a call.

pub mod contract;
pub mod error;
pub mod json;

pub use error::{ErrorCode, Retry, WireError};
pub use json::Json;
