//! What a process may still do once it is locked down.

use std::path::{Path, PathBuf};

/// Files of the system that any program reads: names of hosts, certificates, time zones, libraries that are loaded late,
/// and the limits that the kernel reports. Missing ones are passed over. A file that is replaced later (not written to) is
/// out of reach until the process restarts.
const SYSTEM: [&str; 29] = [
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
    "/dev/urandom",
    "/proc/self",
    "/proc/sys",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
];

/// Variables that name certificates elsewhere.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Where a process may go from its own sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// It makes none.
    Nothing,
    /// Wherever the machine may.
    Internet,
    /// Over TCP to one port of any host, and since nobody resolves names for it, hardly further than this machine.
    Port(u16),
}

/// The rights of one process. What is not named is refused: files by Landlock, system calls by seccomp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Read, with everything beneath. May be missing.
    pub(super) reads: Vec<PathBuf>,
    /// Everything but executing, with everything beneath.
    pub(super) writes: Vec<PathBuf>,
    /// Read and removed, for directories in which others leave files. May be missing.
    pub(super) takes: Vec<PathBuf>,
    /// Programs that may be executed; with one, child processes are allowed.
    pub(super) runs: Vec<PathBuf>,
    /// Which Internet sockets may be made.
    pub(super) network: Network,
    /// Whether Unix sockets may be made.
    pub(super) unix: bool,
}

impl Profile {
    /// Nothing but what is open already.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            reads: Vec::new(),
            writes: Vec::new(),
            takes: Vec::new(),
            runs: Vec::new(),
            network: Network::Nothing,
            unix: false,
        }
    }

    /// A program that talks to the Internet, with the files of the system that this takes.
    #[must_use]
    pub fn internet() -> Self {
        let certificates = CERTIFICATES.iter().filter_map(std::env::var_os).map(PathBuf::from);
        Self {
            reads: SYSTEM.iter().map(PathBuf::from).chain(certificates).collect(),
            network: Network::Internet,
            ..Self::nothing()
        }
    }

    /// A program whose every connection goes through a proxy on this machine. It has the files of the system that checking
    /// certificates takes.
    #[must_use]
    pub fn proxy(port: u16) -> Self {
        Self {
            network: Network::Port(port),
            ..Self::internet()
        }
    }

    /// May read `path` and what is beneath it.
    #[must_use]
    pub fn reads(mut self, path: &Path) -> Self {
        self.reads.push(path.to_owned());
        self
    }

    /// May do everything with `path` and what is beneath it, but execute it.
    #[must_use]
    pub fn writes(mut self, path: &Path) -> Self {
        self.writes.push(path.to_owned());
        self
    }

    /// May read and remove what others put into `path`.
    #[must_use]
    pub fn takes(mut self, path: &Path) -> Self {
        self.takes.push(path.to_owned());
        self
    }

    /// May start children that run `program`, which needs the libraries of the system.
    #[must_use]
    pub fn runs(mut self, program: &Path) -> Self {
        self.runs.push(program.to_owned());
        self
    }

    /// May connect to other processes of this machine.
    #[must_use]
    pub fn unix_sockets(mut self) -> Self {
        self.unix = true;
        self
    }
}
