//! Who may do what: a pure decision over the route's class, the peer and the token.
//!
//! Also the guard against web pages: a browser that was tricked into calling a node on loopback shows a foreign `Host`
//! (DNS rebinding) or an `Origin` (cross-site request), and a request with a valid token needs neither check.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};

use super::problem::Problem;
use super::settings::{OpenReads, Scope, Settings};

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The admin socket; the kernel vouches for the user.
    Unix,
    /// TCP.
    Tcp(IpAddr),
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// For everyone.
    Open,
    /// Reads state.
    Read,
    /// Changes state.
    Write,
    /// Changes state harmlessly; a read token is enough.
    Signer,
    /// Changes how the node runs, or shows what no client should see: for the admin socket only, whatever the token.
    Admin,
}

/// What the caller showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Malformed,
    Unknown,
    Known(Scope),
}

/// The class of a request. GET and HEAD read wherever they go.
#[must_use]
pub fn class_of(method: &Method, path: &str) -> Class {
    match (method, path) {
        (_, "/info" | "/healthz" | "/readyz") => Class::Open,
        (_, "/v1/logs" | "/v1/config/reload" | "/v1/signers/history") => Class::Admin,
        (&Method::POST, path) if path.starts_with("/v1/processes/") || path.starts_with("/v1/signers/") => Class::Admin,
        (&Method::GET | &Method::HEAD | &Method::OPTIONS, _) => Class::Read,
        (&Method::POST, "/services/signer") => Class::Signer,
        _ => Class::Write,
    }
}

/// Checks a request against every rule.
///
/// # Errors
/// The 401 or 403 that refuses it.
pub fn check(settings: &Settings, peer: Peer, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    if peer == Peer::Unix {
        return Ok(());
    }
    let shown = shown(settings, headers);
    if !matches!(shown, Shown::Known(_)) {
        check_host(settings, headers)?;
        check_origin(settings, method, headers)?;
    }
    decide(settings, class_of(method, path), is_loopback(peer, headers), shown)
}

/// True when the caller may see more than the yes or no of `/readyz`.
#[must_use]
pub fn may_read(settings: &Settings, peer: Peer, headers: &HeaderMap) -> bool {
    peer == Peer::Unix
        || decide(
            settings,
            Class::Read,
            is_loopback(peer, headers),
            shown(settings, headers),
        )
        .is_ok()
}

fn decide(settings: &Settings, class: Class, loopback: bool, shown: Shown) -> Result<(), Problem> {
    match class {
        Class::Open => return Ok(()),
        Class::Admin => return Err(admin_socket_only()),
        Class::Read | Class::Write | Class::Signer => {}
    }
    let configured = !settings.tokens.is_empty();
    let open = class == Class::Read
        && match settings.open_reads {
            OpenReads::Always => true,
            OpenReads::Loopback => loopback,
            OpenReads::Never => false,
        };
    match shown {
        _ if !configured => {
            let writes = class != Class::Read && loopback;
            if open || writes { Ok(()) } else { Err(not_configured()) }
        }
        Shown::Known(Scope::Full) => Ok(()),
        Shown::Known(Scope::Read) if class != Class::Write => Ok(()),
        Shown::Known(Scope::Read) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            "The token only allows reading; use one of scope full",
        )),
        Shown::Nothing if open => Ok(()),
        Shown::Nothing | Shown::Malformed => Err(unauthorized(
            r#"error="invalid_request", error_description="invalid_authorization_header""#,
        )),
        Shown::Unknown => Err(unauthorized(
            r#"error="invalid_token", error_description="token_mismatch""#,
        )),
    }
}

fn admin_socket_only() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "admin-socket-only",
        "This is for the node's own user on its machine: send it to the admin socket, <data>/run/admin.sock",
    )
}

fn not_configured() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "token-not-configured",
        "Without a configured token only this machine may do this; set bearer_token and send it",
    )
}

fn unauthorized(challenge: &'static str) -> Problem {
    Problem {
        challenge: Some(challenge),
        ..Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
    }
}

fn shown(settings: &Settings, headers: &HeaderMap) -> Shown {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Shown::Nothing;
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    match token {
        None => Shown::Malformed,
        Some(token) => settings.scope_of(token).map_or(Shown::Unknown, Shown::Known),
    }
}

