//! Giving up rights, for good: from here on this process and its children can do what its profile says and no more.

use std::io;

use nix::sys::prctl;
use seccompiler::BackendError;
use serde::{Deserialize, Serialize};

use super::files::FilesError;
use super::kernel::{LEAST_LANDLOCK, landlock_abi};
use super::profile::Profile;
use super::{calls, files};

/// What happens where the kernel cannot do all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// The process does not start.
    #[default]
    Strict,
    /// It starts with what there is, and reports what is missing.
    Available,
}

/// What holds now, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protections {
    /// In force.
    pub held: Vec<String>,
    /// Asked for, but this kernel has them not.
    pub missing: Vec<String>,
}

/// Why a process could not be locked down.
#[derive(Debug, thiserror::Error)]
pub enum LockDownError {
    /// The kernel does not even refuse new rights at exec.
    #[error("cannot give up new privileges: {0}")]
    Privileges(#[source] io::Error),
    /// A rule for files cannot be made.
    #[error("cannot restrict files with Landlock: {0}; check that the state directory exists")]
    Files(#[from] FilesError),
    /// The filter for system calls cannot be made.
    #[error("cannot build the filter of system calls: {0}")]
    Filter(#[from] BackendError),
    /// A protection is missing and the process must not start without.
    #[error(
        "this kernel has no {missing}, and guests must not run without; use Linux 5.19 or newer with Landlock and seccomp (inside a container, let its profile allow them), or set process.{process}.sandbox = \"available\" to accept less"
    )]
    Missing {
        /// What is missing.
        missing: String,
        /// The short name of the process.
        process: &'static str,
    },
}

/// Locks this thread down, and with it all that it starts. Call it with a single thread.
///
/// # Errors
/// [`LockDownError`]; under [`Strictness::Strict`] also when a protection does not exist here.
pub fn lock_down(
    profile: &Profile,
    strictness: Strictness,
    process: &'static str,
) -> Result<Protections, LockDownError> {
    let mut protections = Protections::default();
    prctl::set_no_new_privs().map_err(|errno| LockDownError::Privileges(errno.into()))?;
    protections.held.push("no_new_privs".to_owned());
    let filters = calls::filters(profile)?;
    if cannot_work(profile, landlock_abi()) {
        protections
            .missing
            .push(format!("landlock of version {LEAST_LANDLOCK}"));
    } else {
        match files::restrict(profile)? {
            Some(held) => protections.held.push(held.to_owned()),
            None => protections.missing.push("landlock".to_owned()),
        }
    }
    match calls::apply(&filters) {
        Ok(()) => protections.held.push("seccomp".to_owned()),
        Err(_) => protections.missing.push("seccomp".to_owned()),
    }
    if strictness == Strictness::Strict && !protections.missing.is_empty() {
        return Err(LockDownError::Missing {
            missing: protections.missing.join(" and no "),
            process,
        });
    }
    Ok(protections)
}

/// Whether Landlock of this version would keep a process from moving files between its own directories, which the first one does
/// whatever its rules are. Less is better then than a process that fails later.
fn cannot_work(profile: &Profile, version: Option<u32>) -> bool {
    !profile.writes.is_empty() && version.is_some_and(|version| version < LEAST_LANDLOCK)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn who_moves_files_needs_the_version_that_lets_it() {
        let writes = Profile::nothing().writes(Path::new("/x"));
        for (version, works) in [(None, true), (Some(1), false), (Some(2), true), (Some(6), true)] {
            assert_eq!(!cannot_work(&writes, version), works, "{version:?}");
            assert!(!cannot_work(&Profile::internet(), version), "{version:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_kernel_and_the_key() {
        let error = LockDownError::Missing {
            missing: format!("landlock of version {LEAST_LANDLOCK}"),
            process: "engine",
        }
        .to_string();
        for part in [
            "no landlock of version 2",
            "Linux 5.19",
            "process.engine.sandbox = \"available\"",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
