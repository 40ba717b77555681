//! One bounded download after the other.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use reqwest::redirect;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use url::{Host, Url};

use crate::error::FetchError;
use crate::ipfs::Gateways;
use crate::policy::AddressPolicy;

/// Most redirects of one download; the next one fails it.
const MAX_REDIRECTS: usize = 5;
/// Time for resolving the name, and for making the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the one retry of a transient failure.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The bounds of one download.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Most bytes of the body.
    pub max_bytes: u64,
    /// Longest time without a byte.
    pub stall: Duration,
    /// Longest time in all, redirects and the retry included.
    pub total: Duration,
}

/// Downloads by URI under an address policy.
#[derive(Debug, Clone)]
pub struct Fetcher {
    policy: AddressPolicy,
    gateways: Gateways,
}

/// A hop whose addresses are checked.
struct Hop {
    url: Url,
    /// The host as a domain, with the checked addresses; absent for an address literal.
    pinned: Option<(String, Vec<SocketAddr>)>,
}

impl Fetcher {
    /// A fetcher for http, https and, through `gateways`, ipfs.
    #[must_use]
    pub fn new(policy: AddressPolicy, gateways: Gateways) -> Self {
        Self { policy, gateways }
    }

    /// Downloads into memory.
    ///
    /// # Errors
    /// Any [`FetchError`].
    pub async fn fetch(&self, uri: &str, limits: FetchLimits) -> Result<Vec<u8>, FetchError> {
        let mut last = None;
        for attempt in self.attempts(uri)? {
            let mut bytes = Vec::new();
            match self.attempt(uri, &attempt, limits, &mut bytes).await {
                Ok(()) => return Ok(bytes),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| FetchError::Transfer {
            uri: shown(uri),
            cause: "no IPFS gateway is configured".into(),
        }))
    }

    /// Downloads into the sink that `open` makes; a failed attempt is followed by another into a fresh sink.
    ///
    /// # Errors
    /// Any [`FetchError`]; what the last sink holds is then incomplete.
    pub async fn fetch_into<S, F>(&self, uri: &str, limits: FetchLimits, mut open: F) -> Result<S, FetchError>
    where
        S: AsyncWrite + Unpin + Send,
        F: AsyncFnMut() -> std::io::Result<S>,
    {
        let mut last = None;
        for attempt in self.attempts(uri)? {
            let mut sink = open()
                .await
                .map_err(|cause| FetchError::Sink { uri: shown(uri), cause })?;
            match self.attempt(uri, &attempt, limits, &mut sink).await {
                Ok(()) => return Ok(sink),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| FetchError::Transfer {
            uri: shown(uri),
            cause: "no IPFS gateway is configured".into(),
        }))
    }

    /// Where to try, in order. The operator chose the gateways, so they are exempt from the address policy.
    fn attempts(&self, uri: &str) -> Result<Vec<Attempt>, FetchError> {
        let scheme = uri
            .split_once(':')
            .map_or("", |(scheme, _)| scheme)
            .to_ascii_lowercase();
        match scheme.as_str() {
            "http" | "https" => {
                let url = Url::parse(uri).map_err(|cause| FetchError::Uri {
                    uri: shown(uri),
                    cause: cause.to_string(),
                })?;
                Ok(vec![Attempt { url, exempt: false }])
            }
            "ipfs" => self
                .gateways
                .resolve(uri)
                .map(|urls| urls.into_iter().map(|url| Attempt { url, exempt: true }).collect())
                .map_err(|cause| FetchError::Uri {
                    uri: shown(uri),
                    cause: cause.to_string(),
                }),
            _ => Err(FetchError::Scheme {
                uri: shown(uri),
                scheme,
            }),
        }
    }

