//! What a process may not do, and the descriptors that it was given.
//!
//! [`Jail`] starts a child with tight limits: the parent spawns itself as a shim with [`Jail::command`], the shim applies the limits
//! while it has a single thread and replaces itself by the program ([`Jail::enter`]). [`Inherited`] is the other side: it takes over
//! the descriptors that a parent passed. These two need system calls that the compiler cannot check, so this module is the one
//! place of the workspace with unsafe code.

#![allow(unsafe_code)]

mod inherited;
mod jail;
mod kernel;

pub use inherited::Inherited;
pub use jail::{Jail, JailError, Limits};
pub use kernel::landlock_abi;
