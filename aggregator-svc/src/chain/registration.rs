//! What a service manager says about a signing key: who registered it, and with which weight.

use alloy::primitives::{Address, U256};
use wavs_types::ChainKey;

use super::chains::Chains;
use super::contracts::IWavsServiceManager as Manager;
use super::error::ChainError;

/// A signing key as its service manager sees it, at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// The operator whose latest signing key it is; none: nobody registered it.
    pub operator: Option<Address>,
    /// The operator's weight.
    pub weight: U256,
    /// Whether there is code at the key's address: such a manager may ask that contract instead of checking the signature.
    pub has_code: bool,
}

impl Registration {
    /// `registered`, `unregistered`, `zero_weight` or `has_code`; all but the first keep the key's signatures from counting.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self { has_code: true, .. } => "has_code",
            Self { operator: None, .. } => "unregistered",
            Self { weight, .. } if weight.is_zero() => "zero_weight",
            Self { .. } => "registered",
        }
    }
}

impl Chains {
    /// Asks `manager` on `chain` about the signing key with the address `key`, at the newest block.
    ///
    /// # Errors
    /// When the chain cannot be read.
    pub async fn registration(
        &self,
        chain: &ChainKey,
        manager: Address,
        key: Address,
    ) -> Result<Registration, ChainError> {
        let chain = self.evm(chain)?;
        chain
            .on_one("eth_call", |rpc| async move {
                let at = rpc.pin(&rpc.head().await?);
                let lookup = Manager::getLatestOperatorForSigningKeyCall { signingKey: key };
                let (operator, no_code) =
                    futures::try_join!(rpc.probe(manager, &lookup, at), rpc.code_is_empty(key, at))?;
                // A manager without the lookup counts the key itself as the operator.
                let operator = operator.unwrap_or(key);
                let call = Manager::getOperatorWeightCall { operator };
                let weight = match operator.is_zero() {
                    true => U256::ZERO,
                    false => rpc.probe(manager, &call, at).await?.unwrap_or_default(),
                };
                Ok(Registration {
                    operator: (!operator.is_zero()).then_some(operator),
                    weight,
                    has_code: !no_code,
                })
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registration_has_its_status() {
        let registration = |operator: Option<u8>, weight: u64, has_code| Registration {
            operator: operator.map(Address::repeat_byte),
            weight: U256::from(weight),
            has_code,
        };
        for (registration, status) in [
            (registration(Some(1), 5, false), "registered"),
            (registration(Some(1), 0, false), "zero_weight"),
            (registration(None, 0, false), "unregistered"),
            (registration(Some(1), 5, true), "has_code"),
        ] {
            assert_eq!(registration.status(), status);
        }
    }
}
