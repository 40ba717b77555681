//! How a process ended, and what its exit code asks of the supervisor.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Exit code of a wrong command line (sysexits.h, EX_USAGE).
pub const EXIT_USAGE: i32 = 64;
/// Exit code of a wrong configuration or of a refused protocol version (sysexits.h, EX_CONFIG).
pub const EXIT_CONFIG: i32 = 78;

/// The end of one incarnation of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned a code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It could not be started.
    NotStarted,
}

impl Exit {
    /// True when a restart cannot help: a person has to change something first.
    #[must_use]
    pub fn blocks(self) -> bool {
        matches!(self, Self::Code(EXIT_USAGE | EXIT_CONFIG))
    }

    /// The exit code, where there is one.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(_) | Self::NotStarted => None,
        }
    }

    /// The name of the signal, where there is one.
    #[must_use]
    pub fn signal(self) -> Option<&'static str> {
        match self {
            Self::Signal(number) => {
                Some(nix::sys::signal::Signal::try_from(number).map_or("unknown", nix::sys::signal::Signal::as_str))
            }
            Self::Code(_) | Self::NotStarted => None,
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::NotStarted,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(_) => write!(f, "{}", self.signal().unwrap_or("unknown signal")),
            Self::NotStarted => write!(f, "not started"),
        }
    }
}

/// Why an incarnation ended, as the supervisor understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It ended by itself.
    Crash,
    /// It could not be started.
    Spawn,
    /// It did not become ready in time and was killed.
    StartTimeout,
    /// It stopped pinging and was killed.
    Watchdog,
    /// Its exit code says that a restart cannot help.
    Blocked,
    /// It was asked to stop.
    Stop,
    /// It was asked to stop in order to be started again.
    Restart,
    /// The kernel killed it because its control group reached its limit of memory.
    MemoryLimit,
}

impl Cause {
    /// The name as used in the API, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Spawn => "spawn",
            Self::StartTimeout => "start-timeout",
            Self::Watchdog => "watchdog",
            Self::Blocked => "blocked",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::MemoryLimit => "memory-limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_usage_and_configuration_errors_block() {
        for (exit, blocks) in [
            (Exit::Code(0), false),
            (Exit::Code(1), false),
            (Exit::Code(64), true),
            (Exit::Code(78), true),
            (Exit::Signal(9), false),
            (Exit::NotStarted, false),
        ] {
            assert_eq!(exit.blocks(), blocks, "{exit}");
        }
    }

    #[test]
    fn a_signal_is_named() {
        assert_eq!(Exit::Signal(9).signal(), Some("SIGKILL"));
        assert_eq!(Exit::Signal(9).to_string(), "SIGKILL");
    }
}
