//! Control groups of the children (cgroups(7), version 2): memory, processor time and number of tasks.
//!
//! They are used where a subtree belongs to this supervisor alone, as systemd arranges with `Delegate=yes`. The supervisor moves
//! itself into a leaf of it, because only leaves may hold processes, and makes one group for each child; the jail shim joins it
//! before anything else. Elsewhere the reason is told once, and the children run under the remaining limits.

use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel shows the hierarchy.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// The controllers that bound a child.
pub const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Tasks of one child. One that reaches it cannot start threads, which costs the work that needed them.
const TASKS_MAX: u64 = 512;

/// Length of a scheduling period in microseconds; the kernel's default.
const PERIOD_US: f64 = 100_000.0;

/// The subtree of this supervisor.
#[derive(Debug)]
pub struct Subtree {
    directory: PathBuf,
}

/// Limits of one group.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GroupLimits {
    /// Most memory in bytes; beyond it the kernel kills the whole group.
    pub memory_max: Option<u64>,
    /// Most processor time per second of all cores together; 1.0 is one core.
    pub cpu_quota: Option<f64>,
}

/// The group of one child.
#[derive(Debug)]
pub struct Group {
    directory: PathBuf,
    /// Kills for want of memory that are known already.
    kills: u64,
}

/// Why there are no control groups for the children.
#[derive(Debug, thiserror::Error)]
pub enum NotDelegated {
    /// The process is in no group of version 2.
    #[error("this machine does not use control groups of version 2")]
    OtherVersion,
    /// The group may not bound its children.
    #[error("the control group {group} has no controller for {missing}")]
    Controllers {
        /// The group.
        group: PathBuf,
        /// What is missing.
        missing: String,
    },
    /// Others live in the group.
    #[error("the control group {group} holds other processes too; run the node in a unit with Delegate=yes")]
    Shared {
        /// The group.
        group: PathBuf,
    },
    /// A file of the group cannot be read or written.
    #[error("cannot use {path}: {source}; run the node in a unit with Delegate=yes")]
    Denied {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Subtree {
    /// Takes over the group that this process is in. `mount` is [`MOUNT`], `own` the text of `/proc/self/cgroup`.
    ///
    /// # Errors
    /// See [`NotDelegated`]; nothing has changed for the children then.
    pub fn take(mount: &Path, own: &str) -> Result<Self, NotDelegated> {
        // Other lines are hierarchies of version 1.
        let path = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .ok_or(NotDelegated::OtherVersion)?;
        let directory = mount.join(path);
        let controllers = read(&directory.join("cgroup.controllers"))?;
        let missing: Vec<_> = CONTROLLERS
            .into_iter()
            .filter(|wanted| !controllers.split_ascii_whitespace().any(|there| there == *wanted))
            .collect();
        if !missing.is_empty() {
            return Err(NotDelegated::Controllers {
                group: directory,
                missing: missing.join(", "),
            });
        }
        let members = read(&directory.join("cgroup.procs"))?;
        let me = std::process::id().to_string();
        if members.split_ascii_whitespace().any(|member| member != me) {
            return Err(NotDelegated::Shared { group: directory });
        }
        let leaf = directory.join("supervisor");
        make(&leaf)?;
        write(&leaf.join("cgroup.procs"), &me)?;
        let wanted = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
        write(&directory.join("cgroup.subtree_control"), &wanted)?;
        Ok(Self { directory })
    }

    /// The group of the child `name` with its limits.
    ///
    /// # Errors
    /// When the kernel does not take one of them.
    pub fn group(&self, name: &str, limits: GroupLimits) -> Result<Group, NotDelegated> {
        let directory = self.directory.join(name);
        make(&directory)?;
        let mut group = Group { directory, kills: 0 };
        group.set(limits)?;
        group.kills = group.kills_so_far();
        Ok(group)
    }
}

impl Group {
    /// Puts limits into force, also for a child that runs.
    ///
    /// # Errors
    /// When the kernel does not take one of them.
    pub fn set(&self, limits: GroupLimits) -> Result<(), NotDelegated> {
        let set = |file: &str, value: &str| write(&self.directory.join(file), value);
        let memory = limits
            .memory_max
            .map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
        let quota = limits.cpu_quota.map_or_else(
            || "max".to_owned(),
            |cores| format!("{:.0}", (cores * PERIOD_US).max(1_000.0)),
        );
        set("memory.max", &memory)?;
        set("memory.oom.group", "1")?;
        set("cpu.max", &format!("{quota} {PERIOD_US:.0}"))?;
        set("pids.max", &TASKS_MAX.to_string())
    }

    /// The file through which a process joins.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// Whether the kernel has killed for want of memory since the last time this was asked.
    pub fn was_out_of_memory(&mut self) -> bool {
        let now = self.kills_so_far();
        std::mem::replace(&mut self.kills, now) < now
    }

    fn kills_so_far(&self) -> u64 {
        let events = std::fs::read_to_string(self.directory.join("memory.events")).unwrap_or_default();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

fn make(directory: &Path) -> Result<(), NotDelegated> {
    std::fs::create_dir_all(directory).map_err(|source| denied(directory, source))
}

fn read(path: &Path) -> Result<String, NotDelegated> {
    std::fs::read_to_string(path).map_err(|source| denied(path, source))
}

fn write(path: &Path, text: &str) -> Result<(), NotDelegated> {
    std::fs::write(path, text).map_err(|source| denied(path, source))
}

fn denied(path: &Path, source: io::Error) -> NotDelegated {
    NotDelegated::Denied {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain files in place of the kernel's.
    fn tree(controllers: &str, members: &str) -> tempfile::TempDir {
        let mount = tempfile::tempdir().unwrap();
        let own = mount.path().join("wavs.service");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("cgroup.controllers"), controllers).unwrap();
        std::fs::write(own.join("cgroup.procs"), members).unwrap();
        mount
    }

    const OWN: &str = "12:pids:/elsewhere\n0::/wavs.service\n";

    #[test]
    fn children_get_groups_with_their_limits() {
        let mount = tree("cpuset cpu io memory pids", &format!("{}\n", std::process::id()));
        let subtree = Subtree::take(mount.path(), OWN).unwrap();
        let own = mount.path().join("wavs.service");
        let text = |path: &str| std::fs::read_to_string(own.join(path)).unwrap();
        assert_eq!(text("supervisor/cgroup.procs"), std::process::id().to_string());
        assert_eq!(text("cgroup.subtree_control"), "+cpu +memory +pids");
        let limits = GroupLimits {
            memory_max: Some(1 << 30),
            cpu_quota: Some(1.5),
        };
        let mut group = subtree.group("engine-svc", limits).unwrap();
        let files = || ["memory.max", "cpu.max", "pids.max"].map(|file| text(&format!("engine-svc/{file}")));
        assert_eq!(files(), ["1073741824", "150000 100000", "512"]);
        group.set(GroupLimits::default()).unwrap();
        assert_eq!(files(), ["max", "max 100000", "512"]);

        assert!(!group.was_out_of_memory());
        std::fs::write(own.join("engine-svc/memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
        assert!(group.was_out_of_memory() && !group.was_out_of_memory());
    }

    #[test]
    fn a_subtree_that_is_not_ours_alone_is_left_as_it_is() {
        let me = std::process::id();
        for (controllers, members, own, reason) in [
            ("cpu memory pids", format!("{me}"), "3:cpu:/\n", "version 2"),
            ("hugetlb cpu", format!("{me}"), OWN, "memory, pids"),
            ("cpu memory pids", format!("{me}\n1\n"), OWN, "Delegate=yes"),
            ("cpu memory pids", format!("{me}"), "0::/other\n", "cannot use"),
        ] {
            let mount = tree(controllers, &members);
            let error = Subtree::take(mount.path(), own).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(!mount.path().join("wavs.service/supervisor").exists());
        }
    }
}
