//! Giving up rights, for good: from here on this process and its children can do what its profile says and no more.

use std::io;

use nix::sys::prctl;
use seccompiler::BackendError;
use serde::{Deserialize, Serialize};

use super::files::FilesError;
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
        "this kernel has no {missing}, and guests must not run without; use Linux 5.13 or newer with Landlock and seccomp (inside a container, let its profile allow them), or set process.{process}.sandbox = \"available\" to accept less"
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
    match files::restrict(profile)? {
        Some(held) => protections.held.push(held.to_owned()),
        None => protections.missing.push("landlock".to_owned()),
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
