//! What a process gives up before it meets bytes from strangers.

use std::io;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::alarm;
use wavs_service::sandbox::{Profile, Strictness, lock_down};

/// Processor seconds between the signal that tells that they are used up and the one that tells nothing.
const CPU_GRACE: u64 = 5;

/// The bounds of a worker: a process that does one thing and ends.
pub(crate) struct Confinement<'a> {
    /// By the clock; then the kernel ends it.
    pub(crate) time: Duration,
    /// Beyond these it writes no files and leaves no core.
    pub(crate) limits: &'a [(Resource, u64)],
    /// Its rights.
    pub(crate) profile: Profile,
}

impl Confinement<'_> {
    /// Applies all of it to this process, which dies with its parent from here on. Call it with a single thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn enter(&self) -> io::Result<()> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let nothing = [(Resource::RLIMIT_FSIZE, 0), (Resource::RLIMIT_CORE, 0)];
        for (resource, limit) in self.limits.iter().chain(&nothing) {
            let (soft, hard) = bounds(*resource, *limit, getrlimit(*resource)?.1);
            setrlimit(*resource, soft, hard)?;
        }
        alarm::set(u32::try_from(self.time.as_secs()).unwrap_or(u32::MAX));
        // The kernel was found to be good enough, or accepted as it is, by engine-svc.
        lock_down(&self.profile, Strictness::Available, "engine").map_err(io::Error::other)?;
        Ok(())
    }
}

/// The soft and the hard limit. What the process inherited may be tighter, and cannot be raised. At the hard limit of the processor
/// time the kernel sends SIGKILL, which could mean anything; below it, SIGXCPU.
fn bounds(resource: Resource, limit: u64, inherited: u64) -> (u64, u64) {
    let hard = match resource {
        Resource::RLIMIT_CPU => limit.saturating_add(CPU_GRACE),
        _ => limit,
    };
    (limit.min(inherited), hard.min(inherited))
}

/// Lets this process live on when the node is told to stop. Such a signal goes to all processes of the group or unit at
/// once; a helper ends when engine-svc, which may still need it, is done.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn outlive_stops() -> io::Result<()> {
    let stops = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    Ok(stops.into_iter().collect::<SigSet>().thread_block()?)
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::RLIM_INFINITY;

    use super::*;

    #[test]
    fn processor_time_ends_with_a_signal_of_its_own_and_nothing_is_raised() {
        for (resource, inherited, expected) in [
            (Resource::RLIMIT_CPU, RLIM_INFINITY, (100, 100 + CPU_GRACE)),
            (Resource::RLIMIT_CPU, 102, (100, 102)),
            (Resource::RLIMIT_CPU, 10, (10, 10)),
            (Resource::RLIMIT_AS, RLIM_INFINITY, (100, 100)),
            (Resource::RLIMIT_AS, 10, (10, 10)),
        ] {
            assert_eq!(bounds(resource, 100, inherited), expected, "{resource:?} {inherited}");
        }
    }
}
