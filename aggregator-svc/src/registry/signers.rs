//! The keys of services as the API shows them, and the history of what they signed, for a move to another machine.

use std::collections::BTreeSet;

use wavs_ipc::contract::registry::{
    HistoryCursor, HistoryRow, MAX_HISTORY_ROWS, MirrorView, RegistrationView, SignerView,
};
use wavs_ipc::{ErrorCode, WireError};
use wavs_store::{Durability, StoreError};
use wavs_types::{B256, EvmAddress};

use super::standing::Mirrored;
use super::{Registry, ledger_failed};
use crate::chain::Registration;
use crate::keys::history::History;
use crate::ledger::pins::{self, PinState};
use crate::ledger::signed::{self, Entry, Imported, Signed};

/// Why an import was undone.
enum Refused {
    Conflict(wavs_types::EventId),
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(cause: StoreError) -> Self {
        Self::Store(cause)
    }
}

impl Registry {
    /// Every pin, with what is known of its key on chain.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn signers(&self) -> Result<Vec<SignerView>, WireError> {
        let (pins, former) = self
            .core()
            .ledger
            .read(|conn| Ok((pins::all(conn)?, pins::former(conn)?)))
            .await
            .map_err(ledger_failed)?;
        let view = |pin: pins::Pin| {
            let entry = self.directory().get(&pin.service_id);
            let standing = self
                .inner
                .standings
                .get(&pin.service_id)
                .filter(|standing| standing.key == pin.address);
            SignerView {
                service_id: pin.service_id,
                name: entry.as_ref().map(|entry| entry.service().name.clone()),
                hd_index: pin.hd_index,
                address: pin.address.into_array(),
                state: state(pin.state).to_owned(),
                history: pin.history.as_str().to_owned(),
                refusal: entry
                    .as_ref()
                    .and_then(|entry| match (&entry.signer, entry.history.get()) {
                        (Err(reason), _) => Some(reason.clone()),
                        (Ok(_), History::Missing) => Some(super::standing::missing(entry)),
                        (Ok(_), _) => None,
                    }),
                registration: standing.as_ref().and_then(|found| registration(&found.registration)),
                mirrors: standing.iter().flat_map(|found| &found.mirrors).map(mirror).collect(),
                error: standing
                    .as_ref()
                    .and_then(|standing| standing.registration.clone().err()),
                checked_at_ms: standing.map(|standing| standing.checked_ms),
                former: former
                    .iter()
                    .filter(|former| former.service_id == pin.service_id)
                    .map(|former| (former.hd_index, former.address.into_array()))
                    .collect(),
            }
        };
        Ok(pins.into_iter().map(view).collect())
    }

    /// Rows of the sign-once history after `after`, at most [`MAX_HISTORY_ROWS`].
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn export_history(&self, after: Option<HistoryCursor>, max: u32) -> Result<Vec<HistoryRow>, WireError> {
        let after = after.map(|after| (EvmAddress::from(after.signer), after.event_id));
        let rows = self
            .core()
            .ledger
            .read(move |conn| signed::page(conn, after.as_ref(), max.min(MAX_HISTORY_ROWS)))
            .await
            .map_err(ledger_failed)?;
        let row = |entry: Entry| HistoryRow {
            signer: entry.signer.into_array(),
            event_id: entry.event_id,
            digest: entry.signed.digest.0,
            signature: entry.signed.signature.to_vec(),
            signed_at_us: entry.signed_us,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Takes history of another ledger over, all of `rows` or none. Keys whose history was missing are complete then.
    /// Answers how many rows are new.
    ///
    /// # Errors
    /// `Invalid` for a signature of another length, `Conflict` when one of the events was signed here with another digest.
    pub async fn import_history(&self, rows: Vec<HistoryRow>) -> Result<u32, WireError> {
        if rows.len() > MAX_HISTORY_ROWS as usize {
            let text = format!(
                "{} rows at once are too many: send at most {MAX_HISTORY_ROWS}",
                rows.len()
            );
            return Err(WireError::never(ErrorCode::Invalid, text));
        }
        let keys: BTreeSet<EvmAddress> = rows.iter().map(|row| EvmAddress::from(row.signer)).collect();
        let entries = rows.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let write = self.core().ledger.database().writer();
        let imported = write
            .write(Durability::Power, move |tx| match signed::import(tx, &entries) {
                Ok(Imported::Rows(new)) => Ok(new),
                // An error undoes the rows before it.
                Ok(Imported::Conflict(event_id)) => Err(Refused::Conflict(event_id)),
                Err(cause) => Err(Refused::Store(cause.into())),
            })
            .await;
        let new = match imported {
            Ok(new) => new,
            Err(Refused::Store(cause)) => return Err(ledger_failed(cause)),
            Err(Refused::Conflict(event_id)) => {
                let text = format!(
                    "event {event_id} was signed here with another digest: both ledgers signed with the same key, which may \
                     be punished on chain. Nothing was imported; stop one of the nodes and keep the ledger that signed first"
                );
                return Err(WireError::never(ErrorCode::Conflict, text));
            }
        };
        for entry in self.directory().services().values() {
            if entry.history.get() != History::Complete && keys.contains(&entry.pin.1) {
                self.set_history(entry, History::Complete).await?;
            }
        }
        Ok(new)
    }
}

fn state(state: PinState) -> &'static str {
    match state {
        PinState::Pending => "pending",
        PinState::Active => "active",
        PinState::Retired => "retired",
    }
}

fn mirror(found: &Mirrored) -> MirrorView {
    MirrorView {
        chain: found.chain.clone(),
        manager: found.manager.into_array(),
        registration: registration(&found.registration),
        error: found.registration.clone().err(),
    }
}

fn registration(found: &Result<Registration, String>) -> Option<RegistrationView> {
    let found = found.as_ref().ok()?;
    Some(RegistrationView {
        status: found.status().to_owned(),
        operator: found.operator.map(EvmAddress::into_array),
        weight: found.weight.to_string(),
    })
}

fn entry(row: HistoryRow) -> Result<Entry, WireError> {
    let signature = row.signature.try_into().map_err(|_| {
        let text = format!("the signature for event {} does not have 65 bytes", row.event_id);
        WireError::never(ErrorCode::Invalid, text)
    })?;
    Ok(Entry {
        signer: EvmAddress::from(row.signer),
        event_id: row.event_id,
        signed: Signed {
            digest: B256::from(row.digest),
            signature,
        },
        signed_us: row.signed_at_us,
    })
}
