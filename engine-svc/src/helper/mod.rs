//! Processes that engine-svc starts before it gives up the right to: each takes requests on its standard input and answers
//! them, in any order, on its standard output.
//!
//! They do what must not happen next to guests: compiling what strangers wrote, and downloading from where strangers say. A
//! helper ends when engine-svc does. When a helper ends by itself, engine-svc ends too, because it cannot start another one.

mod client;
mod confine;
mod lines;
mod pipes;

pub(crate) use client::Helper;
pub(crate) use confine::{Confinement, outlive_stops};
pub(crate) use lines::{MAX_TEXT, Numbered, cut, read, write};
pub(crate) use pipes::Pipes;
