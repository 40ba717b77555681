//! What a process may not do, and the descriptors that it was given.
//!
//! [`Jail`] starts a child with tight limits: the parent spawns itself as a shim with [`Jail::command`], the shim applies the limits
//! while it has a single thread and replaces itself by the program ([`Jail::enter`]). [`Inherited`] is the other side: it takes over
//! the descriptors that a parent passed. These two need system calls that the compiler cannot check, which is why this module may
//! use unsafe code. Once its configuration is read and its sockets are open, a process gives up what its [`Profile`] does not
//! name ([`lock_down`]), before it has threads.

#![allow(unsafe_code)]

mod calls;
mod files;
mod inherited;
mod jail;
mod kernel;
mod lockdown;
mod probe;
mod profile;
mod slice;

pub use files::FilesError;
pub use inherited::Inherited;
pub use jail::{Jail, JailError, Limits};
pub use kernel::{LEAST_LANDLOCK, landlock_abi};
pub use lockdown::{LockDownError, Protections, Strictness, lock_down};
pub use probe::forbidden_calls;
pub use profile::Profile;
pub use slice::ask_for_slices;
