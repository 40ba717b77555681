//! A stream of frames as tarpc wants it: length-delimited, decoded, and never stuck in the middle of a frame.
//!
//! A frame is a big-endian u32 length and that many bytes. A peer that begins a frame and does not finish it, or that
//! does not read what is sent to it, loses the connection after a bounded time. An idle peer may stay.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;
use tokio_serde::{Deserializer, Serializer};
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec};

use crate::bounds::{MAX_FRAME, MAX_PAYLOAD};

/// Why a frame could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The socket failed, or the peer sent a frame above [`MAX_FRAME`].
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The bytes of a frame are not a message of the contract.
    #[error("the peer sent a frame that is no message of this contract: {0}")]
    Decode(String),
    /// A value has no wire form. Nothing was sent.
    #[error("cannot encode the message: {0}")]
    Encode(String),
    /// A message is larger than may be sent. Nothing was sent.
    #[error("the message has {size} bytes, more than the {MAX_PAYLOAD} that fit; send less")]
    TooLarge {
        /// Its encoded size in bytes.
        size: usize,
    },
    /// The peer stopped in the middle of a frame.
    #[error("the peer did not finish {direction} a frame within {timeout:?}")]
    Stalled {
        /// `sending` or `reading`.
        direction: &'static str,
        /// The time that it had.
        timeout: Duration,
    },
}

/// Frames over `S`: items come in, messages go out, `K` is the codec of both.
pub(crate) struct Transport<S, Item, Message, K> {
    frames: Framed<S, Frames>,
    codec: K,
    timeout: Duration,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
    types: PhantomData<fn(Message) -> Item>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, Item, Message, K> Transport<S, Item, Message, K> {
    /// Frames over `stream`, each of which may take `timeout` once begun.
    pub(crate) fn new(stream: S, codec: K, timeout: Duration) -> Self {
        let frames = Framed::new(stream, Frames::new());
        Self {
            frames,
            codec,
            timeout,
            reading: None,
            writing: None,
            types: PhantomData,
        }
    }

    fn written(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<()>>) -> Poll<Result<(), TransportError>> {
        match progress {
            Poll::Ready(done) => {
                self.writing = None;
                Poll::Ready(done.map_err(TransportError::Io))
            }
            Poll::Pending => expired(&mut self.writing, self.timeout, "reading", cx).map(Err),
        }
    }
}

impl<S, Item, Message, K> Unpin for Transport<S, Item, Message, K> {}

impl<S, Item, Message, K> Stream for Transport<S, Item, Message, K>
where
    S: AsyncRead + AsyncWrite + Unpin,
    K: Deserializer<Item, Error = TransportError> + Unpin,
{
    type Item = Result<Item, TransportError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match this.frames.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.reading = None;
                Poll::Ready(Some(Pin::new(&mut this.codec).deserialize(&frame)))
            }
            Poll::Ready(Some(Err(cause))) => Poll::Ready(Some(Err(TransportError::Io(cause)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.frames.codec().partial => {
                expired(&mut this.reading, this.timeout, "sending", cx).map(|error| Some(Err(error)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S, Item, Message, K> Sink<Message> for Transport<S, Item, Message, K>
where
    S: AsyncRead + AsyncWrite + Unpin,
    K: Serializer<Message, Error = TransportError> + Unpin,
{
    type Error = TransportError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        let progress = this.frames.poll_ready_unpin(cx);
        this.written(cx, progress)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), TransportError> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.codec).serialize(&message)?;
        Ok(this.frames.start_send_unpin(frame)?)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        let progress = this.frames.poll_flush_unpin(cx);
        this.written(cx, progress)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        let progress = this.frames.poll_close_unpin(cx);
        this.written(cx, progress)
    }
}

/// The error of a frame that took too long; the clock starts with the first call.
fn expired(
    timer: &mut Option<Pin<Box<Sleep>>>,
    timeout: Duration,
    direction: &'static str,
    cx: &mut Context<'_>,
) -> Poll<TransportError> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
    timer
        .as_mut()
        .poll(cx)
        .map(|()| TransportError::Stalled { direction, timeout })
}

/// The length-delimited codec, which also knows whether it waits for the rest of a frame.
struct Frames {
    inner: LengthDelimitedCodec,
    partial: bool,
}

impl Frames {
    fn new() -> Self {
        Self {
            inner: LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec(),
            partial: false,
        }
    }
}

impl Decoder for Frames {
    type Item = BytesMut;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        // The inner codec may take the length off the buffer, so an empty buffer alone does not mean "between frames".
        let began = !bytes.is_empty();
        let frame = self.inner.decode(bytes)?;
        self.partial = frame.is_none() && (self.partial || began);
        Ok(frame)
    }
}

impl Encoder<Bytes> for Frames {
    type Error = io::Error;

    fn encode(&mut self, frame: Bytes, bytes: &mut BytesMut) -> io::Result<()> {
        self.inner.encode(frame, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_frame_is_noticed_at_every_cut() {
        let mut whole = BytesMut::new();
        Frames::new().encode(Bytes::from_static(b"frame"), &mut whole).unwrap();
        for cut in 0..whole.len() {
            let mut frames = Frames::new();
            let mut bytes = BytesMut::from(&whole[..cut]);
            assert!(frames.decode(&mut bytes).unwrap().is_none());
            assert_eq!(frames.partial, cut > 0, "after {cut} bytes");
            bytes.extend_from_slice(&whole[cut..]);
            assert_eq!(frames.decode(&mut bytes).unwrap().unwrap(), &b"frame"[..]);
            assert!(frames.decode(&mut bytes).unwrap().is_none());
            assert!(!frames.partial);
        }
    }
}
