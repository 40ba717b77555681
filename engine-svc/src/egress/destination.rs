//! Where a request goes, in the normal form that the patterns of `allowed_http_hosts` are compared with.

use url::Host;
use wavs_types::normal_host;

/// The destination of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// `http` or `https`.
    pub(crate) scheme: String,
    /// Name in A-labels, or address.
    pub(crate) host: Host,
    /// Given, or the default of the scheme.
    pub(crate) port: u16,
}

impl Destination {
    /// The destination of an http(s) URI authority. User information plays no part in it.
    #[must_use]
    pub(crate) fn of(scheme: &str, host: &str, port: Option<u16>) -> Option<Self> {
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Some(Self {
            scheme: scheme.to_owned(),
            host: normal_host(host)?,
            port: port.unwrap_or(default),
        })
    }
}
