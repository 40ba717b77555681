//! The way of a trigger to its transaction, one file per stage.
//!
//! [`intake`] takes triggers over from trigger-svc, as many of each service as there is room for ([`share`]); [`execute`] runs the operator component ([`run`], [`runs`]), by itself after
//! a death ([`trial`]), not while too many events of its service are open ([`room`]), and not a component that
//! engine-svc dies of ([`quarantine`]); [`sign`] signs its responses once;
//! [`collect`] gathers signatures; [`aggregate`] runs the aggregator component for its actions and timers; [`submit`] brings a
//! target to a chain, and [`settle`] follows it to its depth; [`callback`] tells the component the outcome. Every stage claims
//! a row, acts and commits, and then wakes the lane of the next stage. The [`lane`]s are fair, bounded views of rows that are
//! due ([`schedule`]): what they forget, or what a crash interrupts, they read from the ledger again.

pub mod aggregate;
pub mod backoff;
pub mod callback;
pub mod collect;
pub mod core;
pub mod execute;
pub mod handover;
pub mod intake;
pub mod lane;
pub mod open;
pub mod quarantine;
pub mod room;
pub mod run;
pub mod runs;
pub mod schedule;
pub mod settle;
pub mod share;
pub mod sign;
pub mod stalled;
pub mod submit;
pub mod sweep;
pub mod trial;
pub mod verdict;
