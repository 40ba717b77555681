//! Who may speak on which topic, as aggregator-svc told it last.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use wavs_ipc::contract::gossip::{MAX_SIGNERS, Topic, TopicSet};
use wavs_types::{EvmAddress, RecordError, ServiceId, SignedRecord};

/// The services of this node and their operators.
#[derive(Debug, Clone, Default)]
pub struct Members {
    topics: BTreeMap<ServiceId, TopicMembers>,
}

/// One service.
#[derive(Debug, Clone)]
pub struct TopicMembers {
    signers: HashSet<EvmAddress>,
    strangers: HashSet<EvmAddress>,
    /// Life of its records.
    pub ttl: Duration,
    /// This node's own hello.
    pub hello: Option<SignedRecord>,
}

/// What the author of a record is to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An operator with weight.
    Member,
    /// Looked up lately, and none.
    Stranger,
    /// Not looked up yet.
    Unknown,
}

impl Members {
    /// Takes a table over.
    ///
    /// # Errors
    /// When one of the hellos is no record.
    pub fn read(set: &TopicSet) -> Result<Self, RecordError> {
        let topics = set
            .topics
            .iter()
            .map(|topic| Ok((topic.service_id, TopicMembers::read(topic)?)));
        Ok(Self {
            topics: topics.collect::<Result<_, RecordError>>()?,
        })
    }

    /// One service, if it takes part.
    #[must_use]
    pub fn topic(&self, service: &ServiceId) -> Option<&TopicMembers> {
        self.topics.get(service)
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceId, &TopicMembers)> {
        self.topics.iter()
    }
}

impl TopicMembers {
    fn read(topic: &Topic) -> Result<Self, RecordError> {
        let addresses = |list: &[[u8; 20]]| list.iter().take(MAX_SIGNERS).map(EvmAddress::from).collect();
        Ok(Self {
            signers: addresses(&topic.signers),
            strangers: addresses(&topic.strangers),
            ttl: Duration::from_secs(topic.ttl_secs),
            hello: (!topic.hello.is_empty())
                .then(|| SignedRecord::decode(&topic.hello))
                .transpose()?,
        })
    }

    /// Whether there is an operator that `before` did not have.
    #[must_use]
    pub fn has_more_than(&self, before: &Self) -> bool {
        !self.signers.is_subset(&before.signers)
    }

    /// What an author is.
    #[must_use]
    pub fn standing(&self, author: &EvmAddress) -> Standing {
        if self.signers.contains(author) {
            Standing::Member
        } else if self.strangers.contains(author) {
            Standing::Stranger
        } else {
            Standing::Unknown
        }
    }
}
