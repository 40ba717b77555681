//! Questions and answers between two peers, in protobuf.

use std::collections::HashSet;

use prost::Message;
use wavs_types::{B256, ServiceId};

use crate::store::SHORT_ID;

/// Hellos in one question: one per service that both may share.
pub const MAX_HELLOS: usize = 1_024;
/// Short ids in one question; more are asked about in further ones.
pub const MAX_HAVE: usize = 4_096;

/// What one peer asks of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// "These operators I speak for; and you?"
    Hello {
        /// Encoded hello records.
        records: Vec<Vec<u8>>,
    },
    /// "Of the records of this stretch of time I have these; what do I miss?"
    CatchUp {
        /// The service.
        service: ServiceId,
        /// Issued at this time or later.
        from_ms: u64,
        /// Issued before this time.
        to_ms: u64,
        /// Short ids.
        have: HashSet<[u8; SHORT_ID]>,
    },
    /// "Do you have this body?"
    Body {
        /// The service.
        service: ServiceId,
        /// Its digest.
        digest: B256,
    },
}

/// What the other peer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The operators that it speaks for.
    Hello {
        /// Encoded hello records.
        records: Vec<Vec<u8>>,
    },
    /// What the asker misses.
    Records {
        /// Encoded records, newest first.
        records: Vec<Vec<u8>>,
        /// Whether there are more.
        more: bool,
    },
    /// The body, if it has it.
    Body {
        /// Encoded body.
        body: Option<Vec<u8>>,
    },
    /// It does not answer this peer: no operator's, or too often.
    Refused,
}

#[derive(Clone, PartialEq, Message)]
struct RecordsProto {
    #[prost(bytes = "vec", repeated, tag = "1")]
    records: Vec<Vec<u8>>,
    #[prost(bool, tag = "2")]
    more: bool,
}

#[derive(Clone, PartialEq, Message)]
struct CatchUpProto {
    #[prost(bytes = "vec", tag = "1")]
    service_id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    from_ms: u64,
    #[prost(uint64, tag = "3")]
    to_ms: u64,
    #[prost(bytes = "vec", tag = "4")]
    have: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct BodyProto {
    #[prost(bytes = "vec", tag = "1")]
    service_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct BytesProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    bytes: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct QuestionProto {
    #[prost(oneof = "Asked", tags = "1, 2, 3")]
    asked: Option<Asked>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Asked {
    #[prost(message, tag = "1")]
    Hello(RecordsProto),
    #[prost(message, tag = "2")]
    CatchUp(CatchUpProto),
    #[prost(message, tag = "3")]
    Body(BodyProto),
}

#[derive(Clone, PartialEq, Message)]
struct AnswerProto {
    #[prost(oneof = "Answered", tags = "1, 2, 3, 4")]
    answered: Option<Answered>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Answered {
    #[prost(message, tag = "1")]
    Hello(RecordsProto),
    #[prost(message, tag = "2")]
    Records(RecordsProto),
    #[prost(message, tag = "3")]
    Body(BytesProto),
    #[prost(message, tag = "4")]
    Refused(Empty),
}

impl Question {
    /// The bytes of a question.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let asked = match self {
            Self::Hello { records } => Asked::Hello(RecordsProto {
                records: records.clone(),
                more: false,
            }),
            Self::CatchUp {
                service,
                from_ms,
                to_ms,
                have,
            } => Asked::CatchUp(CatchUpProto {
                service_id: service.as_bytes().to_vec(),
                from_ms: *from_ms,
                to_ms: *to_ms,
                have: have.iter().flatten().copied().collect(),
            }),
            Self::Body { service, digest } => Asked::Body(BodyProto {
                service_id: service.as_bytes().to_vec(),
                digest: digest.to_vec(),
            }),
        };
        QuestionProto { asked: Some(asked) }.encode_to_vec()
    }

    /// Reads a question; nothing for bytes that are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let service = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok().map(ServiceId::new);
        match QuestionProto::decode(bytes).ok()?.asked? {
            Asked::Hello(hello) => {
                (hello.records.len() <= MAX_HELLOS).then_some(Self::Hello { records: hello.records })
            }
            Asked::CatchUp(asked) => {
                let (ids, rest) = asked.have.as_chunks::<SHORT_ID>();
                (rest.is_empty() && ids.len() <= MAX_HAVE).then_some(())?;
                Some(Self::CatchUp {
                    service: service(&asked.service_id)?,
                    from_ms: asked.from_ms,
                    to_ms: asked.to_ms,
                    have: ids.iter().copied().collect(),
                })
            }
            Asked::Body(asked) => Some(Self::Body {
                service: service(&asked.service_id)?,
                digest: B256::try_from(asked.digest.as_slice()).ok()?,
            }),
        }
    }
}

impl Answer {
    /// The bytes of an answer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let list = |records: &Vec<Vec<u8>>, more| RecordsProto {
            records: records.clone(),
            more,
        };
        let answered = match self {
            Self::Hello { records } => Answered::Hello(list(records, false)),
            Self::Records { records, more } => Answered::Records(list(records, *more)),
            Self::Body { body } => Answered::Body(BytesProto { bytes: body.clone() }),
            Self::Refused => Answered::Refused(Empty {}),
        };
        AnswerProto {
            answered: Some(answered),
        }
        .encode_to_vec()
    }

    /// Reads an answer; nothing for bytes that are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match AnswerProto::decode(bytes).ok()?.answered? {
            Answered::Hello(list) if list.records.len() > MAX_HELLOS => return None,
            Answered::Hello(list) => Self::Hello { records: list.records },
            Answered::Records(list) => Self::Records {
                records: list.records,
                more: list.more,
            },
            Answered::Body(found) => Self::Body { body: found.bytes },
            Answered::Refused(_) => Self::Refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let service = ServiceId::new([7; 32]);
        let questions = [
            Question::Hello {
                records: vec![vec![1, 2], vec![]],
            },
            Question::CatchUp {
                service,
                from_ms: 3,
                to_ms: u64::MAX,
                have: [[1; SHORT_ID], [2; SHORT_ID]].into(),
            },
            Question::Body {
                service,
                digest: B256::repeat_byte(9),
            },
        ];
        for question in questions {
            assert_eq!(Question::decode(&question.encode()), Some(question));
        }
        let answers = [
            Answer::Hello { records: vec![] },
            Answer::Records {
                records: vec![vec![3]],
                more: true,
            },
            Answer::Body { body: None },
            Answer::Body { body: Some(vec![]) },
            Answer::Refused,
        ];
        for answer in answers {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = (Question::decode(&bytes), Answer::decode(&bytes));
        }
    }
}
