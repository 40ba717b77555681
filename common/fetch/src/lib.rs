//! Downloads from addresses that strangers choose.
//!
//! Service documents and components name their own locations, so every download is bounded (bytes, stall, total time,
//! redirects) and every address is checked before a connection is made: the name is resolved once, each address that it
//! yields must be public or allowed by the operator, and the connection goes to one of the checked addresses. Each
//! redirect starts again from the beginning. No proxy is asked, and no cookie or credential is ever sent. For libraries that
//! make their own requests there is a proxy that checks in the same way.
//!
//! What comes from an IPFS gateway is checked against its content id (`content`), since a gateway may answer anything.
//! Otherwise this crate does not know what it downloads: digests and formats are the caller's.

mod car;
mod content;
mod error;
mod fetcher;
mod ipfs;
mod policy;
mod proxy;

pub use content::Verify;
pub use error::FetchError;
pub use fetcher::{FetchLimits, Fetcher};
pub use ipfs::{GatewayError, Gateways};
pub use policy::{AddressPolicy, AllowEntry, AllowEntryError, is_public};
pub use proxy::Proxy;
