//! What the frames hold: postcard of our own envelopes around the requests and responses of a contract.
//!
//! tarpc's messages are converted here and not sent as they are, for three reasons: the wire form stays ours when
//! tarpc changes, a deadline is clamped before tarpc can add it to a clock, and a whole call can fail with a
//! [`WireError`] (busy, panicked, too large) whatever the method returns.

use std::pin::Pin;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tarpc::{ClientMessage, Request, Response, ServerError};
use tokio_serde::{Deserializer, Serializer};
use tokio_util::bytes::{Bytes, BytesMut};

use crate::bounds::MAX_PAYLOAD;
use crate::deadline;
use crate::error::{ErrorCode, WireError};
use crate::transport::TransportError;

/// Client to server. Append only: the position of a variant is the wire form.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Up<R> {
    Call {
        id: u64,
        /// Time that the call may take from its arrival.
        deadline_ms: u32,
        trace: Trace,
        request: R,
    },
    /// The caller went away. The answer is not sent; the handler finishes all the same.
    Cancel { id: u64 },
}

/// Server to client.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Down<R> {
    id: u64,
    outcome: Result<R, WireError>,
}

/// Where a call belongs in a distributed trace; all zeros without tracing.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trace {
    id: u128,
    span: u64,
    sampled: bool,
}

impl Trace {
    fn of(context: &tarpc::trace::Context) -> Self {
        Self {
            id: context.trace_id.into(),
            span: context.span_id.into(),
            sampled: context.sampling_decision == tarpc::trace::SamplingDecision::Sampled,
        }
    }

    fn into_context(self) -> tarpc::trace::Context {
        use tarpc::trace::SamplingDecision::{Sampled, Unsampled};
        tarpc::trace::Context {
            trace_id: self.id.into(),
            span_id: self.span.into(),
            sampling_decision: if self.sampled { Sampled } else { Unsampled },
        }
    }
}

/// The client's side: requests out, responses in.
#[derive(Debug, Default)]
pub(crate) struct ClientCodec;

/// The server's side: requests in, responses out.
#[derive(Debug, Default)]
pub(crate) struct ServerCodec;

impl<R: Serialize> Serializer<ClientMessage<R>> for ClientCodec {
    type Error = TransportError;

    fn serialize(self: Pin<&mut Self>, message: &ClientMessage<R>) -> Result<Bytes, TransportError> {
        let up = match message {
            ClientMessage::Request(request) => Up::Call {
                id: request.id,
                deadline_ms: deadline::remaining_ms(&request.context),
                trace: Trace::of(&request.context.trace_context),
                request: &request.message,
            },
            ClientMessage::Cancel { request_id, .. } => Up::Cancel { id: *request_id },
            _ => {
                return Err(TransportError::Encode(
                    "a message that the wire form does not have".into(),
                ));
            }
        };
        let bytes = encode(&up)?;
        if bytes.len() > MAX_PAYLOAD {
            return Err(TransportError::TooLarge { size: bytes.len() });
        }
        Ok(bytes)
    }
}

impl<R: DeserializeOwned> Deserializer<Response<R>> for ClientCodec {
    type Error = TransportError;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> Result<Response<R>, TransportError> {
        let down: Down<R> = decode(bytes)?;
        Ok(Response {
            request_id: down.id,
            message: down.outcome.map_err(into_server_error),
        })
    }
}

impl<R: DeserializeOwned> Deserializer<ClientMessage<R>> for ServerCodec {
    type Error = TransportError;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> Result<ClientMessage<R>, TransportError> {
        Ok(match decode(bytes)? {
            Up::Call {
                id,
                deadline_ms,
                trace,
                request,
            } => {
                let mut context = deadline::context(std::time::Duration::from_millis(deadline_ms.into()));
                context.trace_context = trace.into_context();
                ClientMessage::Request(Request {
                    context,
                    id,
                    message: request,
                })
            }
            Up::Cancel { id } => ClientMessage::Cancel {
                trace_context: tarpc::trace::Context::default(),
                request_id: id,
            },
        })
    }
}

impl<R: Serialize> Serializer<Response<R>> for ServerCodec {
    type Error = TransportError;

    fn serialize(self: Pin<&mut Self>, response: &Response<R>) -> Result<Bytes, TransportError> {
        let id = response.request_id;
        let replaced = match &response.message {
            Ok(response) => match encode(&Down {
                id,
                outcome: Ok(response),
            }) {
                Ok(bytes) if bytes.len() <= MAX_PAYLOAD => return Ok(bytes),
                // The call may have had its effect, so this is an error of the answer alone.
                Ok(bytes) => WireError::never(
                    ErrorCode::TooLarge,
                    format!(
                        "the response has {} bytes, more than the {MAX_PAYLOAD} that fit; ask for less",
                        bytes.len()
                    ),
                ),
                Err(cause) => WireError::never(ErrorCode::Internal, format!("the response cannot be sent: {cause}")),
            },
            Err(error) => from_server_error(error),
        };
        encode(&Down::<()> {
            id,
            outcome: Err(replaced),
        })
    }
}

