//! The identity of one result: what operators sign about, and what the handler contract stores under.

use std::{fmt, str::FromStr};

use ripemd::{Digest, Ripemd160};

use crate::{
    digest::ServiceId,
    text::{ParseHexError, parse_hex, serde_as_text},
    trigger_data::TriggerData,
    workflow_id::WorkflowId,
};

/// `ripemd160(service id || workflow id || salt)`.
///
/// The text and JSON form is `0x` and 40 lower-case digits; log lines use [`EventId::to_log`]. Nothing in the preimage is
/// length-prefixed, so a workflow id that is a prefix of another can collide with it; the recipe is fixed by the network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 20]);

impl EventId {
    /// Wraps bytes that were computed elsewhere.
    #[must_use]
    pub const fn new(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The id for an explicit salt. An empty salt is a salt.
    #[must_use]
    pub fn derive(service: &ServiceId, workflow: &WorkflowId, salt: &[u8]) -> Self {
        let hash = Ripemd160::new()
            .chain_update(service.as_bytes())
            .chain_update(workflow.as_str())
            .chain_update(salt);
        Self(hash.finalize().into())
    }

    /// The id of a component's response: its own salt when it gave one, else the encoding of what triggered the run.
    #[must_use]
    pub fn for_response(service: &ServiceId, workflow: &WorkflowId, data: &TriggerData, salt: Option<&[u8]>) -> Self {
        match salt {
            Some(salt) => Self::derive(service, workflow, salt),
            None => Self::derive(service, workflow, &data.salt()),
        }
    }

    /// 40 lower-case digits without `0x`.
    #[must_use]
    pub fn to_log(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for EventId {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

serde_as_text!(EventId);