/// A peer on this machine that speaks for itself: behind a proxy everyone would look local.
fn is_loopback(peer: Peer, headers: &HeaderMap) -> bool {
    let proxied = headers
        .keys()
        .any(|name| *name == FORWARDED || name.as_str().starts_with("x-forwarded"));
    match peer {
        Peer::Unix => true,
        Peer::Tcp(address) => address.to_canonical().is_loopback() && !proxied,
    }
}

fn check_host(settings: &Settings, headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let host = without_port(value).to_ascii_lowercase();
    let literal = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
        .ok();
    let everywhere = settings
        .host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified());
    let allowed = host == "localhost"
        // An address cannot be rebound by DNS: it is as good as the listener.
        || literal.is_some_and(|address| address.is_loopback() || everywhere)
        || host == settings.host.to_ascii_lowercase()
        || settings.allowed_hosts.iter().any(|allowed| host == allowed.to_ascii_lowercase() || value.eq_ignore_ascii_case(allowed));
    if allowed {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "host-not-allowed",
        "The Host header names a host that this node does not know; add it to auth.allowed_hosts, or send a token",
    ))
}

fn check_origin(settings: &Settings, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let allowed = origin.to_str().is_ok_and(|origin| {
        settings
            .cors_allowed_origins
            .iter()
            .any(|pattern| pattern.matches(origin))
    });
    if allowed || matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "origin-not-allowed",
        "A web page of this origin may not change the node; add it to cors_allowed_origins, or send a token",
    ))
}

