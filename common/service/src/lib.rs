//! What all processes of the node share: everything around their work.
//!
//! [`main`] is the whole `main` of a process: it reads the arguments, takes the inherited sockets and the configuration document (or binds
//! and loads them itself), installs the log, builds the runtime, catches signals, tells the parent that it is ready, and turns errors into
//! exit codes. [`config`] is the two-stage configuration, [`handover`] its way from the supervisor to a child, [`status`] and
//! [`metrics`] are what [`lifecycle`] reports, [`sandbox`] is the jail that children are started through and the only module with
//! unsafe code.
//!
//! Nothing here knows what a process does; no process-specific dependency may appear in this crate.

pub mod arguments;
pub mod boot;
pub mod check;
pub mod config;
pub mod exit;
pub mod handover;
pub mod lifecycle;
pub mod metrics;
pub mod notify;
pub mod process;
pub mod protections;
pub mod sandbox;
pub mod secret;
pub mod status;
pub mod telemetry;
pub mod watchdog;

pub use boot::{Boot, main, main_with, main_with_check};
pub use config::ProcessConfig;
pub use exit::Fatal;
pub use handover::Handover;
pub use lifecycle::LifecycleServer;
pub use metrics::Metrics;
pub use notify::Notifier;
pub use process::ProcessName;
pub use secret::Secret;
pub use status::StatusBoard;
pub use watchdog::Watchdog;
