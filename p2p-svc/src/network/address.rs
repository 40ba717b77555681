//! Which addresses are worth dialling. Peers tell all their addresses, also those that mean something else here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// This host.
    Host,
    /// A private network.
    Private,
    /// Everywhere, or a name.
    Global,
}

/// How far an address reaches; nothing for one that cannot be dialled at all.
pub(super) fn reach(address: &Multiaddr) -> Option<Reach> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => reach_of_ip(ip.into()),
        Protocol::Ip6(ip) => reach_of_ip(ip.into()),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_) => Some(Reach::Global),
        _ => None,
    }
}

fn reach_of_ip(ip: IpAddr) -> Option<Reach> {
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    Some(match ip {
        ip if ip.is_loopback() => Reach::Host,
        IpAddr::V4(ip) if private_v4(ip) => Reach::Private,
        IpAddr::V6(ip) if private_v6(ip) => Reach::Private,
        _ => Reach::Global,
    })
}

fn private_v4(ip: Ipv4Addr) -> bool {
    let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
    ip.is_private() || ip.is_link_local() || ip.is_documentation() || ip.is_broadcast() || shared
}

fn private_v6(ip: Ipv6Addr) -> bool {
    ip.is_unique_local() || ip.is_unicast_link_local()
}

/// Whether an address that a peer tells may be dialled by a node that listens on `own`. A private address means the
/// same thing to both only if this node has one too, and a loopback address only if this node is reached by one.
pub(super) fn is_worth_dialling<'a>(address: &Multiaddr, own: impl IntoIterator<Item = &'a Multiaddr>) -> bool {
    let Some(reach_there) = reach(address) else {
        return false;
    };
    reach_there == Reach::Global
        || own
            .into_iter()
            .filter_map(reach)
            .any(|reach_here| reach_here == reach_there)
}

/// The block that an address counts for: /24 of IPv4, /48 of IPv6.
pub(super) fn block(address: &Multiaddr) -> Option<[u8; 6]> {
    let mut block = [0; 6];
    match address.iter().next()? {
        Protocol::Ip4(ip) if !ip.is_loopback() => block[..3].copy_from_slice(&ip.octets()[..3]),
        Protocol::Ip6(ip) if !ip.is_loopback() => block.copy_from_slice(&ip.octets()[..6]),
        _ => return None,
    }
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_dialled_where_they_mean_something() {
        let own_loopback = ["/ip4/127.0.7.1/tcp/1".parse().unwrap()];
        let own_private = ["/ip4/10.0.0.1/tcp/1".parse().unwrap()];
        let table: [(&str, bool, bool); 9] = [
            ("/ip4/127.0.7.2/tcp/9", true, false),
            ("/ip4/10.9.0.2/tcp/9", false, true),
            ("/ip4/8.8.8.8/udp/9/quic-v1", true, true),
            ("/dns4/operator.example/tcp/9", true, true),
            ("/ip6/::1/tcp/9", true, false),
            ("/ip6/fd00::1/tcp/9", false, true),
            ("/ip4/0.0.0.0/tcp/9", false, false),
            ("/ip4/224.0.0.1/tcp/9", false, false),
            ("/memory/1", false, false),
        ];
        for (address, loopback, private) in table {
            let parsed: Multiaddr = address.parse().unwrap();
            assert_eq!(is_worth_dialling(&parsed, &own_loopback), loopback, "{address}");
            assert_eq!(is_worth_dialling(&parsed, &own_private), private, "{address}");
        }
    }

    #[test]
    fn blocks_are_shared_by_neighbours() {
        let block = |text: &str| block(&text.parse().unwrap());
        assert_eq!(block("/ip4/1.2.3.4/tcp/1"), block("/ip4/1.2.3.5/udp/1/quic-v1"));
        assert_ne!(block("/ip4/1.2.3.4/tcp/1"), block("/ip4/1.2.4.4/tcp/1"));
        assert_eq!(block("/ip6/2001:db8:1::1/tcp/1"), block("/ip6/2001:db8:1:2::1/tcp/1"));
        assert_eq!(block("/ip4/127.0.0.1/tcp/1"), None);
    }
}
