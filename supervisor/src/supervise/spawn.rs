//! Starting a process with its sockets, its configuration and its readiness socket.
//!
//! The process is started through the jail shim, which passes the descriptors by the protocol of systemd (`LISTEN_FDS`),
//! empties the environment and applies the limits.

use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child as Process, Command};
use wavs_service::handover;

use super::notify::NotifySocket;
use super::spec::ChildSpec;
use crate::command_line::JAIL;

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its readiness socket.
    #[error("cannot bind the readiness socket of {name} in {dir}; check that the directory is writable")]
    Notify {
        /// The process.
        name: &'static str,
        /// Where the socket should be.
        dir: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its descriptors.
    #[error("cannot prepare the descriptors of {name}; the limit of open files may be too low")]
    Descriptors {
        /// The process.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The program itself.
    #[error("cannot execute {program} for {name}; check that it exists and is executable")]
    Execute {
        /// The process.
        name: &'static str,
        /// What was executed.
        program: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A started process.
#[derive(Debug)]
pub struct Spawned {
    /// The process, with stderr piped.
    pub process: Process,
    /// Where it is heard.
    pub notify: NotifySocket,
    /// Its id, which is also the id of its group.
    pub pid: u32,
}

/// Starts a process as leader of its own group.
///
/// Must run on a thread that lives as long as the process should: the jail shim binds the process's life to it.
///
/// # Errors
/// See [`SpawnError`]; nothing is left running then.
pub fn spawn(spec: &ChildSpec) -> Result<Spawned, SpawnError> {
    let name = spec.name;
    let notify = NotifySocket::bind(&spec.run_dir.join("notify.sock")).map_err(|source| SpawnError::Notify {
        name,
        dir: spec.run_dir.clone(),
        source,
    })?;
    let descriptors = descriptors(spec).map_err(|source| SpawnError::Descriptors { name, source })?;

    let mut command = spec.jail.command(&spec.shim, JAIL, descriptors);
    command
        .env("NOTIFY_SOCKET", notify.path())
        .env("WATCHDOG_USEC", spec.policy.watchdog.as_micros().to_string())
        .env("WAVS_LOG_FORMAT", "json")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let failed = |source| SpawnError::Execute {
        name,
        program: spec.shim.clone(),
        source,
    };
    let process = Command::from(command).kill_on_drop(true).spawn().map_err(failed)?;
    let pid = process
        .id()
        .ok_or_else(|| failed(io::Error::other("it ended before it could be watched")))?;
    Ok(Spawned { process, notify, pid })
}

fn descriptors(spec: &ChildSpec) -> io::Result<Vec<(String, OwnedFd)>> {
    let mut descriptors = Vec::new();
    for (name, socket) in &spec.sockets {
        descriptors.push(((*name).to_owned(), socket.as_fd().try_clone_to_owned()?));
    }
    if let Some(config) = &spec.config {
        // The offset is shared with the incarnation that read it before.
        (&*config).seek(SeekFrom::Start(0))?;
        descriptors.push((handover::DESCRIPTOR.to_owned(), config.as_fd().try_clone_to_owned()?));
    }
    Ok(descriptors)
}

/// Sends a signal to every process of a group. A group that is gone already is fine.
pub fn signal_group(pid: u32, signal: Signal) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // Group 0 would be our own.
    if pid > 1 {
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}
