//! The signatures of a quorum as the service manager contract expects them: sorted by signer, one per signer.

use alloy_sol_types::SolCall;
use serde::{Serialize, Serializer};

use crate::{
    Bytes, EvmAddress, abi,
    envelope::Envelope,
    signature::{CanonicalSignature, SignatureError},
    signature_kind::SignatureKind,
};

/// Signers and signatures in contract order, with the block at which their weight is looked up.
///
/// Serialises to the JSON that Cosmos contracts take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureData {
    signers: Vec<EvmAddress>,
    #[serde(serialize_with = "bare_hex")]
    signatures: Vec<CanonicalSignature>,
    reference_block: u32,
}

/// Why no signature data can be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureDataError {
    /// There is nothing to submit.
    #[error("there are no signatures; at least one is needed")]
    Empty,
    /// Contracts count each operator once and refuse repeated signers.
    #[error("two signatures are by {signer}; keep the first one only")]
    DuplicateSigner {
        /// The signer of both.
        signer: EvmAddress,
    },
    /// The contract's type is narrower than a block number, and truncating would ask about another block.
    #[error(
        "reference block {block} is outside 1 to {}; check the height that the chain reports",
        MAX_REFERENCE_BLOCK
    )]
    ReferenceBlock {
        /// The block asked for.
        block: u64,
    },
    /// A signature was not made for this envelope.
    #[error("a signature cannot be used for the envelope")]
    Signature(#[from] SignatureError),
}

/// Largest block number that a contract can be asked about.
pub const MAX_REFERENCE_BLOCK: u32 = u32::MAX - 1;

impl SignatureData {
    /// Recovers every signer and brings the pairs into contract order.
    ///
    /// # Errors
    /// No signatures, two by one signer, one that recovers to nobody, or a reference block outside 1 to 2^32-2.
    pub fn build(
        envelope: &Envelope,
        kind: SignatureKind,
        signatures: Vec<CanonicalSignature>,
        reference_block: u64,
    ) -> Result<Self, SignatureDataError> {
        if signatures.is_empty() {
            return Err(SignatureDataError::Empty);
        }
        let reference_block = u32::try_from(reference_block)
            .ok()
            .filter(|block| (1..=MAX_REFERENCE_BLOCK).contains(block))
            .ok_or(SignatureDataError::ReferenceBlock { block: reference_block })?;
        let hash = envelope.signing_hash(kind);
        let mut pairs = signatures
            .into_iter()
            .map(|signature| Ok((signature.recover(hash)?, signature)))
            .collect::<Result<Vec<_>, SignatureError>>()?;
        pairs.sort_unstable_by_key(|(signer, _)| *signer);
        if let Some(twins) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SignatureDataError::DuplicateSigner { signer: twins[0].0 });
        }
        let (signers, signatures) = pairs.into_iter().unzip();
        Ok(Self {
            signers,
            signatures,
            reference_block,
        })
    }

    /// The signers, strictly ascending.
    #[must_use]
    pub fn signers(&self) -> &[EvmAddress] {
        &self.signers
    }

    /// The signatures in the order of the signers.
    #[must_use]
    pub fn signatures(&self) -> &[CanonicalSignature] {
        &self.signatures
    }

    /// The block at which weights are looked up.
    #[must_use]
    pub fn reference_block(&self) -> u32 {
        self.reference_block
    }

    /// The Solidity struct.
    #[must_use]
    pub fn to_abi(&self) -> abi::SignatureData {
        abi::SignatureData {
            signers: self.signers.clone(),
            signatures: self
                .signatures
                .iter()
                .map(|signature| Bytes::copy_from_slice(signature.as_bytes()))
                .collect(),
            referenceBlock: self.reference_block,
        }
    }

    /// Call data of `handleSignedEnvelope(envelope, signatureData)`.
    #[must_use]
    pub fn handle_signed_envelope(&self, envelope: &Envelope) -> Bytes {
        abi::handleSignedEnvelopeCall {
            envelope: envelope.to_abi(),
            signatureData: self.to_abi(),
        }
        .abi_encode()
        .into()
    }
}

fn bare_hex<S: Serializer>(signatures: &[CanonicalSignature], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(signatures.iter().map(|signature| hex::encode(signature.as_bytes())))
}
