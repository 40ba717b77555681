//! Submissions as JSON: made from our records, and read from others.

use wavs_types::{
    Attestation, B256, EnvelopeSignature, EvmAddress, RecordBody, ServiceId, SignedRecord, Statement, Submission,
    SubmissionError, record_id,
};

use crate::aside::Authored;

/// Largest message that is sent: deployed nodes refuse frames above 65,536 bytes without a word, and the frame around a
/// message has about 250.
pub const MAX_MESSAGE: usize = 65_536 - 512;

/// Why something is no message of this generation.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The submission does not fit.
    #[error(
        "too_large_for_gen1: the submission has {found} bytes as JSON, at most {MAX_MESSAGE} can be sent to nodes of generation 1, so they do not count this signature; make the component's result smaller"
    )]
    TooLarge {
        /// Bytes of the JSON text.
        found: usize,
    },
    /// The body does not belong to the record, or the bytes are no submission.
    #[error("no submission: {0}")]
    Malformed(String),
    /// The submission is about another service than its topic.
    #[error("the submission is about another service than its topic")]
    OtherService,
    /// The submission contradicts itself.
    #[error("the submission contradicts itself")]
    Contradicts(#[from] SubmissionError),
}

/// A submission that agrees with itself, and whose envelope somebody signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    submission: Submission,
    signer: EvmAddress,
    text: Vec<u8>,
}

impl Heard {
    /// Reads a message that came on the topic of `service`, and recovers who signed the envelope. The kind of signature is
    /// taken as stated; whether it is the workflow's is for aggregator-svc to know.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(service: &ServiceId, bytes: &[u8]) -> Result<Self, MessageError> {
        let submission: Submission = serde_json::from_slice(bytes).map_err(malformed)?;
        if submission.trigger_action.config.service_id != *service {
            return Err(MessageError::OtherService);
        }
        let signer = submission.verify(submission.envelope_signature.kind)?;
        // Written again, so that copies in other spellings are the same submission from here on.
        let text = serde_json::to_vec(&submission).map_err(malformed)?;
        Ok(Self {
            submission,
            signer,
            text,
        })
    }

    /// What it says.
    #[must_use]
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// Its JSON text in the one form.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl Authored for Heard {
    fn service(&self) -> ServiceId {
        self.submission.trigger_action.config.service_id
    }

    fn author(&self) -> EvmAddress {
        self.signer
    }

    fn id(&self) -> B256 {
        record_id(&self.text)
    }
}

/// The message for a record and its body, if it is an attestation. Making it again gives the same bytes.
///
/// # Errors
/// When the body is not that of the attestation, or the message is too large.
pub(super) fn of_record(record: &SignedRecord, body: &[u8]) -> Result<Option<Vec<u8>>, MessageError> {
    match &record.record().statement {
        Statement::Attestation(said) => of_attestation(&record.record().service_id, said, body).map(Some),
        Statement::Landed(_) | Statement::Hello(_) => Ok(None),
    }
}

fn of_attestation(service: &ServiceId, said: &Attestation, body: &[u8]) -> Result<Vec<u8>, MessageError> {
    let body = RecordBody::open(body, service, said).map_err(malformed)?;
    let envelope = body.response.envelope(said.event_id);
    let submission = Submission {
        trigger_action: body.action,
        operator_response: body.response,
        event_id: said.event_id,
        envelope,
        envelope_signature: EnvelopeSignature {
            data: said.signature,
            kind: said.kind,
        },
    };
    let text = serde_json::to_vec(&submission).map_err(malformed)?;
    if text.len() > MAX_MESSAGE {
        return Err(MessageError::TooLarge { found: text.len() });
    }
    Ok(text)
}

fn malformed(cause: impl std::fmt::Display) -> MessageError {
    MessageError::Malformed(cause.to_string())
}
