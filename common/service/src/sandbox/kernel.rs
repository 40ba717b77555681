//! What the kernel can enforce, asked without changing anything.

use nix::libc;

/// The oldest version of the Landlock interface under which a process can move files between its own directories: Linux 5.19.
pub const LEAST_LANDLOCK: u32 = 2;

/// Asks for the version instead of a rule set (landlock_create_ruleset(2)).
const VERSION: libc::c_ulong = 1;

/// The version of the Landlock interface; `None` when the kernel has none or it is switched off.
#[must_use]
pub fn landlock_abi() -> Option<u32> {
    // SAFETY: with this flag the attribute must be null and its size 0; the call only returns a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0,
            VERSION,
        )
    };
    u32::try_from(version).ok().filter(|version| *version > 0)
}
