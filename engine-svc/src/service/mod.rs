//! The contracts that engine-svc serves.

mod admin;
mod engine;
mod job;
