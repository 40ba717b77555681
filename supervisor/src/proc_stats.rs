//! What the kernel knows about a process, read from `/proc`.

use std::sync::OnceLock;
use std::time::SystemTime;

/// Clock ticks per second in `/proc/<pid>/stat`; Linux fixes it for user space (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Resources of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcStats {
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Processor time in seconds, user and system.
    pub cpu_seconds: f64,
    /// Open descriptors; `None` when another user's process hides them.
    pub open_fds: Option<usize>,
}

impl ProcStats {
    /// The resources of a process that exists.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let dir = std::path::PathBuf::from(format!("/proc/{pid}"));
        let stat = std::fs::read_to_string(dir.join("stat")).ok()?;
        // The name is in parentheses and may hold anything; the fields follow the last one (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
        let status = std::fs::read_to_string(dir.join("status")).ok()?;
        let rss_kb = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        });
        Some(Self {
            rss_bytes: rss_kb.unwrap_or(0) * 1024,
            cpu_seconds: f64::from(ticks(11)?.saturating_add(ticks(12)?)) / TICKS_PER_SECOND,
            open_fds: std::fs::read_dir(dir.join("fd")).ok().map(Iterator::count),
        })
    }
}

/// When this process first asked, which `run` does at once.
pub fn started_at() -> SystemTime {
    static STARTED: OnceLock<SystemTime> = OnceLock::new();
    *STARTED.get_or_init(SystemTime::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let stats = ProcStats::of(std::process::id()).unwrap();
        assert!(stats.rss_bytes > 100_000);
        assert!(stats.open_fds.unwrap() >= 3);
    }

    #[test]
    fn a_process_that_does_not_exist_has_nothing() {
        assert_eq!(ProcStats::of(u32::MAX), None);
    }
}
