//! The supervisor of the node: starts, watches and stops the four processes, and serves the HTTP API.
//!
//! It holds no durable state of its own. [`supervise`] keeps the processes alive; [`http`] answers requests by asking
//! them over their control sockets; [`run`] puts both together. [`attach`] serves the same API for processes that systemd
//! runs. [`control`] is what the API may ask of either, `operator` the task that does it, [`reload`] a new configuration while
//! the node runs. [`command_line`] is the way in, [`config_keys`] the list of what can be configured, [`status`] the view from
//! another terminal, [`check`] the look at machine and node, [`alerts`] what somebody should look at, and [`retention`] the end of
//! the data of removed services.

pub mod alerts;
pub mod attach;
pub mod check;
pub mod command_line;
pub mod config_keys;
pub mod control;
pub mod data_dir;
pub mod http;
pub mod node;
mod operator;
pub mod proc_stats;
pub mod programs;
pub mod reload;
pub mod retention;
pub mod run;
pub mod status;
pub mod supervise;
