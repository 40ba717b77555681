//! Packages of WASM registries, fetched by digest.
//!
//! A registry tells by a file at a known place where its packages are kept, which is an OCI registry (the wasm-pkg
//! protocol; OCI distribution specification 1.1). A component is the blob of its own SHA-256 there, and a service document
//! names that digest, so neither versions nor manifests have to be believed: the blob is asked for at once. All requests
//! are made by this crate under its address policy; no credentials are sent but the token that a registry gives to anyone.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWrite;
use tokio::time::timeout;
use url::{Host, Url};

use crate::error::FetchError;
use crate::fetcher::{Ask, Attempt, FetchLimits, Fetcher, copy, success};

/// The registry of packages that name none.
pub const DEFAULT_REGISTRY: &str = "wa.dev";
/// Where a registry describes itself (RFC 8615 well-known URI).
const DESCRIPTION: &str = ".well-known/wasm-pkg/registry.json";
/// The protocol that is spoken here.
const OCI: &str = "oci";
/// Bytes of a description or a token.
const SMALL: u64 = 64 << 10;

/// A component in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    registry: String,
    namespace: String,
    name: String,
    /// SHA-256 in lower-case hex.
    digest: String,
}

/// What a registry says about itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Description {
    preferred_protocol: Option<String>,
    oci: Option<Oci>,
    // Older names of the same.
    oci_registry: Option<String>,
    oci_namespace_prefix: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Oci {
    registry: Option<String>,
    namespace_prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

impl Package {
    /// The package `namespace:name` whose content has this SHA-256, in `registry` or the default one.
    ///
    /// # Errors
    /// [`FetchError::Registry`] when a part is not of the form that registries use.
    pub fn new(registry: Option<&str>, package: &str, digest: &str) -> Result<Self, FetchError> {
        let registry = registry.unwrap_or(DEFAULT_REGISTRY);
        let uri = format!("{registry}/{package}");
        let wrong = |cause: &str| FetchError::Registry {
            uri: uri.clone(),
            cause: cause.to_owned(),
        };
        let host = Url::parse(&format!("https://{registry}/")).ok();
        let plain = host.is_some_and(|url| {
            url.path() == "/"
                && url.username().is_empty()
                && url.password().is_none()
                && !registry.contains(['?', '#', '/'])
        });
        if !plain {
            return Err(wrong("the registry must be a host, with a port if need be"));
        }
        let word = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        match package.split_once(':') {
            Some((namespace, name)) if word(namespace) && word(name) => Ok(Self {
                registry: registry.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                digest: digest.to_ascii_lowercase(),
            }),
            _ => Err(wrong(
                "a package is namespace:name, in lower-case letters, digits and hyphens",
            )),
        }
    }

    /// The package as texts name it.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{}/{}:{}", self.registry, self.namespace, self.name)
    }

    fn wrong(&self, cause: impl Into<String>) -> FetchError {
        FetchError::Registry {
            uri: self.uri(),
            cause: cause.into(),
        }
    }

    /// A URL at a registry. Only this machine itself is asked without protection.
    fn url(&self, registry: &str, path: &str) -> Result<Url, FetchError> {
        let url = |scheme: &str| Url::parse(&format!("{scheme}://{registry}/{path}"));
        let secure = url("https").map_err(|cause| self.wrong(format!("{registry:?} is not a host: {cause}")))?;
        let here = matches!(secure.host(), Some(Host::Domain("localhost")));
        if here {
            url("http").map_err(|cause| self.wrong(cause.to_string()))
        } else {
            Ok(secure)
        }
    }
}

impl Fetcher {
    /// Downloads a package into the sink that `open` makes.
    ///
    /// # Errors
    /// Any [`FetchError`]; what the sink holds is then incomplete. Whether the bytes have the digest is for the caller to
    /// check: a registry may answer anything.
    pub async fn fetch_package_into<S, F>(
        &self,
        package: &Package,
        limits: FetchLimits,
        mut open: F,
    ) -> Result<S, FetchError>
    where
        S: AsyncWrite + Unpin + Send,
        F: AsyncFnMut() -> std::io::Result<S>,
    {
        let uri = package.uri();
        let mut sink = open().await.map_err(|cause| FetchError::Sink {
            uri: uri.clone(),
            cause,
        })?;
        let run = async {
            let blob = self.blob(package, limits).await?;
            let response = self.authorized(package, &blob, limits).await?;
            copy(&uri, response, limits, &mut sink).await
        };
        timeout(limits.total, run).await.map_err(|_| FetchError::TimedOut {
            uri: uri.clone(),
            limit: limits.total,
        })??;
        Ok(sink)
    }

