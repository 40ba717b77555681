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

use super::connect::connect;
use super::pattern::Destination;
use super::permit::GuestEgress;
use super::response::GuestBody;
use crate::limits::{BODY_CHUNK, HEADER_BYTES};

/// Most requests of one run in flight; the next one fails with `connection-limit-reached`.
const MAX_IN_FLIGHT: usize = 32;
/// Longest time for resolving, connecting and the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time to the first byte of the response, and between two of its bytes.
const SILENCE: Duration = Duration::from_secs(30);

/// The request hook of one run.
pub(crate) struct HttpHooks {
    egress: Arc<GuestEgress>,
    in_flight: Arc<Semaphore>,
    deadline: Instant,
}

type Transfer = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl HttpHooks {
    /// Requests within `egress`, none of which outlives `deadline`.
    pub(crate) fn new(egress: Arc<GuestEgress>, deadline: Instant) -> Self {
        Self {
            egress,
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            deadline,
        }
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
        let egress = self.egress.clone();
        let slot = self.in_flight.clone().try_acquire_owned();
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        Box::new(async move {
            let slot = slot.map_err(|_| Error::ConnectionLimitReached)?;
            send(&egress, request, options.unwrap_or_default(), remaining, slot)
                .await
                .inspect_err(|cause| {
                    tracing::debug!(target: "wavs_engine::egress", %cause, "a guest's request failed");
                })
        })
    }
}

async fn send(
    egress: &GuestEgress,
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
    let stream = connect(egress, &destination, within(options.connect_timeout, CONNECT)).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    rewrite(&mut request)?;
    // The connection makes progress only when polled; the task ends with the request, or with the transfer below.
    let connection = wasmtime_wasi::runtime::spawn(async move { connection.await.map_err(Error::from) });
    let response = timeout(
        within(options.first_byte_timeout, SILENCE),
        sender.send_request(request),
    )
    .await
    .map_err(|_| Error::ConnectionReadTimeout)??;
    let silence = within(options.between_bytes_timeout, SILENCE);
    let response = response.map(|body| GuestBody::new(body, silence, slot).boxed_unsync());
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