    async fn attempt<S>(
        &self,
        uri: &str,
        attempt: &Attempt,
        limits: FetchLimits,
        sink: &mut S,
    ) -> Result<(), FetchError>
    where
        S: AsyncWrite + Unpin + Send,
    {
        let deadline = Instant::now() + limits.total;
        let run = async {
            let mut retried = false;
            let response = loop {
                match self.open(uri, attempt, limits).await {
                    Ok(response) => break response,
                    Err(error) if error.is_transient() && !retried => {
                        retried = true;
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                    Err(error) => return Err(error),
                }
            };
            copy(uri, response, limits, sink).await
        };
        timeout_at(deadline, run).await.map_err(|_| FetchError::TimedOut {
            uri: shown(uri),
            limit: limits.total,
        })?
    }

    /// Follows redirects by hand, since each hop is a new address to check.
    async fn open(&self, uri: &str, attempt: &Attempt, limits: FetchLimits) -> Result<reqwest::Response, FetchError> {
        let redirect = |cause: &str| FetchError::Redirect {
            uri: shown(uri),
            cause: cause.to_owned(),
        };
        let mut url = attempt.url.clone();
        let mut exempt = attempt.exempt;
        for _ in 0..=MAX_REDIRECTS {
            let hop = self.check(uri, url.clone(), exempt).await?;
            let response = request(uri, &hop, limits).await?;
            if !response.status().is_redirection() {
                return success(uri, response);
            }
            let target = response
                .headers()
                .get(reqwest::header::LOCATION)
                .and_then(|location| location.to_str().ok())
                .and_then(|location| hop.url.join(location).ok())
                .ok_or_else(|| redirect("it names no usable location"))?;
            if hop.url.scheme() == "https" && target.scheme() != "https" {
                return Err(redirect("it leads from https to an unprotected scheme"));
            }
            if !matches!(target.scheme(), "http" | "https") {
                return Err(redirect("it leaves http"));
            }
            // Only the gateway itself is exempt; subdomain gateways redirect within their own host name.
            exempt = exempt
                && target.host() == hop.url.host()
                && target.port_or_known_default() == hop.url.port_or_known_default();
            url = target;
        }
        Err(redirect("there were more than 5"))
    }

    async fn check(&self, uri: &str, url: Url, exempt: bool) -> Result<Hop, FetchError> {
        let no_host = || FetchError::Uri {
            uri: shown(uri),
            cause: "it has no host".to_owned(),
        };
        let port = url.port_or_known_default().ok_or_else(no_host)?;
        let host = url.host().ok_or_else(no_host)?.to_owned();
        let (name, addresses) = match &host {
            Host::Ipv4(address) => (address.to_string(), vec![SocketAddr::from((*address, port))]),
            Host::Ipv6(address) => (address.to_string(), vec![SocketAddr::from((*address, port))]),
            Host::Domain(name) => {
                let resolve = |cause: String| FetchError::Resolve {
                    uri: shown(uri),
                    host: name.clone(),
                    cause,
                };
                let found = timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((name.as_str(), port)))
                    .await
                    .map_err(|_| resolve(format!("no answer within {CONNECT_TIMEOUT:?}")))?
                    .map_err(|cause| resolve(cause.to_string()))?;
                (name.clone(), found.collect::<Vec<_>>())
            }
        };
        if addresses.is_empty() {
            return Err(FetchError::Resolve {
                uri: shown(uri),
                host: name,
                cause: "it has no address".to_owned(),
            });
        }
        let denied = addresses
            .iter()
            .find(|address| !exempt && !self.policy.permits(&name, address.ip(), port));
        if let Some(denied) = denied {
            return Err(FetchError::Denied {
                uri: shown(uri),
                host: name,
                address: denied.ip(),
            });
        }
        Ok(Hop {
            pinned: matches!(host, Host::Domain(_)).then_some((name, addresses)),
            url,
        })
    }
}

#[derive(Debug, Clone)]
struct Attempt {
    url: Url,
    exempt: bool,
}

async fn request(uri: &str, hop: &Hop, limits: FetchLimits) -> Result<reqwest::Response, FetchError> {
    let transfer = |cause: &reqwest::Error| FetchError::Transfer {
        uri: shown(uri),
        cause: causes(cause),
    };
    let mut builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(limits.stall)
        .user_agent(concat!("wavs/", env!("CARGO_PKG_VERSION")));
    if let Some((name, addresses)) = &hop.pinned {
        builder = builder.resolve_to_addrs(name, addresses);
    }
    let client = builder.build().map_err(|cause| transfer(&cause))?;
    client
        .get(hop.url.clone())
        .send()
        .await
        .map_err(|cause| transfer(&cause.without_url()))
}

fn success(uri: &str, response: reqwest::Response) -> Result<reqwest::Response, FetchError> {
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(FetchError::Status {
            uri: shown(uri),
            status: response.status().as_u16(),
        })
    }
}

async fn copy<S>(uri: &str, response: reqwest::Response, limits: FetchLimits, sink: &mut S) -> Result<(), FetchError>
where
    S: AsyncWrite + Unpin + Send,
{
    let too_large = || FetchError::TooLarge {
        uri: shown(uri),
        limit: limits.max_bytes,
    };
    if response
        .content_length()
        .is_some_and(|length| length > limits.max_bytes)
    {
        return Err(too_large());
    }
    let mut received = 0_u64;
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|cause| FetchError::Transfer {
            uri: shown(uri),
            cause: causes(&cause.without_url()),
        })?;
        received += chunk.len() as u64;
        if received > limits.max_bytes {
            return Err(too_large());
        }
        sink.write_all(&chunk)
            .await
            .map_err(|cause| FetchError::Sink { uri: shown(uri), cause })?;
    }
    sink.flush()
        .await
        .map_err(|cause| FetchError::Sink { uri: shown(uri), cause })
}

/// The whole chain of causes: the outermost text of an HTTP client alone rarely says what happened.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A URI as it may appear in logs and answers: without user info and query, which may carry keys.
fn shown(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(mut url) if matches!(url.scheme(), "http" | "https") => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            if url.query().is_some() {
                url.set_query(Some("***"));
            }
            url.to_string()
        }
        _ => uri.chars().take(256).collect(),
    }
}
