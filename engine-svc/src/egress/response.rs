//! The body of a response on its way to a guest: bounded in size, in silence, and in its share of the requests in flight.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

/// A response body under the limits of the host.
pub(super) struct GuestBody {
    incoming: Incoming,
    received: u64,
    /// The next byte fails the body with `HTTP-response-body-size`.
    most: u64,
    silence: Duration,
    timer: Pin<Box<Sleep>>,
    // Held until the guest has read the body or dropped it, since the connection is open as long.
    _in_flight: OwnedSemaphorePermit,
}

impl GuestBody {
    /// A body of at most `most` bytes.
    pub(super) fn new(incoming: Incoming, most: u64, silence: Duration, in_flight: OwnedSemaphorePermit) -> Self {
        Self {
            incoming,
            received: 0,
            most,
            silence,
            timer: Box::pin(sleep(silence)),
            _in_flight: in_flight,
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(cause))) => Poll::Ready(Some(Err(Error::from(cause)))),
            Poll::Ready(Some(Ok(frame))) => {
                let silence = self.silence;
                self.timer.as_mut().reset(Instant::now() + silence);
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.received > self.most {
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(self.most)))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                ready!(self.timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
