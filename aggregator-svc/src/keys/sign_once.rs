//! The one way to a signature: at most one digest is ever signed for an event, by whichever key of ours.
//!
//! [`Prepared::new`] computes the signature, which stays inside; [`Prepared::commit`] runs in the transaction that
//! moves the job on, compares with what was signed before, and stores the row. The caller gets a signature out only after
//! that transaction is durable.

use rusqlite::Connection;
use wavs_types::{B256, CanonicalSignature, Envelope, EvmAddress, SignatureKind};

use super::signer::{ServiceSigner, SignFailed};
use crate::ledger::signed::{self, Signed};

/// Two digests for one event: refused, and alarmed with both.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {event_id} was signed with digest {signed} before and is not signed with digest {refused}: the component gave \
     another result for the same event id; make it deterministic, or give each result a salt of its own"
)]
pub struct EquivocationRefused {
    /// The event.
    pub event_id: wavs_types::EventId,
    /// What was signed.
    pub signed: B256,
    /// What is refused.
    pub refused: B256,
}

/// An envelope with its signature, which nobody may see before [`Prepared::commit`] is durable.
pub struct Prepared {
    signer: EvmAddress,
    envelope: Envelope,
    encoded: Vec<u8>,
    digest: B256,
    signature: CanonicalSignature,
}

/// A signature that was stored before, and whose it is.
pub type Known = (EvmAddress, [u8; 65]);

/// What was signed: now, or before with the same digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEnvelope {
    /// Who signed.
    pub signer: EvmAddress,
    /// Digest of the envelope.
    pub digest: B256,
    /// 65 canonical bytes.
    pub signature: [u8; 65],
    /// Whether the row is new.
    pub fresh: bool,
}

impl Prepared {
    /// Computes the signature of `signer` over `envelope`.
    ///
    /// # Errors
    /// Only for a hash of zero.
    pub fn new(signer: &ServiceSigner, envelope: Envelope, kind: SignatureKind) -> Result<Self, SignFailed> {
        let signature = signer.sign(&envelope, kind)?;
        let encoded = envelope.abi_encode();
        Ok(Self {
            signer: signer.address(),
            digest: envelope.digest(),
            encoded,
            envelope,
            signature,
        })
    }

    /// Digest of the envelope.
    #[must_use]
    pub fn digest(&self) -> B256 {
        self.digest
    }

    /// The event that the envelope is about.
    #[must_use]
    pub fn event_id(&self) -> wavs_types::EventId {
        self.envelope.event_id
    }

    /// Looks what was signed for the event before, and stores the row if nothing was. Commit with
    /// [`wavs_store::Durability::Power`] before the answer is used.
    ///
    /// # Errors
    /// Only of the statements; a refusal is the inner error, because it must not undo the transaction.
    pub fn commit(
        &self,
        tx: &Connection,
        now_us: u64,
    ) -> rusqlite::Result<Result<SignedEnvelope, EquivocationRefused>> {
        match self.compare(tx)? {
            Err(refusal) => return Ok(Err(refusal)),
            Ok(Some((signer, signature))) => return Ok(Ok(self.answer(signer, signature, false))),
            Ok(None) => {}
        }
        let event_id = self.envelope.event_id;
        let row = Signed {
            digest: self.digest,
            signature: *self.signature.as_bytes(),
        };
        signed::insert(tx, &self.signer, &event_id, &row, &self.encoded, now_us)?;
        Ok(Ok(self.answer(self.signer, row.signature, true)))
    }

    /// The signature that was stored for the same digest, if any, and whose it is: after a rotation it is the former
    /// key's, because an event is signed once, not once by each key. Stores nothing.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn compare(&self, tx: &Connection) -> rusqlite::Result<Result<Option<Known>, EquivocationRefused>> {
        let event_id = self.envelope.event_id;
        Ok(match signed::load(tx, &self.signer, &event_id)? {
            Some((_, known)) if known.digest != self.digest => Err(EquivocationRefused {
                event_id,
                signed: known.digest,
                refused: self.digest,
            }),
            known => Ok(known.map(|(signer, known)| (signer, known.signature))),
        })
    }

    fn answer(&self, signer: EvmAddress, signature: [u8; 65], fresh: bool) -> SignedEnvelope {
        SignedEnvelope {
            signer,
            digest: self.digest,
            signature,
            fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Credential, Keyring};
    use crate::ledger::Ledger;
    use wavs_store::Durability;
    use wavs_types::{Bytes, EventId};

    fn prepared(index: u32, payload: &'static [u8]) -> Prepared {
        let phrase = "test test test test test test test test test test test junk";
        let ring = Keyring::new(Credential::parse(phrase).ok().unwrap()).ok().unwrap();
        let envelope = Envelope::new(EventId::new([1; 20]), None, Bytes::from_static(payload));
        Prepared::new(&ring.signer(index).ok().unwrap(), envelope, SignatureKind::EIP191)
            .ok()
            .unwrap()
    }

    async fn commit(ledger: &Ledger, prepared: Prepared) -> Result<SignedEnvelope, EquivocationRefused> {
        ledger
            .write(Durability::Power, move |tx| prepared.commit(tx, 7))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn the_same_digest_gives_the_stored_bytes_and_another_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let first = commit(&Ledger::open(&path).unwrap(), prepared(1, b"a")).await.unwrap();
        assert!(first.fresh);

        // A restart in between changes nothing.
        let ledger = Ledger::open(&path).unwrap();
        let again = commit(&ledger, prepared(1, b"a")).await.unwrap();
        assert_eq!((again.signature, again.fresh), (first.signature, false));
        let refused = commit(&ledger, prepared(1, b"b")).await.unwrap_err();
        assert_eq!(refused.signed, first.digest);
        assert_eq!(refused.refused, prepared(1, b"b").digest());

        // Another key of ours, after a rotation, signs nothing else, and nothing again.
        assert!(commit(&ledger, prepared(2, b"b")).await.is_err());
        assert_eq!(commit(&ledger, prepared(2, b"a")).await.unwrap(), again);
    }
}
