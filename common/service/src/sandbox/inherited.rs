//! Descriptors passed by the LISTEN_FDS protocol of systemd.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The inherited descriptors by name. What is not asked for is closed when this is dropped.
#[derive(Debug, Default)]
pub struct Inherited {
    descriptors: Vec<(String, OwnedFd)>,
}

impl Inherited {
    /// Takes all descriptors that the parent passed to this process; none if it was started by hand. Works once per process: a second
    /// call finds nothing, since the descriptors have an owner then.
    ///
    /// # Errors
    /// When the environment says that there are descriptors but they are not there or not named.
    pub fn take() -> io::Result<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(Self::default());
        }
        let descriptors = sd_notify::listen_fds_with_names()?
            .map(|(number, name)| (name, own(number)))
            .collect();
        Ok(Self { descriptors })
    }

    /// Takes out the descriptor with this name.
    pub fn remove(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.descriptors.iter().position(|(candidate, _)| candidate == name)?;
        Some(self.descriptors.swap_remove(at).1)
    }
}

fn own(number: RawFd) -> OwnedFd {
    // SAFETY: LISTEN_PID names this process, so the parent put the descriptor there for us and `listen_fds_with_names` has just set a flag
    // on it, which proves that it is open. `take` runs once, so nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}
