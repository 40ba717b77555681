//! Starting a child with tight limits.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getppid};

/// First descriptor of the LISTEN_FDS protocol.
const FIRST: RawFd = 3;

/// Descriptors are parked above this number while they are put in order.
const PARKED: RawFd = 200;

/// Tells the shim who its parent is. The program does not see it.
const PARENT: &str = "WAVS_JAIL_PARENT";

/// Environment variables that a child keeps. Everything else is taken away, above all secrets.
const KEPT: [&str; 12] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "PATH",
    "LANG",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUST_BACKTRACE",
    "WAVS_LOG_FORMAT",
];

/// Resource limits of a child. `None` leaves what the parent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Most open descriptors.
    pub open_files: Option<u64>,
    /// Most private writable memory in bytes (`RLIMIT_DATA`), where no control group bounds it. Address space that is only
    /// reserved does not count.
    pub data: Option<u64>,
}

/// A program and the limits under which it is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jail {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its resource limits. Core files are always off.
    pub limits: Limits,
    /// The file `cgroup.procs` of the control group that it joins first.
    pub cgroup: Option<PathBuf>,
}

/// Why the program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The shim was not called by [`Jail::command`].
    #[error("wrong arguments for the jail shim ({0}); it is internal and started by the supervisor only")]
    Arguments(String),
    /// A protection cannot be applied.
    #[error("cannot apply {protection} before starting {program}: {source}", program = program.display())]
    Apply {
        /// The protection.
        protection: &'static str,
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The program is not there or not executable.
    #[error("cannot execute {program}: {source}; install all programs of the node side by side", program = program.display())]
    Execute {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Jail {
    /// The command that runs `shim` with `subcommand`, which is to call [`Jail::from_arguments`] and [`Jail::enter`].
    ///
    /// The child gets `descriptors` from number 3 on, in this order, with LISTEN_FDS and LISTEN_FDNAMES set, and runs in a process group of its own.
    /// It is killed when the *thread* that spawned it ends, so spawn from one that lives as long as the child: the main thread or a worker of
    /// the runtime, never the pool for blocking calls.
    ///
    /// The caller adds NOTIFY_SOCKET, WATCHDOG_USEC and the standard streams. The descriptors stay open in the parent as long as the command lives.
    #[must_use]
    pub fn command(&self, shim: &Path, subcommand: &str, descriptors: Vec<(String, OwnedFd)>) -> Command {
        let (names, descriptors): (Vec<_>, Vec<_>) = descriptors.into_iter().unzip();
        let mut command = Command::new(shim);
        command.arg(subcommand).args(self.to_arguments()).process_group(0);
        command
            .env(PARENT, std::process::id().to_string())
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        let numbers = descriptors.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>();
        let mut parked = numbers.clone();
        let arrange = move || {
            // Moved in, so that the descriptors stay open until the child has them.
            let _open = &descriptors;
            arrange(&numbers, &mut parked)
        };
        // SAFETY: the closure runs between fork and exec and only makes `fcntl` and `dup2` system calls on numbers that it owns; it does not allocate.
        unsafe { command.pre_exec(arrange) };
        command
    }

    /// Reads what [`Jail::command`] wrote after the subcommand.
    ///
    /// # Errors
    /// [`JailError::Arguments`] when it is something else.
    pub fn from_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, JailError> {
        let mut arguments = arguments.into_iter();
        let mut limits = Limits::default();
        let mut cgroup = None;
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy().into_owned();
            let wrong = || JailError::Arguments(format!("unexpected {text:?}"));
            match text.split_once('=') {
                None if text == "--" => {
                    let program = arguments
                        .next()
                        .ok_or_else(|| JailError::Arguments("no program".to_owned()))?;
                    return Ok(Self {
                        program: program.into(),
                        arguments: arguments.collect(),
                        limits,
                        cgroup,
                    });
                }
                Some(("--open-files", value)) => limits.open_files = Some(value.parse().map_err(|_| wrong())?),
                Some(("--data", value)) => limits.data = Some(value.parse().map_err(|_| wrong())?),
                Some(("--cgroup", value)) => cgroup = Some(value.into()),
                _ => return Err(wrong()),
            }
        }
        Err(JailError::Arguments("no program".to_owned()))
    }

    /// Applies everything to this process and replaces it by the program. Call it with a single thread.
    ///
    /// # Errors
    /// Returns only if something failed.
    pub fn enter(&self) -> Result<Infallible, JailError> {
        let apply = |protection, result: io::Result<()>| {
            result.map_err(|source| JailError::Apply {
                protection,
                program: self.program.clone(),
                source,
            })
        };
        apply(
            "the signal at the death of the parent",
            prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from),
        )?;
        // If the parent died before the line above, the signal never comes.
        apply("the signal at the death of the parent", check_parent())?;
        if let Some(file) = &self.cgroup {
            // First of the limits, so that the others and the program itself are accounted for. 0 is the writer (cgroups(7)).
            apply("the control group", std::fs::write(file, "0"))?;
        }
        umask(Mode::from_bits_truncate(0o077));
        apply("no core files", limit(Resource::RLIMIT_CORE, Some(0)))?;
        apply(
            "the limit of open files",
            limit(Resource::RLIMIT_NOFILE, self.limits.open_files),
        )?;
        apply("the limit of memory", limit(Resource::RLIMIT_DATA, self.limits.data))?;
        apply("no_new_privs", prctl::set_no_new_privs().map_err(io::Error::from))?;
        let passed = std::env::var("LISTEN_FDS")
            .ok()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0);
        apply("closing of other descriptors", close_from(FIRST.saturating_add(passed)))?;
        let environment = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let source = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(environment)
            .env("LISTEN_PID", std::process::id().to_string())
            .exec();
        Err(JailError::Execute {
            program: self.program.clone(),
            source,
        })
    }

    fn to_arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        if let Some(value) = self.limits.open_files {
            arguments.push(format!("--open-files={value}").into());
        }
        if let Some(value) = self.limits.data {
            arguments.push(format!("--data={value}").into());
        }
        if let Some(file) = &self.cgroup {
            let mut argument = OsString::from("--cgroup=");
            argument.push(file);
            arguments.push(argument);
        }
        arguments.push("--".into());
        arguments.push(self.program.clone().into_os_string());
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }
}

