//! What end-to-end tests, the demo and the benchmarks share: real chains, real nodes, real contracts.
//!
//! [`anvil`] runs a chain and [`proxy`] breaks connections to it, [`contracts`] deploys the example contracts, [`node`] runs the five processes on a data
//! directory of their own, [`cluster`] several of them, [`service`] writes service documents, [`web`] serves what nodes download,
//! [`machine`] is a machine with a systemd of its own, [`chaos`] kills processes while events flow,
//! [`audit`] counts what became of them. Nothing here is a fake.

pub mod audit;
pub mod chaos;
pub mod cluster;
pub mod contracts;
pub mod machine;
pub mod node;
pub mod scenario;
pub mod service;
pub mod web;

pub use testkit::{anvil, proxy, tools};
