//! Which addresses may be reached.
//!
//! Denied unless the operator lists them: everything that is not a public unicast address, in IPv4, in IPv6, and in the
//! IPv6 forms that carry an IPv4 address (mapped, 6to4, NAT64). The ranges are those of the IANA special-purpose address
//! registries (RFC 6890); cloud metadata services live at link-local addresses and so are denied too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Which addresses may be reached beyond the public ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AddressPolicy {
    allowed: Vec<AllowEntry>,
    loopback: bool,
    /// Ports of this machine that a whole network or every port in an entry does not include.
    own_ports: Vec<u16>,
}

impl AddressPolicy {
    /// Public addresses and those that `allowed` lists.
    #[must_use]
    pub fn new(allowed: Vec<AllowEntry>) -> Self {
        Self {
            allowed,
            loopback: false,
            own_ports: Vec::new(),
        }
    }

    /// Keeps these ports of this machine closed unless an entry names both the address and the port.
    #[must_use]
    pub fn without_own_ports(mut self, ports: Vec<u16>) -> Self {
        self.own_ports = ports;
        self
    }

    /// Permits loopback addresses as well.
    #[must_use]
    pub fn with_loopback(mut self, loopback: bool) -> Self {
        self.loopback = loopback;
        self
    }

    /// Whether `host`, which resolved to `address`, may be reached on `port`.
    #[must_use]
    pub fn permits(&self, host: &str, address: IpAddr, port: u16) -> bool {
        if self.own_ports.contains(&port) && is_here(address) {
            return self.allowed.iter().any(|entry| entry.names(host, address, port));
        }
        is_public(address)
            || (self.loopback && address.to_canonical().is_loopback())
            || self.allowed.iter().any(|entry| entry.matches(host, address, port))
    }
}

/// One line of an allow list: an address, a network or a name, each with an optional port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowEntry {
    target: Target,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Target {
    Network(IpNet),
    Name(String),
}

/// An allow list line that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address, a network (10.0.0.0/8), nor a host name, each with an optional :port")]
pub struct AllowEntryError(String);

impl AllowEntry {
    /// Whether it is about this one address or name, and this port.
    fn names(&self, host: &str, address: IpAddr, port: u16) -> bool {
        let single = match &self.target {
            Target::Network(network) => network.prefix_len() == network.max_prefix_len(),
            Target::Name(_) => true,
        };
        single && self.port.is_some() && self.matches(host, address, port)
    }

    fn matches(&self, host: &str, address: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|wanted| wanted == port)
            && match &self.target {
                Target::Network(network) => network.contains(&address.to_canonical()),
                Target::Name(name) => name.eq_ignore_ascii_case(host.strip_suffix('.').unwrap_or(host)),
            }
    }
}

impl FromStr for AllowEntry {
    type Err = AllowEntryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || AllowEntryError(text.to_owned());
        let network = |part: &str| {
            part.parse::<IpNet>()
                .ok()
                .or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from))
        };
        // An IPv6 address has colons of its own; with a port it is written in brackets.
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or_else(error)?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port.parse().map_err(|_| error())?),
                None if after.is_empty() => None,
                None => return Err(error()),
            };
            return Ok(Self {
                target: Target::Network(network(inside).ok_or_else(error)?),
                port,
            });
        }
        if let Some(network) = network(text) {
            return Ok(Self {
                target: Target::Network(network),
                port: None,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| error())?)),
            None => (text, None),
        };
        if let Some(network) = network(host) {
            return Ok(Self {
                target: Target::Network(network),
                port,
            });
        }
        let is_name = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if !is_name {
            return Err(error());
        }
        Ok(Self {
            target: Target::Name(host.trim_end_matches('.').to_ascii_lowercase()),
            port,
        })
    }
}

