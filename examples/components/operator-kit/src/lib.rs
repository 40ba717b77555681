//! What operator components share: the bindings of their world, the decoding of a trigger into an id and
//! bytes, and the wrapping of a result for the chain that it goes to.
//!
//! Only the bindings touch the host. Everything else is plain computation and is tested on the build machine.

pub mod abi;
pub mod bindings;
pub mod input;
pub mod output;

pub use bindings::wavs::operator::input::{TriggerAction, TriggerConfig};
pub use bindings::wavs::operator::output::WasmResponse;
pub use bindings::wavs::types as wavs_types;
pub use bindings::{Guest, export, host, wasi};
