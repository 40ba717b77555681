//! Rules of components, the same for operator and aggregator components.

use super::{Findings, MAX_CONFIG_BYTES, MAX_ENV_KEYS};
use crate::{
    host_pattern::HostPattern,
    service::{AllowedHosts, Component, ComponentSource},
};

/// What the names of variables that a node passes to components start with.
const ENV_PREFIX: &str = "WAVS_ENV";
/// Schemes that a component can be fetched by; `file` needs the operator's consent, which is checked elsewhere.
const SCHEMES: [&str; 4] = ["http", "https", "ipfs", "file"];

pub(super) fn check(component: &Component, at: &str, findings: &mut Findings) {
    check_source(&component.source, &format!("{at}/source"), findings);
    check_hosts(
        &component.permissions.allowed_http_hosts,
        &format!("{at}/permissions/allowed_http_hosts"),
        findings,
    );
    for (name, limit) in [
        ("fuel_limit", component.fuel_limit),
        ("time_limit_seconds", component.time_limit_seconds),
    ] {
        if limit == Some(0) {
            let detail = format!("{name} is 0, so every run fails; leave it out to have no limit of the service's own");
            findings.warning(format!("{at}/{name}"), "limit-zero", detail);
        }
    }
    let config_bytes: usize = component
        .config
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if config_bytes > MAX_CONFIG_BYTES {
        let detail = format!("keys and values have {config_bytes} bytes, the limit is {MAX_CONFIG_BYTES}");
        findings.error(format!("{at}/config"), "config-too-large", detail);
    }
    check_env_keys(component, &format!("{at}/env_keys"), findings);
}

fn check_env_keys(component: &Component, at: &str, findings: &mut Findings) {
    let keys = &component.env_keys;
    if keys.len() > MAX_ENV_KEYS {
        findings.error(
            at,
            "too-many-env-keys",
            format!("{} keys, the limit is {MAX_ENV_KEYS}", keys.len()),
        );
    }
    for key in keys.iter().filter(|key| !key.starts_with(ENV_PREFIX)) {
        let detail = format!("`{key}` does not start with {ENV_PREFIX}, so it is never passed to the component");
        findings.warning(at, "env-key-prefix", detail);
    }
}

fn check_hosts(hosts: &AllowedHosts, at: &str, findings: &mut Findings) {
    let AllowedHosts::Only(patterns) = hosts else {
        return;
    };
    for (position, pattern) in patterns.iter().enumerate() {
        if let Err(error) = pattern.parse::<HostPattern>() {
            findings.warning(
                format!("{at}/only/{position}"),
                "host-pattern",
                format!("matches nothing: {error}"),
            );
        }
    }
}

fn check_source(source: &ComponentSource, at: &str, findings: &mut Findings) {
    match source {
        ComponentSource::Download { uri, .. } => {
            check_uri(uri, &format!("{at}/download/uri"), findings);
        }
        ComponentSource::Registry {
            domain,
            version,
            package,
            ..
        } => {
            let at = format!("{at}/registry");
            if !is_package(package) {
                let detail =
                    format!("`{package}` is no package: expected namespace:name in lower-case words joined by `-`");
                findings.error(format!("{at}/package"), "registry-package", detail);
            }
            if let Some((version, error)) = version
                .as_deref()
                .and_then(|text| Some((text, semver::Version::parse(text).err()?)))
            {
                let detail = format!("`{version}` is no semantic version such as 1.2.3: {error}");
                findings.error(format!("{at}/version"), "registry-version", detail);
            }
            if let Some(domain) = domain.as_deref().filter(|domain| !is_domain(domain)) {
                let detail =
                    format!("`{domain}` is no registry host: expected a name with an optional port, such as wa.dev");
                findings.error(format!("{at}/domain"), "registry-domain", detail);
            }
        }
        ComponentSource::Digest(_) => {}
    }
}

fn check_uri(uri: &str, at: &str, findings: &mut Findings) {
    let scheme = uri
        .split_once(':')
        .map_or("", |(scheme, _)| scheme)
        .to_ascii_lowercase();
    if !SCHEMES.contains(&scheme.as_str()) {
        let detail = format!("`{uri}` has the scheme `{scheme}`, which cannot be fetched; use http, https or ipfs");
        findings.error(at, "uri-scheme", detail);
    } else if uri.split_once("://").is_none_or(|(_, rest)| rest.is_empty()) {
        findings.error(at, "uri", format!("`{uri}` names nothing behind its scheme"));
    } else if uri.chars().any(|c| c.is_whitespace() || c.is_control()) {
        findings.error(
            at,
            "uri",
            format!("{uri:?} contains blanks or control characters; escape them"),
        );
    }
}

/// `namespace:name`, both kebab-case identifiers as in WIT: words of one case, the first of which starts with a letter.
fn is_package(package: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && (word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                || word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
    };
    let is_kebab = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.split('-').all(is_word);
    package
        .split_once(':')
        .is_some_and(|(namespace, name)| is_kebab(namespace) && is_kebab(name))
}

fn is_domain(domain: &str) -> bool {
    domain
        .parse::<HostPattern>()
        .is_ok_and(|pattern| pattern.is_plain_host())
}