/// Whether an address is one of this machine.
fn is_here(address: IpAddr) -> bool {
    let address = address.to_canonical();
    // Only addresses that the machine has can be bound.
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

/// Whether an address is a public unicast one.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        // Shared address space between carriers and customers, RFC 6598.
        || (a == 100 && (64..128).contains(&b))
        // Protocol assignments (RFC 6890), benchmarking (RFC 2544), and class E (RFC 1112).
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = embedded_v4(address) {
        return is_public_v4(inner);
    }
    let first = address.segments()[0];
    // Only 2000::/3 is global unicast; inside it the documentation prefixes are not.
    (first & 0xe000) == 0x2000
        && !(first == 0x2001 && address.segments()[1] == 0x0db8)
        && (first, address.segments()[1] & 0xf000) != (0x3fff, 0)
}

/// The IPv4 address inside an IPv4-mapped, IPv4-compatible, NAT64 (RFC 6052) or 6to4 (RFC 3056) address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 1, ..] => Some(Ipv4Addr::UNSPECIFIED),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for denied in [
            "0.0.0.0",
            "127.0.0.1",
            "127.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "::127.0.0.1",
            "2001:db8::1",
        ] {
            assert!(!is_public(denied.parse().unwrap()), "{denied}");
        }
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn own_ports_open_only_to_an_entry_that_names_address_and_port() {
        let permits = |lines: &[&str], host: &str, address: &str| {
            let entries = lines.iter().map(|line| line.parse().unwrap()).collect();
            let policy = AddressPolicy::new(entries).without_own_ports(vec![8000]);
            let other_port = policy.permits(host, address.parse().unwrap(), 8001);
            (policy.permits(host, address.parse().unwrap(), 8000), other_port)
        };
        for wide in ["127.0.0.0/8", "127.0.0.1", "localhost", "127.0.0.0/8:8000"] {
            let (own, _) = permits(&[wide], "localhost", "127.0.0.1");
            assert!(!own, "{wide}");
        }
        assert_eq!(permits(&["127.0.0.1"], "x", "127.0.0.1"), (false, true));
        assert_eq!(permits(&["::1"], "x", "::1"), (false, true));
        assert_eq!(permits(&["127.0.0.1"], "x", "::ffff:127.0.0.1"), (false, true));
        assert_eq!(permits(&["127.0.0.1:8000"], "x", "127.0.0.1"), (true, false));
        assert_eq!(permits(&["localhost:8000"], "localhost", "127.0.0.1"), (true, false));
        // The same port of another machine is another matter.
        assert_eq!(permits(&["10.0.0.0/8"], "x", "10.255.255.1"), (true, true));
    }

    #[test]
    fn an_allow_list_opens_exactly_what_it_names() {
        let policy = AddressPolicy::new(
            [
                "10.0.0.0/8",
                "127.0.0.1:8545",
                "[::1]:80",
                "ipfs.local",
                "node.local:5001",
            ]
            .map(|line| line.parse().unwrap())
            .to_vec(),
        );
        let permits = |host: &str, address: &str, port| policy.permits(host, address.parse().unwrap(), port);
        assert!(permits("x", "10.9.9.9", 1));
        assert!(permits("x", "::ffff:10.9.9.9", 1));
        assert!(permits("localhost", "127.0.0.1", 8545));
        assert!(!permits("localhost", "127.0.0.1", 8546));
        assert!(permits("x", "::1", 80));
        assert!(permits("IPFS.local.", "192.168.0.1", 9));
        assert!(!permits("evil.ipfs.local", "192.168.0.1", 9));
        assert!(permits("node.local", "192.168.0.1", 5001));
        assert!(!permits("node.local", "192.168.0.1", 5002));
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        for line in ["", "a b", "10.0.0.0/33", "host:99999", "[::1", "[::1]80", "http://x"] {
            assert!(line.parse::<AllowEntry>().is_err(), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_embedded_address_is_judged_like_itself(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            proptest::prop_assert_eq!(is_public(IpAddr::V6(v4.to_ipv6_mapped())), is_public(IpAddr::V4(v4)));
        }
    }
}
