//! The body behind an attestation: what fired and what the component answered, so that a node that did not run the
//! component itself can still aggregate. It is believed only as far as the event id and the envelope follow from it.

use prost::Message;
use sha2::{Digest as _, Sha256};

use super::Attestation;
use crate::{B256, ServiceId, TriggerAction, WasmResponse};

/// Trigger and response.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordBody {
    /// What fired.
    pub action: TriggerAction,
    /// The JSON text in which it travelled; its meaning is in `action`.
    pub action_text: Vec<u8>,
    /// What the component answered.
    pub response: WasmResponse,
}

/// Why a body does not belong to an attestation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The bytes are no body.
    #[error("the bytes are no body: {0}")]
    Malformed(String),
    /// The body is not the one that was signed.
    #[error("the body's {field} is not what the record says")]
    Differs {
        /// What differs.
        field: &'static str,
    },
}

#[derive(Clone, PartialEq, Message)]
struct BodyProto {
    #[prost(bytes = "vec", tag = "1")]
    action: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
    #[prost(uint64, optional, tag = "3")]
    ordering: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    event_id_salt: Option<Vec<u8>>,
}

impl RecordBody {
    /// The bytes of a body, given the JSON text of the trigger action.
    #[must_use]
    pub fn encode(action_text: &[u8], response: &WasmResponse) -> Vec<u8> {
        let body = BodyProto {
            action: action_text.to_vec(),
            payload: response.payload.to_vec(),
            ordering: response.ordering,
            event_id_salt: response.event_id_salt.as_ref().map(|salt| salt.to_vec()),
        };
        body.encode_to_vec()
    }

    /// What names encoded bytes: their SHA-256.
    #[must_use]
    pub fn digest(encoded: &[u8]) -> B256 {
        B256::from(<[u8; 32]>::from(Sha256::digest(encoded)))
    }

    /// Reads the body of an attestation: bytes, service, workflow, event id and envelope have to agree with it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn open(encoded: &[u8], service_id: &ServiceId, said: &Attestation) -> Result<Self, BodyError> {
        let differs = |field| BodyError::Differs { field };
        if Self::digest(encoded) != said.body_digest {
            return Err(differs("digest"));
        }
        let body = BodyProto::decode(encoded).map_err(|cause| BodyError::Malformed(cause.to_string()))?;
        let action: TriggerAction =
            serde_json::from_slice(&body.action).map_err(|cause| BodyError::Malformed(cause.to_string()))?;
        if action.config.service_id != *service_id {
            return Err(differs("service"));
        }
        if action.config.workflow_id != said.workflow_id {
            return Err(differs("workflow"));
        }
        let response = WasmResponse {
            payload: body.payload.into(),
            ordering: body.ordering,
            event_id_salt: body.event_id_salt.map(Into::into),
        };
        if response.event_id(&action.config, &action.data) != said.event_id {
            return Err(differs("event id"));
        }
        if response.envelope(said.event_id).digest() != said.digest {
            return Err(differs("envelope"));
        }
        Ok(Self {
            action,
            action_text: body.action,
            response,
        })
    }
}
