//! Generation 1: JSON submissions on one topic per service, as nodes of WAVS 2.0 speak it, so that operators can move one by
//! one. A swarm of its own with an identity of its own ([`swarm`]), owned by one task ([`task`]) that follows the store:
//! attestations of ours become submissions ([`message`]), submissions of others are judged like records and wait in the
//! inbox beside them. Whatever happens here does not touch the network of our own generation.
//!
//! Facts of this wire that are not of our choosing: gossip is signed by the network identity and not by the service key,
//! nodes forward before they look, whoever connects may publish and fetch, and what was missed is asked for as one whole
//! list ([`codec`]).

mod answers;
mod asks;
mod bridge;
mod codec;
mod exchange;
mod kept;
mod message;
mod peers;
mod settings;
mod submissions;
mod swarm;
mod task;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use libp2p::StreamProtocol;
use libp2p::gossipsub::{IdentTopic, Message, MessageId};
use wavs_types::ServiceId;

pub use bridge::Bridge;
pub use codec::{CatchUpCodec, Missed, Wanted};
pub use message::{Heard, MAX_MESSAGE, MessageError};
pub use settings::BridgeSettings;

/// What identify calls the network.
pub const NETWORK: &str = "/wavs/1.0.0";
/// The exchange of missed submissions.
pub const CATCH_UP: StreamProtocol = StreamProtocol::new("/wavs/catchup/1.0.0");

/// The topic of a service.
#[must_use]
pub fn topic(service: &ServiceId) -> IdentTopic {
    IdentTopic::new(format!("wavs/{service}/topic/v1"))
}

/// The service of a topic.
#[must_use]
pub fn service_of(topic: &str) -> Option<ServiceId> {
    topic.strip_prefix("wavs/")?.strip_suffix("/topic/v1")?.parse().ok()
}

/// The name of a message in gossip: a hash of data, source and topic in decimal digits. Equal names only save copies.
#[must_use]
pub fn message_id(message: &Message) -> MessageId {
    let mut hasher = DefaultHasher::new();
    message.data.hash(&mut hasher);
    message.source.hash(&mut hasher);
    message.topic.hash(&mut hasher);
    MessageId::from(hasher.finish().to_string())
}

#[cfg(test)]
mod tests;
