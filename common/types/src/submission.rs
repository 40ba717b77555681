//! The record that operators exchange: a trigger, one response to it, and the sender's signature over the envelope.
//! Everything in it that can be recomputed is recomputed before it is believed.

use serde::{Deserialize, Serialize};

use crate::{
    EvmAddress,
    envelope::Envelope,
    event_id::EventId,
    response::WasmResponse,
    signature::{CanonicalSignature, SignatureError},
    signature_kind::SignatureKind,
    trigger_data::TriggerAction,
};

/// One signed response. Fields are in exchange order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// What fired.
    pub trigger_action: TriggerAction,
    /// What the component answered.
    pub operator_response: WasmResponse,
    /// Identity of the result.
    pub event_id: EventId,
    /// What was signed.
    pub envelope: Envelope,
    /// The sender's signature.
    pub envelope_signature: EnvelopeSignature,
}

/// A signature with the way in which it was made. Reading one canonicalises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// The signature.
    pub data: CanonicalSignature,
    /// What was signed, and how.
    pub kind: SignatureKind,
}

/// Why a submission contradicts itself or its workflow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// The event id is not that of the trigger and the response.
    #[error("event id {claimed} does not follow from trigger and response, which give {expected}")]
    EventId {
        /// As sent.
        claimed: EventId,
        /// As recomputed.
        expected: EventId,
    },
    /// The envelope is not that of the response.
    #[error("the envelope of event {event_id} differs from the response in its {field}")]
    Envelope {
        /// The event.
        event_id: EventId,
        /// The field that differs.
        field: &'static str,
    },
    /// The workflow asks for another kind of signature.
    #[error("the signature of event {event_id} is of another kind than the workflow's")]
    Kind {
        /// The event.
        event_id: EventId,
    },
    /// The signature is not usable.
    #[error("the signature of event {event_id} cannot be used")]
    Signature {
        /// The event.
        event_id: EventId,
        /// Why.
        source: SignatureError,
    },
}

impl Submission {
    /// Recomputes event id and envelope, compares the kind with the workflow's, and recovers the signer. Whether that
    /// signer is an operator is for the caller to know.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn verify(&self, kind: SignatureKind) -> Result<EvmAddress, SubmissionError> {
        let event_id = self.event_id;
        let expected = self
            .operator_response
            .event_id(&self.trigger_action.config, &self.trigger_action.data);
        for claimed in [event_id, self.envelope.event_id] {
            if claimed != expected {
                return Err(SubmissionError::EventId { claimed, expected });
            }
        }
        let envelope = self.operator_response.envelope(expected);
        if self.envelope.payload != envelope.payload {
            return Err(SubmissionError::Envelope {
                event_id,
                field: "payload",
            });
        }
        if self.envelope.ordering != envelope.ordering {
            return Err(SubmissionError::Envelope {
                event_id,
                field: "ordering",
            });
        }
        if self.envelope_signature.kind != kind {
            return Err(SubmissionError::Kind { event_id });
        }
        let hash = envelope.signing_hash(kind);
        self.envelope_signature
            .data
            .recover(hash)
            .map_err(|source| SubmissionError::Signature { event_id, source })
    }
}
