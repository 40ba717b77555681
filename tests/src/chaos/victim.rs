//! Processes that can be killed, found by their program beneath the one that starts them.

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Mode;
use super::outcome::Victim;

/// The processes that a run kills.
pub(super) fn of(mode: Mode) -> &'static [Victim] {
    const ALL: [Victim; 5] = [
        Victim::Trigger,
        Victim::Engine,
        Victim::Aggregator,
        Victim::P2p,
        Victim::Supervisor,
    ];
    match mode {
        Mode::Run => &ALL[..4],
        Mode::Systemd => &ALL,
    }
}

impl Victim {
    /// Kills the process, which is a child of `parent`; false when there is none at the moment.
    pub(super) fn kill(self, parent: u32) -> Result<bool> {
        let Some(pid) = self.find(parent)? else {
            return Ok(false);
        };
        match kill(pid, Signal::SIGKILL) {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot kill {}", self.name())),
        }
    }

    fn find(self, parent: u32) -> Result<Option<Pid>> {
        let children = format!("/proc/{parent}/task/{parent}/children");
        let children = std::fs::read_to_string(&children).with_context(|| format!("cannot read {children}"))?;
        let is_it = |pid: &&str| {
            let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            // A dead one that was not waited for keeps its name; it has no memory, though.
            let memory = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            program.trim() == self.program() && !memory.starts_with("0 ")
        };
        let found = children.split_whitespace().find(is_it);
        found
            .map(|pid| Ok(Pid::from_raw(pid.parse().context("no process id")?)))
            .transpose()
    }
}
