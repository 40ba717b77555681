//! Components: where they come from, where they are kept, and what may be wrong with them.
//!
//! A component is named by the SHA-256 of its bytes. Sources are tried only when the store has no file of that digest;
//! whatever arrives is hashed while it is written, and nothing unverified gets its final name.

mod error;
mod source;
mod store;
mod upload;

pub(crate) use error::ComponentError;
pub(crate) use source::{Sources, blocking, check_header};
pub(crate) use store::{ContentStore, Stored};
pub(crate) use upload::take_over;
