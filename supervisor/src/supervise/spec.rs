//! What the supervisor knows about a process before it runs: data, without behaviour.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use wavs_service::sandbox::Jail;

use super::cgroup::Group;
use super::policy::Policy;

/// One process to supervise.
#[derive(Debug)]
pub struct ChildSpec {
    /// The name in the API, logs and metrics, such as `engine-svc`.
    pub name: &'static str,
    /// The program to execute and the limits under which it runs.
    pub jail: Jail,
    /// The program that applies the limits: `wavs` itself, with its subcommand `jail`.
    pub shim: PathBuf,
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
    /// Its control group, where there are any.
    pub cgroup: Option<Group>,
}

impl ChildSpec {
    /// Whether the kernel killed the process that just ended for want of memory.
    pub fn out_of_memory(&mut self) -> bool {
        self.cgroup.as_mut().is_some_and(Group::was_out_of_memory)
    }
}
