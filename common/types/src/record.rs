//! Signed records: what operators tell each other about a service, each signed as a whole by its author's service key.
//!
//! A [`Record`] says one thing: "I signed this envelope" ([`Attestation`]), "this transaction landed" ([`Landed`]), or "this
//! network identity speaks for me" ([`Hello`]). Its bytes are canonical, so that every relay has the same ones and
//! [`SignedRecord::id`] names it everywhere. Bodies (trigger and response) are not part of it; they are fetched by digest.
//! Whether the author is an operator is for the caller to know.

mod body;
mod proto;

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{
    B256, ChainKey, EventId, EvmAddress, ServiceId, SignatureKind, WorkflowId,
    signature::{CanonicalSignature, SignatureError},
};

pub use body::{BodyError, RecordBody};

/// The generation of the encoding. Another one is another protocol.
pub const RECORD_VERSION: u32 = 2;
/// Largest encoded record, in bytes. Records have no field that grows with the payload.
pub const MAX_RECORD_BYTES: usize = 4_096;
/// Most chains that a [`Hello`] names.
const MAX_CHAINS: usize = 64;
/// Longest handler or transaction text, in bytes.
const MAX_TEXT: usize = 128;
/// Put in front of the encoded record before it is hashed, so that no signature of a record is one of anything else. An
/// encoded envelope begins with a word of 31 zero bytes and an EIP-191 message with 0x19, so neither can be this text.
const DOMAIN: &[u8] = b"wavs operator record 2\n";

/// What one operator says about one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The service.
    pub service_id: ServiceId,
    /// When it was said, in milliseconds since the Unix epoch by the author's clock.
    pub issued_ms: u64,
    /// What is said.
    pub statement: Statement,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// The author signed an envelope.
    Attestation(Attestation),
    /// The author's transaction delivered an event.
    Landed(Landed),
    /// A network identity speaks for the author.
    Hello(Hello),
}

/// A signature over an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// The event.
    pub event_id: EventId,
    /// Digest of the envelope.
    pub digest: B256,
    /// How the envelope is signed.
    pub kind: SignatureKind,
    /// The signature over the envelope, which contracts verify.
    pub signature: CanonicalSignature,
    /// [`RecordBody::digest`] of the trigger and the response behind the envelope.
    pub body_digest: B256,
}

/// A transaction that delivered an event. Nobody believes it before having seen it on chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// The event.
    pub event_id: EventId,
    /// Digest of the delivered envelope.
    pub digest: B256,
    /// The chain.
    pub chain: ChainKey,
    /// The handler as text.
    pub handler: String,
    /// The transaction as text.
    pub tx: String,
}

/// Binds a network identity to a service key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The network identity, as its raw multihash.
    pub peer_id: Vec<u8>,
    /// Chains on which the author is able to send transactions.
    pub posts_on: Vec<ChainKey>,
    /// Name and version of the author's software, for people.
    pub agent: String,
}

/// A record with its author's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    record: Record,
    author: EvmAddress,
    encoded: Vec<u8>,
}

/// Why some bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is larger than any record.
    #[error("a record has at most {MAX_RECORD_BYTES} bytes, got {found}")]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// The bytes are not a record, or not in the one canonical form.
    #[error("the bytes are no canonical record: {0}")]
    Malformed(String),
    /// The record is of another generation.
    #[error("the record has version {found}, expected {RECORD_VERSION}")]
    Version {
        /// As sent.
        found: u32,
    },
    /// One of its signatures is not usable.
    #[error("a signature of the record cannot be used")]
    Signature(#[from] SignatureError),
    /// The envelope was signed by somebody else than the record.
    #[error("the record is by {author}, the envelope was signed by {signer}")]
    Author {
        /// Who signed the record.
        author: EvmAddress,
        /// Who signed the envelope.
        signer: EvmAddress,
    },
}

impl Record {
    /// What the author's service key signs.
    #[must_use]
    pub fn signing_hash(&self) -> B256 {
        hash(&proto::content(self))
    }

    /// The record with the signature over [`Self::signing_hash`].
    ///
    /// # Errors
    /// When the result would not be accepted by [`SignedRecord::decode`].
    pub fn sign(self, signature: CanonicalSignature) -> Result<SignedRecord, RecordError> {
        let frame = proto::Frame {
            version: RECORD_VERSION,
            content: proto::content(&self),
            signature: signature.as_bytes().to_vec(),
        };
        SignedRecord::decode(&frame.encode_to_vec())
    }

    /// The event that it is about, if any.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        match &self.statement {
            Statement::Attestation(said) => Some(said.event_id),
            Statement::Landed(said) => Some(said.event_id),
            Statement::Hello(_) => None,
        }
    }
}

impl SignedRecord {
    /// Reads a record: size, canonical form, and who signed it. For an attestation the envelope has to be signed by the
    /// same key.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge { found: bytes.len() });
        }
        let malformed = |cause: prost::DecodeError| RecordError::Malformed(cause.to_string());
        let frame = proto::Frame::decode(bytes).map_err(malformed)?;
        if frame.version != RECORD_VERSION {
            return Err(RecordError::Version { found: frame.version });
        }
        let record = proto::record(&frame.content).map_err(RecordError::Malformed)?;
        let signature = CanonicalSignature::canonicalise(&frame.signature)?;
        let canonical = proto::Frame {
            version: RECORD_VERSION,
            content: proto::content(&record),
            signature: signature.as_bytes().to_vec(),
        };
        if canonical.encode_to_vec() != bytes {
            return Err(RecordError::Malformed("it has another encoding".to_owned()));
        }
        let author = signature.recover(hash(&frame.content))?;
        if let Statement::Attestation(said) = &record.statement {
            let signer = said.signer()?;
            if signer != author {
                return Err(RecordError::Author { author, signer });
            }
        }
        Ok(Self {
            record,
            author,
            encoded: bytes.to_vec(),
        })
    }

    /// What it says.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whose service key signed it.
    #[must_use]
    pub fn author(&self) -> EvmAddress {
        self.author
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Its name, the same at every relay: SHA-256 of the canonical bytes.
    #[must_use]
    pub fn id(&self) -> B256 {
        record_id(&self.encoded)
    }
}

/// [`SignedRecord::id`] of encoded bytes, whether or not they are a record.
#[must_use]
pub fn record_id(encoded: &[u8]) -> B256 {
    B256::from(<[u8; 32]>::from(Sha256::digest(encoded)))
}

impl Attestation {
    /// Who signed the envelope.
    ///
    /// # Errors
    /// When the signature belongs to nobody.
    pub fn signer(&self) -> Result<EvmAddress, SignatureError> {
        self.signature.recover(self.kind.signing_hash(self.digest))
    }
}

fn hash(content: &[u8]) -> B256 {
    alloy_primitives::keccak256([DOMAIN, content].concat())
}

#[cfg(test)]
mod tests;
