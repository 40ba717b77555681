//! Starting a process with its sockets, its configuration and its readiness socket.
//!
//! Descriptors follow the protocol of systemd: from 3 on, described by `LISTEN_FDS` and `LISTEN_FDNAMES`; `LISTEN_PID` is
//! set by the jail shim, which alone knows the final process id. The environment is empty but for what the spec names.

use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use command_fds::{CommandFdExt, FdMapping, FdMappingCollision};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child as Process, Command};

use super::notify::NotifySocket;
use super::spec::ChildSpec;

/// First inherited descriptor (`SD_LISTEN_FDS_START`).
const FIRST_FD: i32 = 3;

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its readiness socket.
    #[error(
        "cannot bind the readiness socket of {name} in {dir}; check that the directory is writable"
    )]
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
    /// Two descriptors with the same number.
    #[error("cannot map the descriptors of {name}")]
    Mapping {
        /// The process.
        name: &'static str,
        /// Which ones collide.
        source: FdMappingCollision,
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
    let notify = NotifySocket::bind(&spec.run_dir.join("notify.sock")).map_err(|source| {
        SpawnError::Notify {
            name,
            dir: spec.run_dir.clone(),
            source,
        }
    })?;
    let (fds, names) =
        descriptors(spec).map_err(|source| SpawnError::Descriptors { name, source })?;

    let mut command = std::process::Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(key, value)| (key, value)))
        .env("NOTIFY_SOCKET", notify.path())
        .env(
            "WATCHDOG_USEC",
            spec.policy.watchdog.as_micros().to_string(),
        )
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mappings = fds
        .into_iter()
        .zip(FIRST_FD..)
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        })
        .collect();
    command
        .fd_mappings(mappings)
        .map_err(|source| SpawnError::Mapping { name, source })?;

    let mut command = Command::from(command);
    command.process_group(0).kill_on_drop(true);
    let process = command.spawn().map_err(|source| SpawnError::Execute {
        name,
        program: spec.program.clone(),
        source,
    })?;
    let pid = process.id().ok_or_else(|| SpawnError::Execute {
        name,
        program: spec.program.clone(),
        source: io::Error::other("it ended before it could be watched"),
    })?;
    Ok(Spawned {
        process,
        notify,
        pid,
    })
}

fn descriptors(spec: &ChildSpec) -> io::Result<(Vec<OwnedFd>, Vec<&'static str>)> {
    let mut fds = Vec::new();
    let mut names = Vec::new();
    for (name, socket) in &spec.sockets {
        fds.push(socket.as_fd().try_clone_to_owned()?);
        names.push(*name);
    }
    if let Some(config) = &spec.config {
        // The offset is shared with the incarnation that read it before.
        (&*config).seek(SeekFrom::Start(0))?;
        fds.push(config.as_fd().try_clone_to_owned()?);
        names.push("config");
    }
    Ok((fds, names))
}

/// Sends a signal to every process of a group. A group that is gone already is fine.
pub fn signal_group(pid: u32, signal: Signal) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // Group 0 would be our own.
    if pid > 1 {
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}
