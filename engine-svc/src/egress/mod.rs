//! What a guest may reach over the network, and the way there.
//!
//! A request passes two gates: the permission that its component was granted (`permit`) and the address policy of the
//! node. A name is resolved once, every address that it yields is checked, and the connection goes to a checked address.
//! Refusals surface through the response future, never as an immediate error: guests trap on the latter.

mod connect;
mod denials;
mod destination;
mod hooks;
mod permit;
mod resolver;
mod response;

pub(crate) use denials::{Denial, Denials};
pub(crate) use destination::Destination;
pub(crate) use hooks::HttpHooks;
pub(crate) use permit::{GuestEgress, HttpPermission, endpoint};
pub(crate) use resolver::{Resolver, ServiceResolver};
