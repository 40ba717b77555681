//! The protobuf form of records. Fields are only ever appended with a new [`super::RECORD_VERSION`], because a decoder
//! that does not know a field refuses the record as not canonical.

use prost::Message;

use super::{Attestation, Hello, Landed, MAX_CHAINS, MAX_TEXT, Record, Statement};
use crate::{B256, EventId, ServiceId, SignatureKind, signature::CanonicalSignature};

/// A signed record on the wire.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Frame {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) content: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Content {
    #[prost(bytes = "vec", tag = "1")]
    service_id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    issued_ms: u64,
    #[prost(oneof = "Said", tags = "3, 4, 5")]
    said: Option<Said>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Said {
    #[prost(message, tag = "3")]
    Attestation(AttestationProto),
    #[prost(message, tag = "4")]
    Landed(LandedProto),
    #[prost(message, tag = "5")]
    Hello(HelloProto),
}

#[derive(Clone, PartialEq, Message)]
struct AttestationProto {
    #[prost(string, tag = "1")]
    workflow_id: String,
    #[prost(bytes = "vec", tag = "2")]
    event_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    digest: Vec<u8>,
    /// 1: secp256k1 with the EIP-191 prefix, 2: secp256k1 over the digest itself.
    #[prost(uint32, tag = "4")]
    kind: u32,
    #[prost(bytes = "vec", tag = "5")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    body_digest: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct LandedProto {
    #[prost(bytes = "vec", tag = "1")]
    event_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
    #[prost(string, tag = "3")]
    chain: String,
    #[prost(string, tag = "4")]
    handler: String,
    #[prost(string, tag = "5")]
    tx: String,
}

#[derive(Clone, PartialEq, Message)]
struct HelloProto {
    #[prost(bytes = "vec", tag = "1")]
    peer_id: Vec<u8>,
    #[prost(string, repeated, tag = "2")]
    posts_on: Vec<String>,
    #[prost(string, tag = "3")]
    agent: String,
}

/// The canonical encoding of a record.
pub(super) fn content(record: &Record) -> Vec<u8> {
    let said = match &record.statement {
        Statement::Attestation(said) => Said::Attestation(AttestationProto {
            workflow_id: said.workflow_id.as_str().to_owned(),
            event_id: said.event_id.as_bytes().to_vec(),
            digest: said.digest.to_vec(),
            kind: if said.kind == SignatureKind::EIP191 { 1 } else { 2 },
            signature: said.signature.as_bytes().to_vec(),
            body_digest: said.body_digest.to_vec(),
        }),
        Statement::Landed(said) => Said::Landed(LandedProto {
            event_id: said.event_id.as_bytes().to_vec(),
            digest: said.digest.to_vec(),
            chain: said.chain.to_string(),
            handler: said.handler.clone(),
            tx: said.tx.clone(),
        }),
        Statement::Hello(said) => Said::Hello(HelloProto {
            peer_id: said.peer_id.clone(),
            posts_on: said.posts_on.iter().map(ToString::to_string).collect(),
            agent: said.agent.clone(),
        }),
    };
    let content = Content {
        service_id: record.service_id.as_bytes().to_vec(),
        issued_ms: record.issued_ms,
        said: Some(said),
    };
    content.encode_to_vec()
}

/// The record that `bytes` encode; whether canonically is for the caller to see.
pub(super) fn record(bytes: &[u8]) -> Result<Record, String> {
    let content = Content::decode(bytes).map_err(|cause| cause.to_string())?;
    let statement = match content.said.ok_or("it says nothing")? {
        Said::Attestation(said) => Statement::Attestation(Attestation {
            workflow_id: said
                .workflow_id
                .parse()
                .map_err(|cause| format!("its workflow id: {cause}"))?,
            event_id: EventId::new(fixed(&said.event_id, "event id")?),
            digest: B256::from(fixed::<32>(&said.digest, "digest")?),
            kind: match said.kind {
                1 => SignatureKind::EIP191,
                2 => SignatureKind::RAW,
                other => return Err(format!("signature kind {other} is not known")),
            },
            signature: CanonicalSignature::canonicalise(&said.signature).map_err(|cause| cause.to_string())?,
            body_digest: B256::from(fixed::<32>(&said.body_digest, "body digest")?),
        }),
        Said::Landed(said) => Statement::Landed(Landed {
            event_id: EventId::new(fixed(&said.event_id, "event id")?),
            digest: B256::from(fixed::<32>(&said.digest, "digest")?),
            chain: said.chain.parse().map_err(|cause| format!("its chain: {cause}"))?,
            handler: short(said.handler, "handler")?,
            tx: short(said.tx, "transaction")?,
        }),
        Said::Hello(said) => {
            if said.posts_on.len() > MAX_CHAINS || said.peer_id.len() > MAX_TEXT {
                return Err("a hello names at most 64 chains and one peer id".to_owned());
            }
            let chains = said.posts_on.iter().map(|chain| chain.parse());
            Statement::Hello(Hello {
                peer_id: said.peer_id,
                posts_on: chains
                    .collect::<Result<_, _>>()
                    .map_err(|cause| format!("a chain: {cause}"))?,
                agent: short(said.agent, "agent")?,
            })
        }
    };
    Ok(Record {
        service_id: ServiceId::new(fixed(&content.service_id, "service id")?),
        issued_ms: content.issued_ms,
        statement,
    })
}

fn fixed<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N], String> {
    bytes
        .try_into()
        .map_err(|_| format!("its {what} has {} bytes, expected {N}", bytes.len()))
}

fn short(text: String, what: &str) -> Result<String, String> {
    if text.len() > MAX_TEXT {
        return Err(format!(
            "its {what} has {} bytes, at most {MAX_TEXT} are allowed",
            text.len()
        ));
    }
    Ok(text)
}
