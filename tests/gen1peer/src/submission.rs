//! The submission as deployed nodes write it, and an operator that signs one.

use alloy_primitives::{Address, B256, eip191_hash_message, hex, keccak256};
use anyhow::{Context as _, Result};
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The topic of a service, whose id is 64 lower-case hex digits.
#[must_use]
pub fn topic(service_id: &str) -> String {
    format!("wavs/{service_id}/topic/v1")
}

/// One message. Fields are in the order in which deployed nodes write them; what is in `trigger_action` stays as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submission {
    /// What fired.
    pub trigger_action: Box<RawValue>,
    /// What the component answered.
    pub operator_response: Response,
    /// `0x` and 40 hex digits.
    pub event_id: String,
    /// What is signed.
    pub envelope: Envelope,
    /// The signature.
    pub envelope_signature: EnvelopeSignature,
}

/// A component's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Response {
    /// `0x` and hex digits.
    pub payload: String,
    /// Position, if any.
    pub ordering: Option<u64>,
    /// `0x` and hex digits, if any.
    pub event_id_salt: Option<String>,
}

/// What is signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// `0x` and 40 hex digits.
    #[serde(rename = "eventId")]
    pub event_id: String,
    /// `0x` and 24 hex digits.
    pub ordering: String,
    /// `0x` and hex digits.
    pub payload: String,
}

/// A signature with its kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// 65 integers.
    pub data: Vec<u8>,
    /// How it was made.
    pub kind: Kind,
}

/// How a signature was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kind {
    /// `secp256k1`.
    pub algorithm: String,
    /// `eip191`, or nothing.
    pub prefix: Option<String>,
}

impl Submission {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).context("the message is no submission")
    }

    /// The bytes of a message.
    ///
    /// # Panics
    /// Never: all of it can be written.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, integers and raw JSON can be written")
    }

    /// `keccak256(abi.encode(envelope))`: one dynamic tuple, so with the leading offset word.
    ///
    /// # Errors
    /// When a text is no hex or of the wrong length.
    pub fn digest(&self) -> Result<B256> {
        let word = |text: &str, length: usize| -> Result<[u8; 32]> {
            let bytes = hex::decode(text)?;
            anyhow::ensure!(bytes.len() == length, "{text} has not {length} bytes");
            let mut word = [0; 32];
            word[..length].copy_from_slice(&bytes);
            Ok(word)
        };
        let number = |number: usize| {
            let mut word = [0; 32];
            word[24..].copy_from_slice(&(number as u64).to_be_bytes());
            word
        };
        let payload = hex::decode(&self.envelope.payload)?;
        let padding = payload.len().next_multiple_of(32) - payload.len();
        let parts = [
            &number(32)[..],
            &word(&self.envelope.event_id, 20)?,
            &word(&self.envelope.ordering, 12)?,
            &number(96),
            &number(payload.len()),
            &payload,
            &[0; 32][..padding],
        ];
        Ok(keccak256(parts.concat()))
    }

    /// Who signed it: what deployed nodes look at.
    ///
    /// # Errors
    /// When nobody did.
    pub fn signer(&self) -> Result<Address> {
        let data = &self.envelope_signature.data;
        anyhow::ensure!(data.len() == 65, "a signature has 65 bytes, not {}", data.len());
        let signature = Signature::from_slice(&data[..64])?;
        let recovery = RecoveryId::from_byte(data[64].wrapping_sub(27)).context("v is 27 or 28")?;
        let key = VerifyingKey::recover_from_prehash(self.signed_hash()?.as_slice(), &signature, recovery)?;
        Ok(Address::from_public_key(&key))
    }

    fn signed_hash(&self) -> Result<B256> {
        let digest = self.digest()?;
        Ok(match self.envelope_signature.kind.prefix.as_deref() {
            Some(_) => eip191_hash_message(digest),
            None => digest,
        })
    }
}

/// An operator by its service key.
#[derive(Debug, Clone)]
pub struct Operator {
    key: SigningKey,
}

impl Operator {
    /// The operator whose secret key is 32 times the same byte.
    ///
    /// # Panics
    /// For the byte 0 or 255, which give no key.
    #[must_use]
    pub fn of(byte: u8) -> Self {
        Self {
            key: SigningKey::from_slice(&[byte; 32]).expect("bytes between are keys"),
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::from_public_key(self.key.verifying_key())
    }

    /// The same result, signed by this operator.
    ///
    /// # Errors
    /// When the submission's envelope is none.
    pub fn sign(&self, mut submission: Submission) -> Result<Submission> {
        let (signature, recovery) = self
            .key
            .sign_prehash_recoverable(submission.signed_hash()?.as_slice())?;
        let mut data = signature.to_bytes().to_vec();
        data.push(27 + recovery.to_byte());
        submission.envelope_signature.data = data;
        Ok(submission)
    }
}

/// A submission about a manual trigger with the bytes `data`, whose event id is given, before anybody signed it.
///
/// # Errors
/// Never for texts without control characters.
pub fn manual(service_id: &str, workflow_id: &str, event_id: &str, data: &[u8], payload: &[u8]) -> Result<Submission> {
    let data: Vec<String> = data.iter().map(ToString::to_string).collect();
    let action = format!(
        r#"{{"config":{{"service_id":"{service_id}","workflow_id":"{workflow_id}","trigger":"manual"}},"data":{{"Raw":[{}]}}}}"#,
        data.join(",")
    );
    let payload = hex::encode_prefixed(payload);
    Ok(Submission {
        trigger_action: RawValue::from_string(action)?,
        operator_response: Response {
            payload: payload.clone(),
            ordering: None,
            event_id_salt: None,
        },
        event_id: event_id.to_owned(),
        envelope: Envelope {
            event_id: event_id.to_owned(),
            ordering: format!("0x{}", "00".repeat(12)),
            payload,
        },
        envelope_signature: EnvelopeSignature {
            data: Vec::new(),
            kind: Kind {
                algorithm: "secp256k1".to_owned(),
                prefix: Some("eip191".to_owned()),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_has_the_digest_that_contracts_compute() {
        let event_id = format!("0x{}", "01".repeat(20));
        let submission = manual(&"07".repeat(32), "default", &event_id, &[], &[1, 2, 3]).unwrap();
        let digest = "b85976350e6c9cfdba0254d1169aa905dba6c5374a00c74c011192447456a8d3";
        assert_eq!(hex::encode(submission.digest().unwrap()), digest);
        let signed = Operator::of(7).sign(submission).unwrap();
        assert_eq!(signed.signer().unwrap(), Operator::of(7).address());
        assert_eq!(Submission::read(&signed.write()).unwrap().write(), signed.write());
    }
}
