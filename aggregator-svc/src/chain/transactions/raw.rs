//! Building, signing and reading back raw transactions (EIP-2718).

use alloy::consensus::{SignableTransaction, Transaction as _, TxEip1559, TxEnvelope, TxLegacy};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};

use super::fees::Bid;
use super::signer::{PostingSigner, SignRefused};

/// Gas of a transfer without data.
pub(super) const TRANSFER_GAS: u64 = 21_000;

/// A transaction before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) chain_id: u64,
    pub(super) nonce: u64,
    pub(super) to: Address,
    pub(super) input: Bytes,
    pub(super) gas: u64,
    pub(super) bid: Bid,
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) raw: Bytes,
    pub(super) hash: B256,
}

impl Draft {
    /// Signs it: EIP-1559 with a priority fee, else a legacy transaction with replay protection (EIP-155).
    pub(super) fn sign(&self, signer: &dyn PostingSigner) -> Result<Signed, SignRefused> {
        let (to, input) = (TxKind::Call(self.to), self.input.clone());
        let envelope: TxEnvelope = match self.bid.priority {
            Some(priority) => {
                let tx = TxEip1559 {
                    chain_id: self.chain_id,
                    nonce: self.nonce,
                    gas_limit: self.gas,
                    max_fee_per_gas: self.bid.max_fee,
                    max_priority_fee_per_gas: priority,
                    to,
                    value: U256::ZERO,
                    access_list: Default::default(),
                    input,
                };
                let signature = signer.sign_hash(&tx.signature_hash())?;
                tx.into_signed(signature).into()
            }
            None => {
                let tx = TxLegacy {
                    chain_id: Some(self.chain_id),
                    nonce: self.nonce,
                    gas_price: self.bid.max_fee,
                    gas_limit: self.gas,
                    to,
                    value: U256::ZERO,
                    input,
                };
                let signature = signer.sign_hash(&tx.signature_hash())?;
                tx.into_signed(signature).into()
            }
        };
        Ok(Signed {
            hash: *envelope.tx_hash(),
            raw: envelope.encoded_2718().into(),
        })
    }

    /// Reads a stored transaction back, for a replacement or a replay.
    pub(super) fn of(raw: &[u8]) -> Option<Self> {
        let tx = TxEnvelope::decode_2718(&mut &*raw).ok()?;
        Some(Self {
            chain_id: tx.chain_id()?,
            nonce: tx.nonce(),
            to: tx.to()?,
            input: tx.input().clone(),
            gas: tx.gas_limit(),
            bid: Bid {
                max_fee: tx.max_fee_per_gas(),
                priority: tx.max_priority_fee_per_gas(),
            },
        })
    }

    /// The same nonce without effect: a transfer of nothing to the own account.
    pub(super) fn cancel(&self, account: Address) -> Self {
        Self {
            to: account,
            input: Bytes::new(),
            gas: TRANSFER_GAS,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::signers::SignerSync;
    use alloy::signers::local::PrivateKeySigner;

    use super::*;

    struct Key(PrivateKeySigner);

    impl PostingSigner for Key {
        fn address(&self) -> Address {
            self.0.address()
        }

        fn sign_hash(&self, hash: &B256) -> Result<alloy::primitives::Signature, SignRefused> {
            self.0.sign_hash_sync(hash).map_err(|e| SignRefused(e.to_string()))
        }
    }

    #[test]
    fn what_is_stored_can_be_read_back() {
        let key = Key(PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap());
        for priority in [None, Some(2)] {
            let draft = Draft {
                chain_id: 31337,
                nonce: 9,
                to: Address::repeat_byte(1),
                input: Bytes::from_static(b"data"),
                gas: 50_000,
                bid: Bid { max_fee: 10, priority },
            };
            let signed = draft.sign(&key).unwrap();
            assert_eq!(Draft::of(&signed.raw), Some(draft.clone()));
            assert_eq!(draft.sign(&key).unwrap(), signed, "signatures are deterministic");
            assert_eq!(draft.cancel(key.address()).gas, TRANSFER_GAS);
        }
        assert_eq!(Draft::of(b"junk"), None);
    }
}
