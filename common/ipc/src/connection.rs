//! One connection after its preamble: requests in, handlers started, answers out.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tarpc::context::Context;
use tarpc::server::{self, BaseChannel, Channel};
use tarpc::{ClientMessage, Response, ServerError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bounds::RESPONSE_BUFFER;
use crate::codec::{ServerCodec, into_server_error};
use crate::contract_table::Contract;
use crate::error::{ErrorCode, WireError};
use crate::socket::Stream;
use crate::transport::Transport;

/// What the connections of one socket share.
pub(crate) struct Running {
    /// One per handler that runs.
    pub(crate) permits: Arc<Semaphore>,
    /// The handlers that run, whether or not somebody waits for them.
    pub(crate) handlers: TaskTracker,
    /// No more handlers are started; what is in flight is answered.
    pub(crate) stop: CancellationToken,
    /// Callers of handlers that still run are told that they will not be answered.
    pub(crate) cut_off: CancellationToken,
    /// The connections end at once.
    pub(crate) abandon: CancellationToken,
    /// Requests in flight on one connection.
    pub(crate) in_flight: usize,
    /// Time that one frame may take.
    pub(crate) frame_timeout: Duration,
}

type Incoming<C> = ClientMessage<<C as Contract>::Request>;
type Outgoing<C> = Response<<C as Contract>::Response>;

/// Serves contract `C` on `stream` until either side ends it.
pub(crate) async fn serve<C, F, Fut>(stream: Stream, handler: Arc<F>, running: Arc<Running>)
where
    C: Contract,
    F: Fn(Context, C::Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C::Response, ServerError>> + Send + 'static,
{
    let frames = Transport::<_, Incoming<C>, Outgoing<C>, _>::new(stream, ServerCodec, running.frame_timeout);
    // To tarpc the end looks like a client that has no more requests: it answers what is in flight, then ends.
    let (end, executing) = (CancellationToken::new(), TaskTracker::new());
    let transport = frames.take_until(end.clone().cancelled_owned());
    let config = server::Config {
        pending_response_buffer: RESPONSE_BUFFER,
    };
    let requests = BaseChannel::new(config, transport)
        .max_concurrent_requests(running.in_flight)
        .requests();
    tokio::pin!(requests);
    loop {
        let next = tokio::select! {
            biased;
            () = running.abandon.cancelled() => return,
            // What has arrived is answered first.
            next = requests.next() => next,
            () = idle_after_stop(&running, &executing), if !end.is_cancelled() => {
                end.cancel();
                continue;
            }
        };
        let request = match next {
            None => return,
            Some(Ok(request)) => request,
            Some(Err(cause)) => {
                let cause = &cause as &dyn std::error::Error;
                tracing::warn!(
                    contract = C::NAME,
                    error = %cause.source().unwrap_or(cause),
                    "closed a connection that broke the protocol or failed"
                );
                return;
            }
        };
        let (handler, running) = (Arc::clone(&handler), Arc::clone(&running));
        let answer = server::serve(move |context, request| guarded(handler, context, request, running));
        // Bounded by `in_flight`: tarpc answers a further request itself and does not yield it.
        executing.spawn(request.execute(answer));
    }
}

/// Completes after a stop, when nothing of the connection is in flight. Until then its further requests are read and refused, so
/// that their callers need not wonder what became of them.
async fn idle_after_stop(running: &Running, executing: &TaskTracker) {
    running.stop.cancelled().await;
    executing.close();
    executing.wait().await;
}

/// Runs one handler in a task of its own, so that it outlives its caller and its panic ends nothing else.
async fn guarded<F, Fut, Req, Resp>(
    handler: Arc<F>,
    context: Context,
    request: Req,
    running: Arc<Running>,
) -> Result<Resp, ServerError>
where
    F: Fn(Context, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, ServerError>> + Send + 'static,
    Req: Send + 'static,
    Resp: Send + 'static,
{
    if running.stop.is_cancelled() {
        let draining = WireError::backoff(ErrorCode::Draining, "the process is shutting down; nothing was started");
        return Err(into_server_error(draining));
    }
    let Ok(permit) = Arc::clone(&running.permits).try_acquire_owned() else {
        let busy = WireError::backoff(
            ErrorCode::Busy,
            "too many requests are running in this process; try again later",
        );
        return Err(into_server_error(busy));
    };
    let task = running.handlers.spawn(async move {
        let outcome = handler(context, request).await;
        drop(permit);
        outcome
    });
    let ended = tokio::select! {
        biased;
        ended = task => ended,
        () = running.cut_off.cancelled() => {
            let cut_off = WireError::ambiguous(ErrorCode::Draining, "the process was stopped before the request was done");
            return Err(into_server_error(cut_off));
        }
    };
    match ended {
        Ok(outcome) => outcome,
        Err(failure) if failure.is_panic() => Err(into_server_error(WireError::ambiguous(
            ErrorCode::Internal,
            "the handler of this request panicked; its process goes on, see its log and report the bug",
        ))),
        Err(_) => Err(into_server_error(WireError::ambiguous(
            ErrorCode::Draining,
            "the process is shutting down",
        ))),
    }
}
