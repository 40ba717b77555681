//! Which derivation index a service gets.
//!
//! The rules: a known service keeps its index for ever; a new one gets the next index above every one in the table, or the
//! explicit one of a migration if it is free; index 0 is never given out. The row is committed before the key is used.

use rusqlite::Connection;
use wavs_types::{EvmAddress, ServiceId};

use super::credential::CredentialError;
use super::signer::{Keyring, ServiceSigner};
use crate::ledger::pins::{self, Pin};

/// Why a service cannot have the index that it was to get.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Zero was asked for.
    #[error("hd_index 0 is never used for services: choose an index above 0, or leave hd_index out")]
    Zero,
    /// The service has another one.
    #[error("service {service_id} is pinned to index {pinned} and cannot get index {asked}: leave hd_index out")]
    Pinned {
        /// The service.
        service_id: ServiceId,
        /// Its index.
        pinned: u32,
        /// What was asked for.
        asked: u32,
    },
    /// Another service has it.
    #[error("index {asked} belongs to service {holder}: choose another hd_index, or leave it out")]
    Taken {
        /// What was asked for.
        asked: u32,
        /// Whose it is.
        holder: ServiceId,
    },
    /// The table says another address than the mnemonic derives.
    #[error(
        "index {hd_index} of service {service_id} derives {derived}, but {pinned} was pinned: signing_mnemonic is another one \
         than before; restore the earlier mnemonic"
    )]
    OtherMnemonic {
        /// The service.
        service_id: ServiceId,
        /// Its index.
        hd_index: u32,
        /// What was pinned.
        pinned: EvmAddress,
        /// What is derived now.
        derived: EvmAddress,
    },
    /// There is no key there.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// Finds or makes the pin of a service, inside the transaction that stores the service.
///
/// # Errors
/// The outer error is of a statement; the inner one a refusal, after which nothing was changed.
pub fn pin(
    tx: &Connection,
    keyring: &Keyring,
    service_id: &ServiceId,
    asked: Option<u32>,
    now_ms: u64,
) -> rusqlite::Result<Result<ServiceSigner, PinError>> {
    if let Some(pin) = pins::of_service(tx, service_id)? {
        return Ok(match asked {
            Some(asked) if asked != pin.hd_index => Err(PinError::Pinned {
                service_id: *service_id,
                pinned: pin.hd_index,
                asked,
            }),
            _ => load(keyring, &pin),
        });
    }
    let hd_index = match asked {
        Some(0) => return Ok(Err(PinError::Zero)),
        Some(asked) => match pins::holder(tx, asked)? {
            Some(holder) => return Ok(Err(PinError::Taken { asked, holder })),
            None => asked,
        },
        None => pins::next(tx)?,
    };
    let signer = match keyring.signer(hd_index) {
        Ok(signer) => signer,
        Err(error) => return Ok(Err(error.into())),
    };
    pins::insert(tx, service_id, hd_index, &signer.address(), now_ms)?;
    Ok(Ok(signer))
}

/// The key of a pin, if the mnemonic still derives the pinned address.
///
/// # Errors
/// [`PinError::OtherMnemonic`]: signing for the service has to stop; nothing is derived anew.
pub fn load(keyring: &Keyring, pin: &Pin) -> Result<ServiceSigner, PinError> {
    let signer = keyring.signer(pin.hd_index)?;
    if signer.address() != pin.address {
        return Err(PinError::OtherMnemonic {
            service_id: pin.service_id,
            hd_index: pin.hd_index,
            pinned: pin.address,
            derived: signer.address(),
        });
    }
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Credential;
    use crate::ledger::Ledger;
    use wavs_store::Durability;

    fn keyring(phrase: &str) -> std::sync::Arc<Keyring> {
        std::sync::Arc::new(Keyring::new(Credential::parse(phrase).ok().unwrap()).ok().unwrap())
    }

    const PHRASE: &str = "test test test test test test test test test test test junk";
    const OTHER: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn id(byte: u8) -> ServiceId {
        ServiceId::new([byte; 32])
    }

    async fn add(ledger: &Ledger, service: u8, asked: Option<u32>) -> Result<u32, PinError> {
        let keyring = keyring(PHRASE);
        ledger
            .write(Durability::Power, move |tx| {
                let signer = pin(tx, &keyring, &id(service), asked, 1)?;
                Ok(signer.map(|signer| signer.hd_index()))
            })
            .await
            .unwrap()
    }

    async fn change(ledger: &Ledger, service: u8, change: fn(&Connection, &ServiceId) -> rusqlite::Result<()>) {
        ledger
            .write(Durability::Power, move |tx| change(tx, &id(service)))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn indices_start_at_1_and_survive_restart_removal_and_another_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let ledger = Ledger::open(&path).unwrap();
        for (service, index) in [(7, 1), (3, 2), (5, 3)] {
            assert_eq!(add(&ledger, service, None).await.unwrap(), index);
            change(&ledger, service, pins::activate).await;
        }
        change(&ledger, 7, pins::retire).await;
        change(&ledger, 5, pins::retire).await;
        drop(ledger);

        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(add(&ledger, 9, None).await.unwrap(), 4, "a retired index is not free");
        for (service, index) in [(5, 3), (7, 1), (3, 2)] {
            assert_eq!(add(&ledger, service, None).await.unwrap(), index);
        }
    }

    #[tokio::test]
    async fn only_a_failed_first_add_releases_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        add(&ledger, 1, None).await.unwrap();
        change(&ledger, 1, pins::release).await;
        assert_eq!(add(&ledger, 2, None).await.unwrap(), 1);
        change(&ledger, 2, pins::activate).await;
        // A later add of a known service that fails leaves the pin alone.
        change(&ledger, 2, pins::retire).await;
        change(&ledger, 2, pins::release).await;
        assert_eq!(add(&ledger, 3, None).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn an_explicit_index_must_be_free_and_above_0() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        assert!(matches!(add(&ledger, 1, Some(0)).await, Err(PinError::Zero)));
        assert_eq!(add(&ledger, 1, Some(40)).await.unwrap(), 40);
        assert!(matches!(add(&ledger, 2, Some(40)).await, Err(PinError::Taken { .. })));
        assert!(matches!(
            add(&ledger, 1, Some(41)).await,
            Err(PinError::Pinned { pinned: 40, .. })
        ));
        assert_eq!(add(&ledger, 1, Some(40)).await.unwrap(), 40);
        assert_eq!(add(&ledger, 2, None).await.unwrap(), 41);
    }

    #[tokio::test]
    async fn another_mnemonic_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        add(&ledger, 1, None).await.unwrap();
        let pins = ledger.read(pins::all).await.unwrap();
        assert!(load(&keyring(PHRASE), &pins[0]).is_ok());
        assert!(matches!(
            load(&keyring(OTHER), &pins[0]),
            Err(PinError::OtherMnemonic { hd_index: 1, .. })
        ));
    }
}
