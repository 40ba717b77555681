//! What aggregator components share: the bindings of their world, handler addresses, and the note about the
//! outcome of a submission.

pub mod address;
pub mod bindings;
pub mod outcome;

pub use bindings::wavs::aggregator::input::AggregatorInput;
pub use bindings::wavs::aggregator::output::{
    AggregatorAction, CosmosSubmitAction, EvmSubmitAction, SubmitAction, TimerAction,
};
pub use bindings::wavs::types as wavs_types;
pub use bindings::wavs::types::chain::AnyTxHash;
pub use bindings::{Guest, export, host, wasi};
