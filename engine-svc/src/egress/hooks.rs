//! Outgoing requests of guests: `wasi:http/outgoing-handler`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Response, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};
use wavs_service::config::GuestLimits;

use super::connect::connect;
use super::denials::{Denial, Denials};
use super::destination::Destination;
use super::permit::GuestEgress;
use super::response::GuestBody;
use crate::limits::BODY_CHUNK;

/// Least bytes of the buffer of a connection; the library panics at fewer.
const LEAST_BUFFER: usize = 8 << 10;

/// The request hook of one run.
pub(crate) struct HttpHooks {
    egress: Arc<GuestEgress>,
    denials: Arc<Denials>,
    limits: GuestLimits,
    /// As many as requests may be under way; the next one fails with `connection-limit-reached`.
    in_flight: Arc<Semaphore>,
    /// The process has no descriptor for another connection; the next request fails like one too many.
    pub(crate) crowded: bool,
    deadline: Instant,
}

type Transfer = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl HttpHooks {
    /// Requests within `egress`, none of which outlives `deadline`. Others are refused and counted.
    pub(crate) fn new(egress: Arc<GuestEgress>, denials: Arc<Denials>, limits: GuestLimits, deadline: Instant) -> Self {
        Self {
            egress,
            denials,
            limits,
            in_flight: Arc::new(Semaphore::new(limits.http_requests.min(Semaphore::MAX_PERMITS))),
            crowded: false,
            deadline,
        }
    }

    /// Requests that hold a connection, or are about to.
    pub(crate) fn under_way(&self) -> usize {
        self.limits
            .http_requests
            .saturating_sub(self.in_flight.available_permits())
    }
}

impl WasiHttpHooks for HttpHooks {
    // Other schemes are refused by the request itself, because guests trap on an error of `handle`.
    fn is_supported_scheme(&mut self, _scheme: &Scheme) -> bool {
        true
    }

    // Requests that are never sent keep their pieces, and a run may hold many.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _result: Transfer,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Transfer), Error>> + Send> {
        let (egress, denials, limits) = (self.egress.clone(), self.denials.clone(), self.limits);
        let slot = self
            .in_flight
            .clone()
            .try_acquire_owned()
            .ok()
            .filter(|_| !self.crowded);
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        Box::new(async move {
            let slot = slot.ok_or(Error::ConnectionLimitReached)?;
            send(&egress, &limits, request, options.unwrap_or_default(), remaining, slot)
                .await
                .inspect_err(|cause| {
                    match cause {
                        Error::HttpRequestDenied => denials.count(Denial::Host),
                        Error::DestinationIpProhibited => denials.count(Denial::Address),
                        _ => {}
                    }
                    tracing::debug!(target: "wavs_engine::egress", %cause, "a guest's request failed");
                })
        })
    }
}

async fn send(
    egress: &GuestEgress,
    limits: &GuestLimits,
    mut request: Request<WasiBody>,
    options: RequestOptions,
    remaining: Duration,
    slot: OwnedSemaphorePermit,
) -> Result<(Response<WasiBody>, Transfer), Error> {
    let within = |asked: Option<Duration>, limit: Duration| asked.unwrap_or(limit).min(limit).min(remaining);
    let destination = destination(request.uri())?;
    if !egress.permits_request(&destination) {
        return Err(Error::HttpRequestDenied);
    }
    let stream = connect(
        egress,
        &destination,
        within(options.connect_timeout, limits.http_connect),
    )
    .await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(limits.http_headers.max(LEAST_BUFFER))
        .handshake(TokioIo::new(stream))
        .await?;
    rewrite(&mut request)?;
    // The connection makes progress only when polled; the task ends with the request, or with the transfer below.
    let connection = wasmtime_wasi::runtime::spawn(async move { connection.await.map_err(Error::from) });
    let response = timeout(
        within(options.first_byte_timeout, limits.http_silence),
        sender.send_request(request),
    )
    .await
    .map_err(|_| Error::ConnectionReadTimeout)??;
    let silence = within(options.between_bytes_timeout, limits.http_silence);
    let response = response.map(|body| GuestBody::new(body, limits.http_body, silence, slot).boxed_unsync());
    Ok((response, Box::new(connection)))
}

fn destination(uri: &Uri) -> Result<Destination, Error> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let scheme = uri.scheme_str().unwrap_or("https");
    if !matches!(scheme, "http" | "https") {
        return Err(Error::HttpProtocolError);
    }
    Destination::of(scheme, authority.host(), authority.port_u16()).ok_or(Error::HttpRequestUriInvalid)
}

/// The form that goes to an origin server: path and query only, and a host header without user information.
fn rewrite(request: &mut Request<WasiBody>) -> Result<(), Error> {
    let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
    let host = match authority.port() {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_owned(),
    };
    let host = HeaderValue::try_from(host).map_err(|_| Error::HttpRequestUriInvalid)?;
    let path = request
        .uri()
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    request.headers_mut().insert(HOST, host);
    *request.uri_mut() = Uri::from(path);
    Ok(())
}
