//! Between domain types and the WIT types of both worlds.
//!
//! Towards the guest every value converts. What comes from the guest is checked: a chain key that does not parse, an
//! address of the wrong length or a prefix that splits a character is the guest's fault, reported as a text.

mod address;
mod chain;
mod result;
mod service;
mod trigger;

pub(super) use chain::{cosmos_config, evm_config};
pub(crate) use result::{ResultError, actions, responses, tx_result};
pub(super) use service::{service, workflow};
pub(crate) use trigger::{aggregator_input, trigger_action};
