//! One file per tarpc service, with its wire structs.

// The service macro writes request, response and client items that carry no documentation of their own.
#![allow(missing_docs)]

pub mod engine;
pub mod engine_admin;
pub mod gossip;
pub mod job;
pub mod lifecycle;
pub mod p2p_admin;
pub mod records;
pub mod registry;
pub mod trigger_admin;
pub mod trigger_feed;
