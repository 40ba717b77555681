//! The network rights of one run.

use std::net::SocketAddr;
use std::sync::Arc;

use url::{Host, Url};
use wasmtime_wasi::sockets::SocketAddrUse;
use wavs_fetch::AddressPolicy;
use wavs_types::AllowedHosts;

use super::pattern::{Destination, HostPattern};
use super::resolver::ServiceResolver;

/// What a component may reach.
#[derive(Debug, Clone)]
pub(crate) struct GuestEgress {
    pub(crate) http: HttpPermission,
    /// Whether sockets may connect at all.
    pub(crate) raw_sockets: bool,
    /// Whether sockets may bind and listen, which takes a grant of the operator.
    pub(crate) listen: bool,
    /// Which addresses are within reach.
    pub(crate) addresses: Arc<AddressPolicy>,
    /// Looks up the names of requests.
    pub(crate) names: ServiceResolver,
    /// Endpoints that the host functions hand out. The operator configured them, so they are exempt from the address policy.
    pub(crate) chains: Arc<[Destination]>,
}

/// The `allowed_http_hosts` permission in the form that requests are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HttpPermission {
    None,
    All,
    Only(Vec<HostPattern>),
}

impl From<&AllowedHosts> for HttpPermission {
    fn from(allowed: &AllowedHosts) -> Self {
        match allowed {
            AllowedHosts::None => Self::None,
            AllowedHosts::All => Self::All,
            AllowedHosts::Only(patterns) => {
                Self::Only(patterns.iter().filter_map(|text| HostPattern::parse(text)).collect())
            }
        }
    }
}

impl GuestEgress {
    /// Whether the component was granted requests to `destination`.
    pub(crate) fn permits_request(&self, destination: &Destination) -> bool {
        match &self.http {
            HttpPermission::None => false,
            HttpPermission::All => true,
            HttpPermission::Only(patterns) => {
                patterns.iter().any(|pattern| pattern.matches(destination)) || self.is_chain(destination)
            }
        }
    }

    /// Whether a connection to `address`, which `destination` resolved to, may be made.
    pub(crate) fn permits_address(&self, destination: &Destination, address: SocketAddr) -> bool {
        let name = match &destination.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        self.is_chain(destination) || self.addresses.permits(&name, address.ip(), address.port())
    }

    /// Whether a raw socket may be used with `address` in the way of `usage`.
    pub(crate) fn permits_socket(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        use SocketAddrUse::{TcpAccept, TcpBind, TcpConnect, TcpListen, UdpBind, UdpReceive, UdpSend};
        let reachable = || {
            self.addresses
                .permits(&address.ip().to_string(), address.ip(), address.port())
        };
        self.raw_sockets
            && match usage {
                TcpConnect | UdpSend | UdpReceive => reachable(),
                // The host announces its own implicit binds as the wildcard address with port 0.
                TcpBind | UdpBind => self.listen || (address.ip().is_unspecified() && address.port() == 0),
                TcpListen | TcpAccept => self.listen,
            }
    }

    fn is_chain(&self, destination: &Destination) -> bool {
        self.chains.contains(destination)
    }
}

/// The destination of an endpoint URL; absent for other schemes than http and https.
pub(crate) fn endpoint(url: &str) -> Option<Destination> {
    let url = Url::parse(url).ok()?;
    Destination::of(url.scheme(), url.host_str()?, url.port())
}

#[cfg(test)]
mod tests {
    use super::super::resolver::Resolver;
    use super::*;
    use wavs_types::ServiceId;

    fn egress(http: HttpPermission) -> GuestEgress {
        GuestEgress {
            http,
            raw_sockets: false,
            listen: false,
            addresses: Arc::new(AddressPolicy::default()),
            names: Resolver::start().unwrap().service(ServiceId::new([1; 32])),
            chains: Arc::from([endpoint("http://127.0.0.1:8545").unwrap()]),
        }
    }

    #[test]
    fn chain_endpoints_are_open_unless_http_is_denied() {
        let chain = endpoint("http://127.0.0.1:8545/").unwrap();
        let other_port = endpoint("http://127.0.0.1:8546/").unwrap();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert!(!egress(HttpPermission::None).permits_request(&chain));
        for permission in [HttpPermission::Only(vec![]), HttpPermission::All] {
            let egress = egress(permission);
            assert!(egress.permits_request(&chain));
            assert!(egress.permits_address(&chain, address(8545)));
            assert!(!egress.permits_address(&other_port, address(8546)));
        }
    }

    #[test]
    fn sockets_connect_only_where_the_policy_allows_and_never_listen_by_themselves() {
        let public = SocketAddr::from(([1, 1, 1, 1], 53));
        let private = SocketAddr::from(([10, 0, 0, 1], 53));
        let implicit = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut egress = egress(HttpPermission::All);
        assert!(!egress.permits_socket(public, SocketAddrUse::TcpConnect));
        egress.raw_sockets = true;
        assert!(egress.permits_socket(public, SocketAddrUse::TcpConnect));
        assert!(!egress.permits_socket(private, SocketAddrUse::UdpSend));
        assert!(egress.permits_socket(implicit, SocketAddrUse::TcpBind));
        assert!(!egress.permits_socket(SocketAddr::from(([0, 0, 0, 0], 80)), SocketAddrUse::TcpBind));
        assert!(!egress.permits_socket(implicit, SocketAddrUse::TcpListen));
    }
}
