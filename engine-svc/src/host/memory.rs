//! The memory of this process that guests may have in all.
//!
//! Each run keeps to its own bound, but all of them together could want more than the machine has, or than the kernel lets the
//! process have, which then ends it with every run. So they share what there is ([`Shares`]). A run that gets no more is no worse
//! than others: it is repeated.

use std::fs;
use std::path::Path;

use super::shares::Shares;

/// Bytes that no guest gets: the process itself, and what its slots keep for the next runs. Of a process that may have little it is a
/// quarter.
const RESERVED: u64 = 1 << 30;
const CGROUPS: &str = "/sys/fs/cgroup";

/// What there is of so many bytes for so many runs at a time.
pub(crate) fn shares(limit: u64, slots: usize) -> Shares {
    let guests = limit - RESERVED.min(limit / 4);
    Shares::new(usize::try_from(guests).unwrap_or(usize::MAX), slots)
}

/// Bytes that this process may have: what is configured, what the kernel gives its control group, and what the machine has.
pub(crate) fn of_process(configured: Option<u64>) -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = of_groups(&groups, |file| fs::read_to_string(Path::new(CGROUPS).join(file)).ok());
    let machine = of_machine(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
    [configured, groups, machine]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(u64::MAX)
}

/// The least `memory.max` of the group of the process and those above it (cgroups(7), version 2).
fn of_groups(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limits = Path::new(own).ancestors().filter_map(|group| {
        let text = read(&group.join("memory.max"))?;
        text.trim().parse().ok()
    });
    limits.min()
}

/// `MemTotal` of proc_meminfo(5).
fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1_024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_groups_counts_and_no_limit_is_none() {
        let read = |file: &Path| match file.to_str().unwrap() {
            "wavs.slice/wavs-engine.service/memory.max" => Some("max\n".to_owned()),
            "wavs.slice/memory.max" => Some("4096\n".to_owned()),
            "memory.max" => Some("8192\n".to_owned()),
            _ => None,
        };
        assert_eq!(
            of_groups("1:name=x:/y\n0::/wavs.slice/wavs-engine.service\n", read),
            Some(4_096)
        );
        assert_eq!(of_groups("0::/\n", |_| None), None);
        assert_eq!(of_groups("", read), None);
    }

    #[test]
    fn a_machine_says_what_it_has() {
        assert_eq!(
            of_machine("MemTotal:       16303428 kB\nMemFree: 1 kB\n"),
            Some(16_303_428 << 10)
        );
        assert_eq!(of_machine("MemFree: 1 kB\n"), None);
        assert!(of_process(None) < u64::MAX, "this machine says so too");
        assert_eq!(of_process(Some(7)), 7);
    }
}
