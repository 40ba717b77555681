//! What is said on the network, one module per generation.
//!
//! A generation owns its topic names, its protocol names and its message forms; the network beneath it only moves bytes.
//! Further generations join as further modules and are bridged by aggregator-svc's acceptance of records, never here.

pub mod v2;