/// Puts the descriptors `numbers` to 3, 4, … without the close-on-exec flag. `parked` is room for as many.
fn arrange(numbers: &[RawFd], parked: &mut [RawFd]) -> io::Result<()> {
    // First out of the way: a target number may be the source of another.
    for (number, parked) in numbers.iter().zip(parked.iter_mut()) {
        // SAFETY: plain system call on a number; no memory is passed.
        *parked = check(unsafe { libc::fcntl(*number, libc::F_DUPFD_CLOEXEC, PARKED) })?;
    }
    for (parked, target) in parked.iter().zip(FIRST..) {
        // SAFETY: as above. After fork nobody else uses the descriptors of this process.
        check(unsafe { libc::dup2(*parked, target) })?;
    }
    Ok(())
}

/// Marks all descriptors from `first` on to be closed at exec.
fn close_from(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).unwrap_or(libc::c_uint::MAX);
    let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or(0);
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now, only a flag is set, so no owner loses its descriptor.
    check(unsafe { libc::close_range(first, libc::c_uint::MAX, flags) }).map(drop)
}

/// Whether the parent is the one that built the command. A shim that somebody else started has no such parent.
fn check_parent() -> io::Result<()> {
    let expected = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok());
    match expected.map(Pid::from_raw) {
        Some(parent) if parent != getppid() => Err(io::Error::other("the parent is gone")),
        _ => Ok(()),
    }
}

fn limit(resource: Resource, value: Option<u64>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    setrlimit(resource, value, value).map_err(io::Error::from)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
