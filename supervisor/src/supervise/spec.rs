//! What the supervisor knows about a process before it runs: data, without behaviour.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::policy::Policy;

/// One process to supervise.
#[derive(Debug)]
pub struct ChildSpec {
    /// The name in the API, logs and metrics, such as `engine-svc`.
    pub name: &'static str,
    /// The program to execute.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment beside the variables of the readiness and socket protocols; nothing else is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Listening sockets with their names, passed in this order from descriptor 3 on. They stay open here while the
    /// process is down, so that connects queue during a restart.
    pub sockets: Vec<(&'static str, OwnedFd)>,
    /// The configuration document, passed last under the name `config` and rewound before each start. Kernel memory is its
    /// only place: no copy stays in this address space.
    pub config: Option<File>,
    /// Directory for the readiness socket.
    pub run_dir: PathBuf,
    /// Timing.
    pub policy: Policy,
}
