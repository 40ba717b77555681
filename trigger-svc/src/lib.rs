//! trigger-svc: watches chains, clocks and feeds, and keeps what they emit in a durable spool.
//!
//! [`watch`] is the desired state that aggregator-svc states; [`sources`] make it real; [`spool`] keeps what they see
//! until aggregator-svc has taken it; [`resolve`] fetches service documents. The process calls nobody but chains and
//! document servers, and holds no secret but the keys inside endpoint URLs.

mod admin;
mod chain_rpc;
mod clock;
mod feed;
mod health;
mod metrics;
mod resolve;
mod sources;
mod spool;
mod watch;
