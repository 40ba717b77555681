//! What a fuzzer calls: bytes of a peer on their way to a request. Built for tests and by `cargo fuzz` alone.
//!
//! The tests call the same function with a bounded number of inputs: bytes at random, and frames that a real peer sends
//! with a few bytes changed, which get past the first field.

use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::ClientMessage;
use tokio_serde::{Deserializer as _, Serializer as _};
use tokio_util::bytes::BytesMut;

use crate::codec::{ClientCodec, ServerCodec};
use crate::contract::engine::EngineRequest;
use crate::contract::engine_admin::EngineAdminRequest;
use crate::contract::gossip::GossipRequest;
use crate::contract::trigger_feed::TriggerFeedRequest;

/// Decodes `bytes` as a call of each contract that untrusted processes share a socket with, and decodes the documents in it.
///
/// # Panics
/// When a decoded call does not survive another round, which is a finding.
pub fn frame(bytes: &[u8]) {
    if let Some(EngineRequest::RunOperator { job }) = call::<EngineRequest>(bytes) {
        let _ = job.action.decode();
        let _ = job.context.service.decode();
        for (_, chain) in &job.context.chains {
            let _ = chain.decode();
        }
    }
    call::<EngineAdminRequest>(bytes);
    call::<GossipRequest>(bytes);
    call::<TriggerFeedRequest>(bytes);
}

/// The request in a frame, if it holds one.
fn call<R: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<R> {
    let decoded: ClientMessage<R> = Pin::new(&mut ServerCodec).deserialize(&BytesMut::from(bytes)).ok()?;
    // What a server understood, a client can send.
    let sent = Pin::new(&mut ClientCodec)
        .serialize(&decoded)
        .expect("a call that was decoded has a wire form");
    let again: ClientMessage<R> = Pin::new(&mut ServerCodec)
        .deserialize(&BytesMut::from(&sent[..]))
        .expect("a call that was sent is understood");
    match again {
        ClientMessage::Request(request) => Some(request.message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tarpc::Request;

    use super::*;
    use crate::contract::engine::{Prefetch, World};
    use crate::json::Json;

    /// A frame of a real peer.
    fn sample() -> Vec<u8> {
        let request = EngineRequest::Prefetch {
            request: Prefetch {
                source: Json::from_text(r#"{"digest": "00"}"#.to_owned()),
                world: World::Operator,
                metered: true,
                deterministic: false,
            },
        };
        let message = ClientMessage::Request(Request {
            context: tarpc::context::current(),
            id: 7,
            message: request,
        });
        Pin::new(&mut ClientCodec).serialize(&message).unwrap().to_vec()
    }

    #[test]
    fn a_real_frame_is_understood() {
        assert!(call::<EngineRequest>(&sample()).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_bytes_break_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            frame(&bytes);
        }

        #[test]
        fn no_change_to_a_frame_breaks_the_decoder(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6), cut in any::<u8>()) {
            let mut bytes = sample();
            for (at, byte) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(usize::from(cut % 8)));
            frame(&bytes);
        }
    }
}
