//! Host patterns of the `allowed_http_hosts` permission.
//!
//! Form: `[scheme://]host[:port]`, where the host is an exact name, `*.suffix` (one or more labels in front, never the
//! suffix itself), an IPv4 address, `[IPv6]`, or `*`. Names are compared as lower-case A-labels without a trailing dot;
//! a path is ignored. A text that does not parse matches nothing.

use url::Host;

/// One pattern of a component's allow list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    scheme: Option<String>,
    host: HostMatch,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostMatch {
    Any,
    Exact(Host),
    /// The suffix with its leading dot.
    Below(String),
}

/// Where a request goes, in the normal form that patterns are compared with.
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

impl HostPattern {
    /// Reads a pattern; `None` when it can never match.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        if scheme
            .as_deref()
            .is_some_and(|scheme| !matches!(scheme, "http" | "https"))
        {
            return None;
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return None;
        }
        let (host, port) = split_port(authority)?;
        let host = if host == "*" {
            HostMatch::Any
        } else if let Some(suffix) = host.strip_prefix("*.") {
            match normal_host(suffix)? {
                Host::Domain(suffix) => HostMatch::Below(format!(".{suffix}")),
                Host::Ipv4(_) | Host::Ipv6(_) => return None,
            }
        } else {
            HostMatch::Exact(normal_host(host)?)
        };
        Some(Self { scheme, host, port })
    }

    /// Whether a request to `destination` is covered.
    #[must_use]
    pub(crate) fn matches(&self, destination: &Destination) -> bool {
        self.scheme.as_ref().is_none_or(|scheme| *scheme == destination.scheme)
            && self.port.is_none_or(|port| port == destination.port)
            && match (&self.host, &destination.host) {
                (HostMatch::Any, _) => true,
                (HostMatch::Exact(wanted), host) => wanted == host,
                (HostMatch::Below(suffix), Host::Domain(name)) => {
                    name.len() > suffix.len() && name.ends_with(suffix.as_str())
                }
                (HostMatch::Below(_), _) => false,
            }
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_host = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_host..].find(':') {
        Some(colon) => {
            let colon = after_host + colon;
            Some((&authority[..colon], Some(authority[colon + 1..].parse().ok()?)))
        }
        None => Some((authority, None)),
    }
}

/// Lower case, A-labels, no trailing dot, and the odd spellings of IPv4 addresses resolved.
fn normal_host(text: &str) -> Option<Host> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.contains('*') {
        return None;
    }
    match Host::parse(text).ok()? {
        Host::Domain(name) if name.is_empty() => None,
        host => Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let pattern = HostPattern::parse(pattern).unwrap_or_else(|| panic!("{pattern} does not parse"));
        let destination = |text: &str| {
            let url = url::Url::parse(text).unwrap();
            Destination::of(url.scheme(), url.host_str().unwrap(), url.port()).unwrap()
        };
        for text in yes {
            assert!(pattern.matches(&destination(text)), "{pattern:?} should match {text}");
        }
        for text in no {
            assert!(
                !pattern.matches(&destination(text)),
                "{pattern:?} should not match {text}"
            );
        }
    }

    #[test]
    fn names_match_exactly_and_without_regard_to_case() {
        check(
            "API.example.org.",
            &[
                "https://api.example.org/x",
                "http://Api.Example.ORG:81",
                "https://u:p@api.example.org",
            ],
            &[
                "https://example.org",
                "https://api.example.org.evil",
                "https://xapi.example.org",
                "https://api.example.org@evil.org",
            ],
        );
        check(
            "bücher.example",
            &["https://xn--bcher-kva.example"],
            &["https://bucher.example"],
        );
    }

    #[test]
    fn a_wildcard_stands_for_labels_but_not_for_none() {
        check(
            "*.example.org",
            &["https://a.example.org", "https://a.b.example.org"],
            &["https://example.org", "https://aexample.org"],
        );
        check("*", &["https://a", "http://10.0.0.1", "http://[::1]:5"], &[]);
        check("*:8080", &["http://a:8080"], &["http://a"]);
    }

    #[test]
    fn scheme_and_port_narrow() {
        check(
            "https://example.org",
            &["https://example.org:8443"],
            &["http://example.org"],
        );
        check("example.org:443", &["https://example.org"], &["http://example.org"]);
        check(
            "http://example.org:8080/path?x",
            &["http://example.org:8080/other"],
            &["https://example.org:8080"],
        );
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        check(
            "127.0.0.1:9",
            &["http://127.0.0.1:9", "http://0x7f.1:9", "http://2130706433:9"],
            &["http://127.0.0.2:9"],
        );
        check("[::1]:80", &["http://[0:0::1]"], &["http://[::2]", "http://[::1]:81"]);
    }

    #[test]
    fn what_cannot_match_does_not_parse() {
        for text in [
            "",
            "ftp://a",
            "a:99999",
            "a b",
            "*.127.0.0.1",
            "a.*.b",
            "user@host",
            "[::1",
            "**",
        ] {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }
}