/// Carries `error` through tarpc, whose own error has room for a kind and a text.
pub(crate) fn into_server_error(error: WireError) -> ServerError {
    let detail = serde_json::to_string(&error).unwrap_or(error.detail);
    ServerError::new(std::io::ErrorKind::Other, detail)
}

/// The error that tarpc carried, or what its own errors mean.
pub(crate) fn from_server_error(error: &ServerError) -> WireError {
    if error.kind == std::io::ErrorKind::WouldBlock {
        return WireError::backoff(
            ErrorCode::Busy,
            "too many requests are in flight on this connection; try again later",
        );
    }
    serde_json::from_str(&error.detail)
        .unwrap_or_else(|_| WireError::ambiguous(ErrorCode::Internal, format!("the call failed: {}", error.detail)))
}

fn encode(value: &impl Serialize) -> Result<Bytes, TransportError> {
    postcard::to_stdvec(value)
        .map(Bytes::from)
        .map_err(|cause| TransportError::Encode(cause.to_string()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TransportError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(TransportError::Decode(format!("{} bytes are left over", rest.len()))),
        Err(cause) => Err(TransportError::Decode(cause.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::bounds::MAX_DEADLINE;

    fn call(deadline_ms: u32) -> Up<String> {
        Up::Call {
            id: 7,
            deadline_ms,
            trace: Trace {
                id: 1,
                span: 2,
                sampled: true,
            },
            request: "hi".into(),
        }
    }

    #[test]
    fn the_envelopes_are_frozen() {
        assert_eq!(encode(&call(1000)).unwrap(), &b"\x00\x07\xe8\x07\x01\x02\x01\x02hi"[..]);
        assert_eq!(encode(&Up::<String>::Cancel { id: 300 }).unwrap(), &b"\x01\xac\x02"[..]);
        assert_eq!(
            encode(&Down {
                id: 7,
                outcome: Ok("hi")
            })
            .unwrap(),
            &b"\x07\x00\x02hi"[..]
        );
        let error = Down::<()> {
            id: 7,
            outcome: Err(WireError::backoff(ErrorCode::Busy, "no")),
        };
        assert_eq!(encode(&error).unwrap(), &b"\x07\x01\x03\x01\x02no"[..]);
    }

    #[test]
    fn a_deadline_of_weeks_is_cut_before_tarpc_sees_it() {
        let bytes = BytesMut::from(&encode(&call(u32::MAX)).unwrap()[..]);
        let message: ClientMessage<String> = Pin::new(&mut ServerCodec).deserialize(&bytes).unwrap();
        let ClientMessage::Request(request) = message else {
            panic!("a request went in")
        };
        assert!(request.context.deadline <= Instant::now() + MAX_DEADLINE);
        assert!(request.context.deadline > Instant::now() + MAX_DEADLINE - Duration::from_secs(60));
        assert_eq!(u128::from(request.context.trace_context.trace_id), 1);
    }

    #[test]
    fn an_oversized_request_is_an_error_and_an_oversized_response_becomes_one() {
        let request = Request {
            context: deadline::context(Duration::from_secs(1)),
            id: 1,
            message: "x".repeat(MAX_PAYLOAD),
        };
        let refused = Pin::new(&mut ClientCodec).serialize(&ClientMessage::Request(request));
        assert!(matches!(refused, Err(TransportError::TooLarge { size }) if size > MAX_PAYLOAD));

        let response = Response {
            request_id: 9,
            message: Ok("x".repeat(MAX_PAYLOAD)),
        };
        let bytes = Pin::new(&mut ServerCodec).serialize(&response).unwrap();
        let back: Response<String> = Pin::new(&mut ClientCodec)
            .deserialize(&BytesMut::from(&bytes[..]))
            .unwrap();
        assert_eq!(back.request_id, 9);
        assert_eq!(from_server_error(&back.message.unwrap_err()).code, ErrorCode::TooLarge);
    }

    #[test]
    fn left_over_bytes_are_refused() {
        assert!(matches!(decode::<u8>(b"\x01\x02"), Err(TransportError::Decode(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(bytes: Vec<u8>) {
            let bytes = BytesMut::from(&bytes[..]);
            let _: Result<ClientMessage<Vec<(u64, String)>>, _> = Pin::new(&mut ServerCodec).deserialize(&bytes);
            let _: Result<Response<Vec<(u64, String)>>, _> = Pin::new(&mut ClientCodec).deserialize(&bytes);
        }

        #[test]
        fn an_error_survives_the_trip(detail: String) {
            let error = WireError::ambiguous(ErrorCode::Chain, detail);
            let response = Response::<()> { request_id: 1, message: Err(into_server_error(error.clone())) };
            let bytes = Pin::new(&mut ServerCodec).serialize(&response).unwrap();
            let back: Response<()> = Pin::new(&mut ClientCodec).deserialize(&BytesMut::from(&bytes[..])).unwrap();
            prop_assert_eq!(from_server_error(&back.message.unwrap_err()), error);
        }
    }
}
