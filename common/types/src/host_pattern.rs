//! Patterns of `allowed_http_hosts`: `[scheme://]host[:port]`. This is the syntax only; resolving names, converting them to
//! A-labels for a request, and the address policy belong to whoever sends the request.

use std::{net::Ipv6Addr, str::FromStr};

/// One parsed pattern. Scheme and host are in lower case, a trailing dot is gone, a path was ignored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Only this scheme, when given.
    pub scheme: Option<String>,
    /// Which hosts.
    pub host: HostMatch,
    /// Only this port, when given.
    pub port: Option<u16>,
}

/// The host part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// `*`: every host.
    Any,
    /// `*.suffix`: names that end in the suffix with at least one label in front; holds the suffix.
    Under(String),
    /// Exactly this name or IPv4 address.
    Name(String),
    /// Exactly this IPv6 address, written in brackets.
    Ipv6(Ipv6Addr),
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
        self.scheme.is_none() && matches!(self.host, HostMatch::Name(_) | HostMatch::Ipv6(_))
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
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or("the bracket is not closed")?;
        let address = address.parse().map_err(|_| "the brackets hold no IPv6 address")?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if port.is_empty() => None,
            None => return Err("only a port can follow the bracket"),
        };
        return Ok(HostPattern {
            scheme,
            host: HostMatch::Ipv6(address),
            port,
        });
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (authority, None),
    };
    Ok(HostPattern {
        scheme,
        host: parse_host(host)?,
        port,
    })
}

fn parse_scheme(scheme: &str) -> Result<String, &'static str> {
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if valid {
        Ok(scheme.to_ascii_lowercase())
    } else {
        Err("the scheme is malformed")
    }
}

fn parse_port(port: &str) -> Result<u16, &'static str> {
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err("the port is no number");
    }
    port.parse().map_err(|_| "the port is above 65535")
}

fn parse_host(host: &str) -> Result<HostMatch, &'static str> {
    let host = host.strip_suffix('.').unwrap_or(host).to_lowercase();
    if host == "*" {
        return Ok(HostMatch::Any);
    }
    let name = host.strip_prefix("*.").unwrap_or(&host);
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
    if !name.split('.').all(is_label) {
        return Err("the host is no name");
    }
    Ok(if name.len() == host.len() {
        HostMatch::Name(host)
    } else {
        HostMatch::Under(name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let name = |name: &str| HostMatch::Name(name.to_owned());
        for (text, scheme, host, port) in [
            ("api.example.org", None, name("api.example.org"), None),
            ("API.Example.org.:8080/path", None, name("api.example.org"), Some(8080)),
            (
                "HTTPS://*.example.org",
                Some("https"),
                HostMatch::Under("example.org".into()),
                None,
            ),
            ("*", None, HostMatch::Any, None),
            ("*:80", None, HostMatch::Any, Some(80)),
            (
                "http://[::1]:1",
                Some("http"),
                HostMatch::Ipv6(Ipv6Addr::LOCALHOST),
                Some(1),
            ),
            ("[::1]", None, HostMatch::Ipv6(Ipv6Addr::LOCALHOST), None),
            ("127.0.0.1", None, name("127.0.0.1"), None),
            ("bücher.example", None, name("bücher.example"), None),
        ] {
            assert_eq!(
                text.parse(),
                Ok(HostPattern {
                    scheme: scheme.map(String::from),
                    host,
                    port
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "", "a..b", "a*b", "*.*.b", "a:b", "a:", "a:65536", "a:+1", "u@h", "[::1", "[x]", "[::1]x", "1x://h", "a b",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