/// `name:port`, `[v6]:port` or either without a port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::pattern::Pattern;
    use crate::http::settings::Token;

    const LOCAL: Peer = Peer::Tcp(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    const REMOTE: Peer = Peer::Tcp(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    type Pairs = &'static [(&'static str, &'static str)];

    fn with_tokens() -> Settings {
        Settings {
            tokens: vec![Token::new("full", Scope::Full), Token::new("read", Scope::Read)],
            ..Settings::default()
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "127.0.0.1:8000".parse().unwrap());
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    fn code(
        settings: &Settings,
        peer: Peer,
        method: &Method,
        path: &str,
        pairs: &[(&'static str, &'static str)],
    ) -> &'static str {
        check(settings, peer, method, path, &headers(pairs)).map_or_else(|problem| problem.code, |()| "ok")
    }

    #[test]
    fn the_matrix_of_peers_and_tokens() {
        const FULL: (&str, &str) = ("authorization", "bEaReR full");
        const READ: (&str, &str) = ("authorization", "Bearer read");
        const WRONG: (&str, &str) = ("authorization", "Bearer wrong");
        const BASIC: (&str, &str) = ("authorization", "Basic Zm9v");
        const PROXIED: (&str, &str) = ("x-forwarded-for", "10.0.0.1");
        let (none, some) = (Settings::default(), with_tokens());
        let always = Settings {
            open_reads: OpenReads::Always,
            ..with_tokens()
        };
        let never = Settings {
            open_reads: OpenReads::Never,
            ..with_tokens()
        };
        let (get, post) = (Method::GET, Method::POST);
        let table: &[(&Settings, Peer, &Method, &str, Pairs, &str)] = &[
            (&none, LOCAL, &get, "/services", &[], "ok"),
            (&none, LOCAL, &post, "/services", &[], "ok"),
            (&none, LOCAL, &get, "/services", &[PROXIED], "token-not-configured"),
            (&none, REMOTE, &get, "/info", &[], "ok"),
            (&none, REMOTE, &get, "/services", &[], "token-not-configured"),
            (&none, REMOTE, &post, "/services", &[FULL], "token-not-configured"),
            (&some, LOCAL, &get, "/services", &[], "ok"),
            (&some, LOCAL, &post, "/services", &[], "unauthorized"),
            (&some, LOCAL, &post, "/dev/triggers", &[READ], "insufficient-scope"),
            (&some, LOCAL, &post, "/services/signer", &[READ], "ok"),
            (&some, LOCAL, &post, "/services/signer", &[], "unauthorized"),
            (&some, REMOTE, &get, "/services", &[], "unauthorized"),
            (&some, REMOTE, &get, "/services", &[READ], "ok"),
            (&some, REMOTE, &get, "/services", &[WRONG], "unauthorized"),
            (&some, REMOTE, &get, "/services", &[BASIC], "unauthorized"),
            (&some, REMOTE, &post, "/services", &[FULL], "ok"),
            (
                &some,
                REMOTE,
                &Method::DELETE,
                "/services",
                &[READ],
                "insufficient-scope",
            ),
            (&some, REMOTE, &get, "/readyz", &[], "ok"),
            (&always, REMOTE, &get, "/config", &[], "ok"),
            (&never, LOCAL, &get, "/config", &[], "unauthorized"),
            (&never, Peer::Unix, &post, "/services", &[], "ok"),
        ];
        for (settings, peer, method, path, pairs, expect) in table {
            assert_eq!(
                code(settings, *peer, method, path, pairs),
                *expect,
                "{peer:?} {method} {path} {pairs:?}"
            );
        }
    }

    #[test]
    fn the_challenge_says_what_was_wrong() {
        let challenge = |pairs| {
            check(&with_tokens(), REMOTE, &Method::GET, "/config", &headers(pairs))
                .unwrap_err()
                .challenge
                .unwrap()
        };
        assert!(challenge(&[]).contains("invalid_authorization_header"));
        assert!(challenge(&[("authorization", "Bearer x")]).contains("token_mismatch"));
    }

    #[test]
    fn a_foreign_host_is_refused_without_a_token() {
        let mut settings = Settings {
            allowed_hosts: vec!["node.example".into()],
            ..with_tokens()
        };
        for (host, expect) in [
            ("localhost:1", "ok"),
            ("127.0.0.9", "ok"),
            ("[::1]:8000", "ok"),
            ("node.example:80", "ok"),
            ("evil.example", "host-not-allowed"),
            ("192.0.2.7", "host-not-allowed"),
        ] {
            assert_eq!(
                code(&settings, LOCAL, &Method::GET, "/services", &[("host", host)]),
                expect,
                "{host}"
            );
        }
        let full = ("authorization", "Bearer full");
        assert_eq!(
            code(
                &settings,
                LOCAL,
                &Method::GET,
                "/services",
                &[("host", "evil.example"), full]
            ),
            "ok"
        );
        settings.host = "0.0.0.0".into();
        assert_eq!(
            code(&settings, LOCAL, &Method::GET, "/services", &[("host", "192.0.2.7")]),
            "ok"
        );
    }

    #[test]
    fn a_web_page_may_not_write() {
        let settings = Settings {
            cors_allowed_origins: vec![Pattern::new("https://ui.example")],
            ..Settings::default()
        };
        let origin = |value| [("origin", value)];
        assert_eq!(
            code(
                &settings,
                LOCAL,
                &Method::POST,
                "/services",
                &origin("https://evil.example")
            ),
            "origin-not-allowed"
        );
        assert_eq!(
            code(
                &settings,
                LOCAL,
                &Method::POST,
                "/services",
                &origin("https://ui.example")
            ),
            "ok"
        );
        assert_eq!(
            code(
                &settings,
                LOCAL,
                &Method::GET,
                "/services",
                &origin("https://evil.example")
            ),
            "ok"
        );
    }

    #[test]
    fn no_token_opens_what_is_for_the_admin_socket() {
        for (method, path) in [
            (Method::POST, "/v1/processes/engine-svc/restart"),
            (Method::POST, "/v1/config/reload"),
            (Method::GET, "/v1/logs"),
            (Method::POST, "/v1/signers/accept-empty-history"),
            (Method::GET, "/v1/signers/history"),
        ] {
            let token = [("authorization", "Bearer full")];
            assert_eq!(
                code(&with_tokens(), LOCAL, &method, path, &token),
                "admin-socket-only",
                "{path}"
            );
            assert_eq!(code(&Settings::default(), Peer::Unix, &method, path, &[]), "ok");
        }
        assert_eq!(class_of(&Method::GET, "/v1/processes/engine-svc"), Class::Read);
        assert_eq!(class_of(&Method::GET, "/v1/signers"), Class::Read);
    }
}
