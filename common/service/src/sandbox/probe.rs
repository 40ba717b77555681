//! System calls that no process of the node may make, tried from inside: what the tests of a profile cannot call without
//! unsafe code of their own. None does harm where it is let through.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Bytes of the probed mappings: one page of most machines.
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Makes each call once, and tells what the kernel said to it.
pub fn forbidden_calls() -> Vec<(&'static str, io::Result<()>)> {
    vec![
        ("use a key of the kernel", call(libc::SYS_keyctl, [0; 3])),
        ("add a key to the kernel", call(libc::SYS_add_key, [0; 3])),
        ("make an io_uring", call(libc::SYS_io_uring_setup, [1, 0, 0])),
        ("load a program into the kernel", call(libc::SYS_bpf, [0; 3])),
        ("handle page faults", open(libc::SYS_userfaultfd)),
        ("shorten a file by its path", call(libc::SYS_truncate, [0; 3])),
        ("watch performance counters", call(libc::SYS_perf_event_open, [0; 3])),
        (
            "map memory to write and execute",
            map(ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC),
        ),
        ("turn memory executable that can be written", turn_executable()),
    ]
}

fn call(number: libc::c_long, [a, b, c]: [usize; 3]) -> io::Result<()> {
    // SAFETY: none of the calls above writes to memory of this process with these arguments: addresses are null, sizes zero.
    Errno::result(unsafe { libc::syscall(number, a, b, c, 0, 0) })?;
    Ok(())
}

/// A call that answers with a descriptor, which is closed again.
fn open(number: libc::c_long) -> io::Result<()> {
    // SAFETY: the call takes flags alone.
    let descriptor = Errno::result(unsafe { libc::syscall(number, 0) })?;
    let descriptor = RawFd::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, so nobody else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

fn map(protection: ProtFlags) -> io::Result<()> {
    // SAFETY: a fresh private mapping at an address of the kernel's choice, which is never read and unmapped at once.
    unsafe {
        let at = mmap_anonymous(None, PAGE, protection, MapFlags::MAP_PRIVATE)?;
        munmap(at, PAGE.get())?;
    }
    Ok(())
}

fn turn_executable() -> io::Result<()> {
    // SAFETY: a fresh private mapping at an address of the kernel's choice, which is never read and unmapped at once.
    unsafe {
        let at = mmap_anonymous(None, PAGE, ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)?;
        let turned = mprotect(at, PAGE.get(), ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC);
        munmap(at, PAGE.get())?;
        turned?;
    }
    Ok(())
}
