//! The vocabulary of the node: identifiers, service documents, triggers, trigger data, envelopes and signatures.
//!
//! Pure data. Nothing here does I/O, reads a clock or knows about tasks, so every process shares it. Encodings that
//! operators must agree on byte for byte (service hash, event id, envelope, signatures) are implemented here once, and golden
//! vectors freeze them. Everything is re-exported flat.

pub mod abi;
mod chain_config;
mod chain_key;
mod cosmos_address;
mod digest;
mod document;
mod envelope;
mod event_id;
mod host_pattern;
mod json_tree;
mod record;
mod redact;
mod response;
mod salt;
mod service;
mod signature;
mod signature_data;
mod signature_kind;
mod submission;
mod text;
mod trigger;
mod trigger_data;
mod validate;
mod workflow_id;

pub use alloy_primitives::{Address as EvmAddress, B256, Bytes, FixedBytes};

pub use chain_config::{
    BlockTimestamp, ChainConfig, ChainConfigError, CosmosChainConfig, EvmChainConfig, Finality, FinalizedTag,
    SubmitConfirmations,
};
pub use chain_key::{ChainKey, ParseChainKeyError};
pub use cosmos_address::{CosmosAddress, ParseCosmosAddressError};
pub use digest::{ComponentDigest, ServiceDigest, ServiceId};
pub use document::{DocumentError, MAX_DOCUMENT_BYTES, ServiceDocument};
pub use envelope::{Envelope, EnvelopeOrdering};
pub use event_id::EventId;
pub use host_pattern::{HostPattern, ParseHostPatternError, normal_host};
pub use json_tree::Node as JsonTree;
pub use record::{
    Attestation, BodyError, Hello, Landed, MAX_RECORD_BYTES, RECORD_VERSION, Record, RecordBody, RecordError,
    SignedRecord, Statement, record_id,
};
pub use redact::redacted_url;
pub use response::WasmResponse;
pub use service::{
    AggregatorSubmit, AllowedHosts, Component, ComponentSource, Permissions, Service, ServiceManager, ServiceStatus,
    Submit, Workflow,
};
pub use signature::{CanonicalSignature, SignatureError};
pub use signature_data::{MAX_REFERENCE_BLOCK, SignatureData, SignatureDataError};
pub use signature_kind::{SignatureAlgorithm, SignatureKind, SignaturePrefix};
pub use submission::{EnvelopeSignature, Submission, SubmissionError};
pub use text::ParseHexError;
pub use trigger::{AtProtoAction, Trigger};
pub use trigger_data::{CosmosAttribute, CosmosEvent, LogData, TriggerAction, TriggerConfig, TriggerData};
pub use validate::{Finding, Level, MAX_CONFIG_BYTES, MAX_ENV_KEYS, MAX_NAME_BYTES, MAX_WORKFLOWS};
pub use workflow_id::{ParseWorkflowIdError, WorkflowId};
