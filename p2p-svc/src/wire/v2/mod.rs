//! Generation 2: canonical signed records on one topic per service, and the exchange of what was missed.
//!
//! All protocol names are private to this network, so that no node of another network is talked to by accident, and end in
//! a version, so that a later one can be offered beside it.

mod codec;
mod messages;

use libp2p::StreamProtocol;
use libp2p::gossipsub::IdentTopic;
use wavs_types::ServiceId;

pub use codec::ExchangeCodec;
pub use messages::{Answer, MAX_HAVE, MAX_HELLOS, Question};

/// What identify calls the network.
pub const NETWORK: &str = "/wavs/2";
/// Prefix of the gossip protocol.
pub const GOSSIP: &str = "/wavs/2/meshsub";
/// The exchange of hellos, missed records and bodies.
pub const EXCHANGE: StreamProtocol = StreamProtocol::new("/wavs/2/exchange/1");
/// The distributed table of peers.
pub const TABLE: StreamProtocol = StreamProtocol::new("/wavs/2/kad/1");

/// Topic names begin with this, followed by the service id.
const TOPIC: &str = "/wavs/2/records/";

/// The topic of a service.
#[must_use]
pub fn topic(service: &ServiceId) -> IdentTopic {
    IdentTopic::new(format!("{TOPIC}{service}"))
}

/// The service of a topic.
#[must_use]
pub fn service_of(topic: &str) -> Option<ServiceId> {
    topic.strip_prefix(TOPIC)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_names_its_service() {
        let service = ServiceId::new([0xab; 32]);
        assert_eq!(
            topic(&service).to_string(),
            format!("/wavs/2/records/{}", "ab".repeat(32))
        );
        assert_eq!(service_of(&topic(&service).to_string()), Some(service));
        assert_eq!(service_of(&format!("wavs/{service}/topic/v1")), None);
    }
}