    /// Where the content of the package is.
    async fn blob(&self, package: &Package, limits: FetchLimits) -> Result<Url, FetchError> {
        let at = package.url(&package.registry, DESCRIPTION)?;
        let description = match self.json::<Description>(package, at, limits).await {
            Ok(description) => description,
            // One that does not describe itself keeps its packages itself.
            Err(FetchError::Status { status: 404, .. }) => Description::default(),
            Err(cause) => return Err(cause),
        };
        if let Some(protocol) = description.preferred_protocol.filter(|protocol| protocol != OCI) {
            return Err(package.wrong(format!(
                "the registry speaks {protocol:?}, and this node speaks OCI alone; use a registry with OCI, or a download source"
            )));
        }
        let oci = description.oci.unwrap_or_default();
        let registry = oci.registry.or(description.oci_registry);
        let prefix = oci
            .namespace_prefix
            .or(description.oci_namespace_prefix)
            .unwrap_or_default();
        let Package {
            namespace,
            name,
            digest,
            ..
        } = package;
        let path = format!("v2/{prefix}{namespace}/{name}/blobs/sha256:{digest}");
        package.url(registry.as_deref().unwrap_or(&package.registry), &path)
    }

    /// The answer to a request, after asking for a token if the registry wants one.
    async fn authorized(
        &self,
        package: &Package,
        at: &Url,
        limits: FetchLimits,
    ) -> Result<reqwest::Response, FetchError> {
        let uri = package.uri();
        let attempt = Attempt::at(at.clone());
        let response = self.follow(&uri, &attempt, &Ask::default(), limits).await?;
        if response.status() != reqwest::StatusCode::UNAUTHORIZED {
            return success(&uri, response);
        }
        let challenge = response
            .headers()
            .get(reqwest::header::WWW_AUTHENTICATE)
            .and_then(|challenge| challenge.to_str().ok())
            .and_then(token_url)
            .ok_or_else(|| package.wrong("it takes credentials, and this node has none for registries"))?;
        let Token { token } = self.json(package, challenge, limits).await?;
        let ask = Ask {
            authorization: Some(format!("Bearer {token}")),
            ..Ask::default()
        };
        success(&uri, self.follow(&uri, &attempt, &ask, limits).await?)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        package: &Package,
        at: Url,
        limits: FetchLimits,
    ) -> Result<T, FetchError> {
        let uri = package.uri();
        let small = FetchLimits {
            max_bytes: SMALL,
            ..limits
        };
        let response = self.open(&uri, &Attempt::at(at), &Ask::default(), small).await?;
        let mut bytes = Vec::new();
        copy(&uri, response, small, &mut bytes).await?;
        serde_json::from_slice(&bytes).map_err(|cause| package.wrong(format!("its answer cannot be read: {cause}")))
    }
}

/// Where the token is that a challenge asks for (`Bearer realm="…",service="…",scope="…"`, RFC 6750).
fn token_url(challenge: &str) -> Option<Url> {
    let (scheme, parameters) = challenge.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    // Values are quoted, and may hold commas: every second part is one.
    let parts: Vec<_> = parameters.split('"').collect();
    let value = |name: &str| {
        parts.chunks_exact(2).find_map(|pair| {
            let key = pair[0].trim_matches([',', ' ']).strip_suffix('=')?;
            key.eq_ignore_ascii_case(name).then_some(pair[1])
        })
    };
    let mut url = Url::parse(value("realm")?).ok()?;
    if url.scheme() != "https" && url.host() != Some(Host::Domain("localhost")) {
        return None;
    }
    for name in ["service", "scope"] {
        if let Some(value) = value(name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";

    #[test]
    fn names_are_checked_before_they_become_paths() {
        let package = Package::new(None, "wavs:echo", DIGEST).unwrap();
        assert_eq!(package.uri(), "wa.dev/wavs:echo");
        assert!(Package::new(Some("localhost:8090"), "wavs:echo-2", DIGEST).is_ok());
        for (registry, name) in [
            ("wa.dev", "echo"),
            ("wa.dev", "a:b:c"),
            ("wa.dev", "../x:y"),
            ("wa.dev", "a/b:c"),
            ("wa.dev", ":"),
            ("wa.dev/x", "a:b"),
            ("user@wa.dev", "a:b"),
            ("wa.dev?x", "a:b"),
            ("", "a:b"),
        ] {
            assert!(Package::new(Some(registry), name, DIGEST).is_err(), "{registry} {name}");
        }
    }

    #[test]
    fn a_challenge_names_where_the_token_is() {
        let url =
            token_url(r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a/b:pull,push""#);
        assert_eq!(
            url.unwrap().as_str(),
            "https://ghcr.io/token?service=ghcr.io&scope=repository%3Aa%2Fb%3Apull%2Cpush"
        );
        for challenge in [
            "Basic realm=\"x\"",
            "Bearer service=\"x\"",
            "Bearer realm=\"http://x/\"",
            "Bearer",
            "",
        ] {
            assert!(token_url(challenge).is_none(), "{challenge}");
        }
    }
}
