//! The supervisor of the node: starts, watches and stops the four processes, and serves the HTTP API.
//!
//! It holds no durable state of its own. [`supervise`] keeps the processes alive; `http` answers requests by asking
//! them over their control sockets.

pub mod supervise;
