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
    /// How long the guest waits for the next frame. What it does between two frames is no silence of the server.
    silence: Duration,
    timer: Pin<Box<Sleep>>,
    /// The guest waits, and the timer runs.
    waiting: bool,
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
            waiting: false,
            _in_flight: in_flight,
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = Pin::new(&mut self.incoming).poll_frame(cx);
        let waited = std::mem::replace(&mut self.waiting, next.is_pending());
        match next {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(cause))) => Poll::Ready(Some(Err(Error::from(cause)))),
            Poll::Ready(Some(Ok(frame))) => {
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.received > self.most {
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(self.most)))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                if !waited {
                    let end = Instant::now() + self.silence;
                    self.timer.as_mut().reset(end);
                }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::{BodyExt, Empty};
    use hyper::Request;
    use hyper::client::conn::http1;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use wasmtime_wasi_http::io::TokioIo;

    use super::*;

    const SILENCE: Duration = Duration::from_secs(5);

    /// The body of an answer of ten bytes, of which the server has sent none yet.
    async fn body() -> (GuestBody, DuplexStream) {
        let (client, mut server) = duplex(1 << 10);
        let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let answer = async {
            assert_ne!(server.read(&mut [0; 1 << 10]).await.unwrap(), 0);
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
            server.write_all(head).await.unwrap();
        };
        let request = Request::new(Empty::<Bytes>::new());
        let (response, ()) = tokio::join!(sender.send_request(request), answer);
        let incoming = response.unwrap().into_body();
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (GuestBody::new(incoming, 100, SILENCE, slot), server)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_what_the_guest_waits_for_the_server() {
        let (mut body, mut server) = body().await;
        // The guest is busy for longer than that before each read, and the server needs a little for what is read then.
        for _ in 0..3 {
            tokio::time::sleep(SILENCE * 3).await;
            let send = async {
                tokio::time::sleep(SILENCE / 2).await;
                server.write_all(b"x").await.unwrap();
            };
            let (frame, ()) = tokio::join!(body.frame(), send);
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "x");
        }
        let began = Instant::now();
        let cause = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(cause, Error::ConnectionReadTimeout), "{cause:?}");
        let took = began.elapsed();
        assert!(took >= SILENCE && took < SILENCE * 2, "{took:?}");
    }
}
