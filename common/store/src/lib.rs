//! Durable state of one process: one SQLite file, one writer.
//!
//! [`Database::open`] brings the file to the newest schema and starts the writer thread. Everything that changes state goes
//! through [`Writer::write`], which commits waiting closures together (group commit) and answers each only after the
//! commit is as durable as asked for. [`Reader::read`] runs queries on a small pool of read-only connections.
//! [`Log`] is a durable queue inside such a database. [`fault`] kills a process at named points, for crash tests.
//!
//! The crate knows nothing about what is stored: tables belong to the process that opens the file.

pub mod database;
pub mod error;
pub mod fault;
pub mod health;
pub mod log;
pub mod migration;
pub mod reader;
pub mod writer;

pub use database::{Database, shrink};
pub use error::StoreError;
pub use health::Health;
pub use log::{Log, LogEntry, LogId, LogSize};
pub use migration::Migration;
pub use reader::Reader;
pub use rusqlite;
pub use rusqlite::{Connection, Transaction};
pub use writer::{Durability, Writer};

#[cfg(test)]
mod tests;
