//! What the kernel enforces on this process, asked of the kernel itself: a list that is believed must not come from the code that
//! was to apply it. Landlock cannot be asked for; who applies it notes it on the board.

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};

use crate::status::StatusBoard;

/// What the initial user namespace says of itself: every id stands for itself (user_namespaces(7)).
const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];

/// Notes on `board` every protection that is in force now.
pub fn report(board: &StatusBoard) {
    for name in in_force() {
        board.sandboxed(name);
    }
}

/// The names of the protections in force, in a fixed order.
#[must_use]
pub fn in_force() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut names = of_status(&status);
    if !ids.is_empty() && !ids.split_ascii_whitespace().eq(ALL_IDS) {
        names.push("user-namespace");
    }
    if getrlimit(Resource::RLIMIT_CORE).is_ok_and(|(soft, _)| soft == 0) {
        names.push("no-core");
    }
    if prctl::get_dumpable().is_ok_and(|dumpable| !dumpable) {
        names.push("not-dumpable");
    }
    names
}

/// The protections that proc_pid_status(5) tells of.
fn of_status(status: &str) -> Vec<&'static str> {
    let field = |name: &str| {
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
            .unwrap_or_default()
    };
    let mut names = Vec::new();
    if field("NoNewPrivs") == "1" {
        names.push("no_new_privs");
    }
    // 1 is the strict mode that nobody uses, 2 a filter.
    if matches!(field("Seccomp"), "1" | "2") {
        names.push("seccomp");
    }
    if u64::from_str_radix(field("CapEff"), 16) == Ok(0) {
        names.push("no-capabilities");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_says_is_reported() {
        let open = "NoNewPrivs:\t0\nSeccomp:\t0\nCapEff:\t000001ffffffffff\n";
        assert_eq!(of_status(open), [""; 0]);
        let closed = "NoNewPrivs:\t1\nSeccomp:\t2\nCapEff:\t0000000000000000\n";
        assert_eq!(of_status(closed), ["no_new_privs", "seccomp", "no-capabilities"]);
        assert_eq!(of_status("nonsense"), [""; 0]);
    }
}
