//! Why a download failed.

use std::net::IpAddr;
use std::time::Duration;

/// Why a download failed. Each text names the URI as far as it may be shown: without user info and query.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The text is not a URI.
    #[error("{uri:?} is not a URI: {cause}")]
    Uri {
        /// The text as given.
        uri: String,
        /// Why it does not parse.
        cause: String,
    },
    /// The scheme is not served.
    #[error("{uri}: scheme {scheme:?} is not supported; use http, https or ipfs")]
    Scheme {
        /// The URI.
        uri: String,
        /// Its scheme.
        scheme: String,
    },
    /// An address of the host is denied.
    #[error(
        "{uri}: {host} is at {address}, which is not a public address; list it under fetch.allow_hosts to permit it"
    )]
    Denied {
        /// The URI.
        uri: String,
        /// The host.
        host: String,
        /// The address that is denied.
        address: IpAddr,
    },
    /// The host has no address.
    #[error("{uri}: cannot resolve {host}: {cause}")]
    Resolve {
        /// The URI.
        uri: String,
        /// The host.
        host: String,
        /// Why not.
        cause: String,
    },
    /// Connection or transfer failed.
    #[error("{uri}: {cause}")]
    Transfer {
        /// The URI.
        uri: String,
        /// What failed.
        cause: String,
    },
    /// The server answered something other than success.
    #[error("{uri}: the server answered {status}")]
    Status {
        /// The URI.
        uri: String,
        /// HTTP status code.
        status: u16,
    },
    /// Too many redirects, or one from https to http.
    #[error("{uri}: redirect refused: {cause}")]
    Redirect {
        /// The URI.
        uri: String,
        /// Why.
        cause: String,
    },
    /// The body is larger than the limit.
    #[error("{uri}: larger than the limit of {limit} bytes")]
    TooLarge {
        /// The URI.
        uri: String,
        /// The limit.
        limit: u64,
    },
    /// The time is up.
    #[error("{uri}: not complete after {limit:?}")]
    TimedOut {
        /// The URI.
        uri: String,
        /// The limit.
        limit: Duration,
    },
    /// A gateway answered something else than the content id names.
    #[error("{uri}: the gateway answered something else than was asked for: {cause}")]
    Corrupt {
        /// The URI.
        uri: String,
        /// What does not fit.
        cause: String,
    },
    /// The content cannot be checked against its content id, and must be.
    #[error(
        "{uri}: it cannot be checked against its content id: {cause}; use a gateway that serves CAR files, or set fetch.ipfs_verify = \"prefer\""
    )]
    Unverifiable {
        /// The URI.
        uri: String,
        /// Why not.
        cause: String,
    },
    /// A registry does not work as it should, or the package has no proper name.
    #[error("{uri}: {cause}")]
    Registry {
        /// Registry and package.
        uri: String,
        /// What is wrong.
        cause: String,
    },
    /// The receiver of the bytes failed.
    #[error("{uri}: cannot store the download: {cause}")]
    Sink {
        /// The URI.
        uri: String,
        /// What failed.
        cause: std::io::Error,
    },
}

impl FetchError {
    /// Whether another attempt may succeed: time-outs, 429 and 5xx, and broken connections.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transfer { .. } | Self::TimedOut { .. } | Self::Resolve { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}
