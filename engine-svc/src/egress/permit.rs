//! The network rights of one run.

use std::net::SocketAddr;
use std::sync::Arc;

use url::{Host, Url};
use wasmtime_wasi::sockets::SocketAddrUse;
use wavs_fetch::AddressPolicy;
use wavs_types::{AllowedHosts, HostPattern};

use super::denials::Denial;
use super::destination::Destination;
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
            AllowedHosts::Only(patterns) => Self::Only(patterns.iter().filter_map(|text| text.parse().ok()).collect()),
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
                let Destination { scheme, host, port } = destination;
                let covers = |pattern: &HostPattern| pattern.matches(scheme, host, *port);
                patterns.iter().any(covers) || self.is_chain(destination)
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

    /// What a raw socket is refused with `address` in the way of `usage`; nothing when it may be used.
    pub(crate) fn denies_socket(&self, address: SocketAddr, usage: SocketAddrUse) -> Option<Denial> {
        use SocketAddrUse::{TcpAccept, TcpBind, TcpConnect, TcpListen, UdpBind, UdpReceive, UdpSend};
        let reachable = || {
            self.addresses
                .permits(&address.ip().to_string(), address.ip(), address.port())
        };
        if !self.raw_sockets {
            return Some(Denial::Socket);
        }
        let (permitted, denial) = match usage {
            TcpConnect | UdpSend | UdpReceive => (reachable(), Denial::Address),
            // The host announces its own implicit binds as the wildcard address with port 0.
            TcpBind | UdpBind => (
                self.listen || (address.ip().is_unspecified() && address.port() == 0),
                Denial::Bind,
            ),
            TcpListen | TcpAccept => (self.listen, Denial::Bind),
        };
        (!permitted).then_some(denial)
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
        let denied = |egress: &GuestEgress, address, usage| egress.denies_socket(address, usage);
        assert_eq!(denied(&egress, public, SocketAddrUse::TcpConnect), Some(Denial::Socket));
        egress.raw_sockets = true;
        assert_eq!(denied(&egress, public, SocketAddrUse::TcpConnect), None);
        assert_eq!(denied(&egress, private, SocketAddrUse::UdpSend), Some(Denial::Address));
        assert_eq!(denied(&egress, implicit, SocketAddrUse::TcpBind), None);
        let port = SocketAddr::from(([0, 0, 0, 0], 80));
        assert_eq!(denied(&egress, port, SocketAddrUse::TcpBind), Some(Denial::Bind));
        assert_eq!(denied(&egress, implicit, SocketAddrUse::TcpListen), Some(Denial::Bind));
    }
}
