//! What the tests of several packages need and no process may be built from: a real chain with knobs ([`anvil`]), a proxy
//! that breaks its connections in known ways ([`proxy`]), and the programs that tests start ([`tools`]).
//!
//! It knows nothing of the node, so every process can test itself with it.

pub mod anvil;
pub mod proxy;
pub mod tools;

pub use anvil::{Anvil, Mining};
pub use proxy::{Fault, Proxy};
