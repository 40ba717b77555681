//! Which users may call: our own and root, and under systemd whoever can open the socket.
//!
//! A unit with a user namespace of its own knows two users, its own and root; every other one looks like nobody, so callers
//! that run as other users cannot be told apart by their numbers. There the file of the socket decides: it belongs to its one
//! caller, and the kernel lets nobody else connect. The units say so with `WAVS_CALLERS=unmapped`.

/// What says that sockets are guarded by their files.
const VARIABLE: &str = "WAVS_CALLERS";
/// Its value.
const UNMAPPED: &str = "unmapped";
/// The number of a user without a number here; `kernel.overflowuid` has this value on every distribution.
const NOBODY: u32 = 65_534;

/// The users whose connections are taken, beside those that a server names itself.
pub(crate) fn allowed() -> Vec<u32> {
    of(nix::unistd::geteuid().as_raw(), std::env::var(VARIABLE).ok().as_deref())
}

fn of(own: u32, said: Option<&str>) -> Vec<u32> {
    let mut users = vec![0, own];
    if said == Some(UNMAPPED) {
        users.push(NOBODY);
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_calls_unless_the_socket_guards_itself() {
        assert_eq!(of(1000, None), [0, 1000]);
        assert_eq!(of(1000, Some("all")), [0, 1000]);
        assert_eq!(of(1000, Some("unmapped")), [0, 1000, NOBODY]);
    }
}
