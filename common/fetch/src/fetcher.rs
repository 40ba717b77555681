//! One bounded download after the other.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use reqwest::redirect;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use url::{Host, Url};

use crate::car::ContentError;
use crate::content::{Content, Verify};
use crate::error::FetchError;
use crate::ipfs::Gateways;
use crate::policy::AddressPolicy;

/// Most redirects of one download; the next one fails it.
const MAX_REDIRECTS: usize = 5;
/// Time for resolving the name, and for making the connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the one retry of a transient failure.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The type of an archive of blocks (IANA media types), which a gateway makes of one file when asked by its query.
const CAR: &str = "application/vnd.ipld.car";
/// What an archive may have beyond the file in it: one part in so many, and a little for small files.
const ARCHIVE_SHARE: u64 = 16;
const ARCHIVE_LEAST: u64 = 1 << 20;

/// The bounds of one download.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FetchLimits {
    /// Most bytes of the body.
    pub max_bytes: u64,
    /// Longest time without a byte.
    pub stall: Duration,
    /// Longest time in all at one place, redirects and the second try included.
    pub total: Duration,
}

/// Downloads by URI under an address policy. It can be handed to another process, which then downloads in the same way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fetcher {
    policy: AddressPolicy,
    gateways: Gateways,
    verify: Verify,
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
        Self {
            policy,
            gateways,
            verify: Verify::default(),
        }
    }

    /// Checks what comes from gateways in this way.
    #[must_use]
    pub fn verifying(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Downloads into memory.
    ///
    /// # Errors
    /// Any [`FetchError`].
    pub async fn fetch(&self, uri: &str, limits: FetchLimits) -> Result<Vec<u8>, FetchError> {
        self.fetch_into(uri, limits, async || Ok(Vec::new())).await
    }

    /// Downloads into the sink that `open` makes, with one more try after a transient failure, at each place that the URI stands
    /// for. A failed try is followed by another into a fresh sink.
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
            let deadline = Instant::now() + limits.total;
            for is_last in [false, true] {
                let sink = open().await;
                let mut sink = sink.map_err(|cause| FetchError::Sink { uri: shown(uri), cause })?;
                let error = match self.attempt(uri, &attempt, limits, deadline, &mut sink).await {
                    Ok(()) => return Ok(sink),
                    Err(error) => error,
                };
                let again = !is_last && error.is_transient() && Instant::now() + RETRY_PAUSE < deadline;
                last = Some(error);
                if !again {
                    break;
                }
                tokio::time::sleep(RETRY_PAUSE).await;
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
                Ok(vec![Attempt::at(url)])
            }
            "ipfs" => {
                let (content, urls) = self.gateways.locate(uri).map_err(|cause| FetchError::Uri {
                    uri: shown(uri),
                    cause: cause.to_string(),
                })?;
                let content = (self.verify != Verify::Off).then_some(content);
                let attempt = |url| Attempt {
                    url,
                    exempt: true,
                    content: content.clone(),
                };
                Ok(urls.into_iter().map(attempt).collect())
            }
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
        deadline: Instant,
        sink: &mut S,
    ) -> Result<(), FetchError>
    where
        S: AsyncWrite + Unpin + Send,
    {
        let run = async {
            let verified = match &attempt.content {
                Some(content) => self.verified(uri, attempt, content, limits).await?,
                None => None,
            };
            match verified {
                Some(bytes) => store(uri, sink, &bytes).await,
                None => {
                    let response = self.open(uri, attempt, None, limits).await?;
                    copy(uri, response, limits, sink).await
                }
            }
        };
        timeout_at(deadline, run).await.map_err(|_| FetchError::TimedOut {
            uri: shown(uri),
            limit: limits.total,
        })?
    }

    /// The content after a check against its id; nothing if it cannot be checked and need not be.
    async fn verified(
        &self,
        uri: &str,
        attempt: &Attempt,
        content: &Content,
        limits: FetchLimits,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        let checked = if content.is_file_hash() {
            let response = self.open(uri, attempt, None, limits).await?;
            let mut bytes = Vec::new();
            copy(uri, response, limits, &mut bytes).await?;
            content.check_file(&bytes).map(|()| bytes)
        } else {
            self.assembled(uri, attempt, content, limits).await?
        };
        match checked {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ContentError::Corrupt(cause)) => Err(FetchError::Corrupt { uri: shown(uri), cause }),
            Err(ContentError::Unverifiable(cause)) if self.verify == Verify::Require => {
                Err(FetchError::Unverifiable { uri: shown(uri), cause })
            }
            Err(ContentError::Unverifiable(cause)) => {
                tracing::warn!(uri = shown(uri), cause, "content of a gateway is taken without a check");
                Ok(None)
            }
        }
    }

    /// The file from the archive that the gateway makes of it.
    async fn assembled(
        &self,
        uri: &str,
        attempt: &Attempt,
        content: &Content,
        limits: FetchLimits,
    ) -> Result<Result<Vec<u8>, ContentError>, FetchError> {
        let mut archive = attempt.clone();
        archive.url.set_query(Some("format=car&dag-scope=entity"));
        let unverifiable = |cause: String| Ok(Err(ContentError::Unverifiable(cause)));
        let response = match self.open(uri, &archive, Some(CAR), limits).await {
            Ok(response) => response,
            // Gateways that make no archives refuse the form of the request.
            Err(FetchError::Status {
                status: status @ (400 | 405 | 406 | 415 | 501),
                ..
            }) => return unverifiable(format!("the gateway answered {status} to a request for a CAR file")),
            Err(cause) => return Err(cause),
        };
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
        if !kind.is_some_and(|kind| kind.as_bytes().starts_with(CAR.as_bytes())) {
            return unverifiable("the gateway serves no CAR files".to_owned());
        }
        let with_overhead = FetchLimits {
            max_bytes: limits.max_bytes + limits.max_bytes / ARCHIVE_SHARE + ARCHIVE_LEAST,
            ..limits
        };
        let mut bytes = Vec::new();
        copy(uri, response, with_overhead, &mut bytes).await?;
        Ok(content.assemble(&bytes, limits.max_bytes))
    }

    /// The successful answer to a request.
    async fn open(
        &self,
        uri: &str,
        attempt: &Attempt,
        accept: Option<&str>,
        limits: FetchLimits,
    ) -> Result<reqwest::Response, FetchError> {
        success(uri, self.follow(uri, attempt, accept, limits).await?)
    }

    /// Follows redirects by hand, since each hop is a new address to check.
    async fn follow(
        &self,
        uri: &str,
        attempt: &Attempt,
        accept: Option<&str>,
        limits: FetchLimits,
    ) -> Result<reqwest::Response, FetchError> {
        let redirect = |cause: &str| FetchError::Redirect {
            uri: shown(uri),
            cause: cause.to_owned(),
        };
        let mut url = attempt.url.clone();
        let mut exempt = attempt.exempt;
        for _ in 0..=MAX_REDIRECTS {
            let hop = self.check(uri, url.clone(), exempt).await?;
            let response = request(uri, &hop, accept, limits).await?;
            if !response.status().is_redirection() {
                return Ok(response);
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
            let same =
                target.host() == hop.url.host() && target.port_or_known_default() == hop.url.port_or_known_default();
            exempt = exempt && same;
            url = target;
        }
        Err(redirect("there were more than 5"))
    }

    async fn check(&self, uri: &str, url: Url, exempt: bool) -> Result<Hop, FetchError> {
        let (name, addresses) = self.addresses(uri, &url, exempt).await?;
        Ok(Hop {
            pinned: matches!(url.host(), Some(Host::Domain(_))).then_some((name, addresses)),
            url,
        })
    }

    /// The host of a URL and where it is, all of it checked.
    pub(crate) async fn addresses(
        &self,
        uri: &str,
        url: &Url,
        exempt: bool,
    ) -> Result<(String, Vec<SocketAddr>), FetchError> {
        let no_host = || FetchError::Uri {
            uri: shown(uri),
            cause: "it has no host".to_owned(),
        };
        let port = url.port_or_known_default().ok_or_else(no_host)?;
        let (name, addresses) = match url.host().ok_or_else(no_host)? {
            Host::Ipv4(address) => (address.to_string(), vec![SocketAddr::from((address, port))]),
            Host::Ipv6(address) => (address.to_string(), vec![SocketAddr::from((address, port))]),
            Host::Domain(name) => {
                let resolve = |cause: String| FetchError::Resolve {
                    uri: shown(uri),
                    host: name.to_owned(),
                    cause,
                };
                let found = timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((name, port)))
                    .await
                    .map_err(|_| resolve(format!("no answer within {CONNECT_TIMEOUT:?}")))?
                    .map_err(|cause| resolve(cause.to_string()))?;
                (name.to_owned(), found.collect::<Vec<_>>())
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
        Ok((name, addresses))
    }
}

/// A place to try.
#[derive(Debug, Clone)]
struct Attempt {
    url: Url,
    exempt: bool,
    /// What it must turn out to be, if that is to be checked.
    content: Option<Content>,
}

impl Attempt {
    /// A URL that a stranger chose.
    fn at(url: Url) -> Self {
        Self {
            url,
            exempt: false,
            content: None,
        }
    }
}

async fn request(
    uri: &str,
    hop: &Hop,
    accept: Option<&str>,
    limits: FetchLimits,
) -> Result<reqwest::Response, FetchError> {
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
    let mut request = client.get(hop.url.clone());
    if let Some(accept) = accept {
        request = request.header(reqwest::header::ACCEPT, accept);
    }
    request.send().await.map_err(|cause| transfer(&cause.without_url()))
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

async fn store<S>(uri: &str, sink: &mut S, bytes: &[u8]) -> Result<(), FetchError>
where
    S: AsyncWrite + Unpin + Send,
{
    let write = async {
        sink.write_all(bytes).await?;
        sink.flush().await
    };
    write.await.map_err(|cause| FetchError::Sink { uri: shown(uri), cause })
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
