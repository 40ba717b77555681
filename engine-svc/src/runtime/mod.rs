//! Running guests: engines, compiled components, slots, the executor, and single runs.
//!
//! A run takes a slot, gets a fresh store from the pool, and runs on the guest threads, of which brief and long runs have each
//! their own. When it has computed for a millisecond it gives way, which is also when its deadline is checked; an outer timer
//! ends guests that sleep or wait for the host.

mod busy;
mod call;
mod engine;
mod executor;
mod failure;
mod habits;
mod library;
mod linkers;
mod slots;
mod ticker;
mod turns;

pub(crate) use busy::Busy;
pub(crate) use call::{Call, Finished, Returned, Terms, run};
#[cfg(test)]
pub(crate) use engine::engine;
pub(crate) use engine::{PoolSize, Variant, compiler_engine};
pub(crate) use executor::{GuestExecutor, stand_back};
pub(crate) use failure::Failure;
pub(crate) use habits::Habits;
pub(crate) use library::Library;
pub(crate) use linkers::Prepared;
pub(crate) use slots::{SlotLimits, Slots};
pub(crate) use ticker::Ticker;
