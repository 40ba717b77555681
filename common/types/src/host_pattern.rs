//! Patterns of `allowed_http_hosts`, as a document is checked and as requests are matched.
//!
//! Form: `[scheme://]host[:port]`, where the scheme is `http` or `https` and the host is an exact name, `*.suffix` (one or more labels
//! in front, never the suffix itself), an IPv4 address, `[IPv6]`, or `*`. Names are compared as lower-case A-labels without a trailing
//! dot; a path is ignored. A text that does not parse matches nothing, and one that parses can match. The address policy is not
//! decided here but by whoever sends the request.

use std::str::FromStr;

use url::Host;

/// One parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Only this scheme, in lower case, when given.
    scheme: Option<String>,
    host: HostMatch,
    /// Only this port, when given.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostMatch {
    /// `*`: every host.
    Any,
    Exact(Host),
    /// Names with at least one label in front; holds the suffix with its leading dot.
    Below(String),
}

/// A text that is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a host pattern ({reason}); expected [scheme://]host[:port] with a name, *.suffix, an address or *"
)]
pub struct ParseHostPatternError {
    text: String,
    reason: &'static str,
}

impl HostPattern {
    /// Whether it is a name or address without scheme.
    #[must_use]
    pub fn is_plain_host(&self) -> bool {
        self.scheme.is_none() && matches!(self.host, HostMatch::Exact(_))
    }

    /// Whether a request by `scheme` to `port` of `host` is covered. The host is in the form of [`normal_host`].
    #[must_use]
    pub fn matches(&self, scheme: &str, host: &Host, port: u16) -> bool {
        self.scheme.as_deref().is_none_or(|wanted| wanted == scheme)
            && self.port.is_none_or(|wanted| wanted == port)
            && match (&self.host, host) {
                (HostMatch::Any, _) => true,
                (HostMatch::Exact(wanted), host) => wanted == host,
                (HostMatch::Below(suffix), Host::Domain(name)) => {
                    name.len() > suffix.len() && name.ends_with(suffix.as_str())
                }
                (HostMatch::Below(_), _) => false,
            }
    }
}

/// A host in the form that patterns are compared with: lower case, A-labels, no trailing dot, and the odd spellings of IPv4 addresses
/// resolved. Absent when the text is no host.
#[must_use]
pub fn normal_host(text: &str) -> Option<Host> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.contains('*') {
        return None;
    }
    match Host::parse(text).ok()? {
        Host::Domain(name) if name.is_empty() => None,
        host => Some(host),
    }
}

impl FromStr for HostPattern {
    type Err = ParseHostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| ParseHostPatternError {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<HostPattern, &'static str> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(parse_scheme(scheme)?), rest),
        None => (None, text),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("user names take no part in matching");
    }
    let (host, port) = match authority.rfind(']') {
        // The colons of an IPv6 address are its own.
        Some(bracket) => {
            let (address, port) = authority.split_at(bracket + 1);
            match port.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None if port.is_empty() => (address, None),
                None => return Err("only a port can follow the bracket"),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    Ok(HostPattern {
        scheme,
        host: parse_host(host)?,
        port: port.map(parse_port).transpose()?,
    })
}

fn parse_scheme(scheme: &str) -> Result<String, &'static str> {
    let scheme = scheme.to_ascii_lowercase();
    if matches!(scheme.as_str(), "http" | "https") {
        Ok(scheme)
    } else {
        Err("the scheme is neither http nor https")
    }
}

fn parse_port(port: &str) -> Result<u16, &'static str> {
    // A sign would be read as part of the number.
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err("the port is no number");
    }
    port.parse().map_err(|_| "the port is above 65535")
}

fn parse_host(host: &str) -> Result<HostMatch, &'static str> {
    if host == "*" {
        return Ok(HostMatch::Any);
    }
    if host.starts_with('[') {
        return match Host::parse(host) {
            Ok(address) => Ok(HostMatch::Exact(address)),
            Err(_) => Err("the brackets hold no IPv6 address"),
        };
    }
    let (name, below) = match host.strip_prefix("*.") {
        Some(suffix) => (suffix, true),
        None => (host, false),
    };
    if name.contains('*') {
        return Err("`*` stands alone or in front of `.suffix` only");
    }
    // Letters beyond ASCII are left to the conversion to A-labels.
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let is_name = |name: &str| name.split('.').all(is_label);
    if !is_name(name.strip_suffix('.').unwrap_or(name)) {
        return Err("the host is no name");
    }
    match (normal_host(name), below) {
        // The conversion leaves some letters out.
        (Some(Host::Domain(name)), _) if !is_name(&name) => Err("the host is no name"),
        (Some(Host::Domain(suffix)), true) => Ok(HostMatch::Below(format!(".{suffix}"))),
        (Some(_), true) => Err("no name is below an address"),
        (Some(host), false) => Ok(HostMatch::Exact(host)),
        (None, _) => Err("the host is neither a name nor an address"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn covers(pattern: &HostPattern, url: &str) -> bool {
        let url = Url::parse(url).unwrap();
        let host = normal_host(url.host_str().unwrap()).unwrap();
        pattern.matches(url.scheme(), &host, url.port_or_known_default().unwrap())
    }

    fn check(text: &str, yes: &[&str], no: &[&str]) {
        let pattern = text.parse().unwrap();
        for url in yes {
            assert!(covers(&pattern, url), "{text} should match {url}");
        }
        for url in no {
            assert!(!covers(&pattern, url), "{text} should not match {url}");
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
    fn what_cannot_match_is_refused() {
        for text in [
            "",
            "a..b",
            "a*b",
            "a.*.b",
            "*.*.b",
            "**",
            "*.",
            "*..",
            "a:b",
            "a:",
            "a:65536",
            "a:+1",
            "[::1]:+1",
            "u@h",
            "[::1",
            "[x]",
            "[::1]x",
            "[::1].",
            "a[::1]",
            "*.[::1]",
            "1x://h",
            "ftp://h",
            "wss://h",
            "://h",
            "a b",
            "%61",
            "*.10.0.0.1",
            "*.1",
            "256.1.1.1",
            "1.2.3.4.5",
            "a.0x",
            "\u{ad}",
            "*.\u{ad}.org",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn plain_hosts_have_neither_scheme_nor_wildcard() {
        for (text, plain) in [
            ("example.org", true),
            ("example.org:80", true),
            ("127.0.0.1", true),
            ("[::1]:1", true),
            ("*", false),
            ("*.example.org", false),
            ("http://example.org", false),
        ] {
            assert_eq!(text.parse::<HostPattern>().unwrap().is_plain_host(), plain, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Nobody is to believe that a pattern opens something when it silently opens nothing.
        #[test]
        fn what_is_accepted_can_match(
            text in "([a-zA-Z]{1,5}://)?(\\*\\.?)?[a-zA-Z0-9._\\-ü\u{ad}ß\\[\\]:*]{0,12}(:[0-9+]{0,5})?(/.{0,3})?",
        ) {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                let scheme = pattern.scheme.as_deref().unwrap_or("https");
                let host = match &pattern.host {
                    HostMatch::Any => "example.org".to_owned(),
                    HostMatch::Exact(host) => host.to_string(),
                    HostMatch::Below(suffix) => format!("a{suffix}"),
                };
                let url = format!("{scheme}://{host}:{}/", pattern.port.unwrap_or(1));
                prop_assert!(covers(&pattern, &url), "{text} does not match {url}");
            }
        }
    }
}
