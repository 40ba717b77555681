//! Supervision of the four processes: one for one, with backoff.
//!
//! The decisions are pure: [`child`] is the state machine of one process and [`group`] orders the stop of all of them; both
//! turn an event at a time into actions. The rim does what they say: [`spawn`] starts a process with its sockets,
//! [`cgroup`] bounds it, [`notify`] hears READY and WATCHDOG, [`logs`] forwards what it writes and [`tail`] keeps the end of it, and [`runner`] owns the timers and the
//! children. Everyone else sees the processes only as the [`snapshot`]s that the runner publishes.

pub mod cgroup;
pub mod child;
pub mod exit;
pub mod group;
pub mod logs;
pub mod notify;
pub mod policy;
pub mod runner;
pub mod snapshot;
pub mod spawn;
pub mod spec;
pub mod tail;
