//! How long a thread computes before the kernel looks whether another one should.

use std::io;
use std::time::Duration;

use nix::libc;

/// Asks the kernel for turns of `slice` for the calling thread, which it limits to between a tenth of a millisecond and a tenth
/// of a second (sched_setattr(2), Linux 6.12). The share of the processor stays the same. A thread that wakes up and has asked
/// for less goes first, in the midst of such a turn. Kernels before that ignore the wish.
///
/// # Errors
/// When the kernel refuses.
pub fn ask_for_slices(slice: Duration) -> io::Result<()> {
    let mut attributes = current()?;
    attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the pointer is to a structure of the size that it names, and lives as long as the call.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Policy and priority of the calling thread.
fn current() -> io::Result<libc::sched_attr> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default();
    // SAFETY: all of its members are integers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, which is what there is.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if done == 0 {
        Ok(attributes)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_is_kept_with_the_priority() {
        let nice = current().unwrap().sched_nice;
        ask_for_slices(Duration::from_millis(20)).unwrap();
        let attributes = current().unwrap();
        assert_eq!(attributes.sched_nice, nice);
        // Before Linux 6.12 there is no wish to keep.
        assert!(
            [0, 20_000_000].contains(&attributes.sched_runtime),
            "{}",
            attributes.sched_runtime
        );
    }
}
