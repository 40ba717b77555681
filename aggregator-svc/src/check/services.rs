//! The keys of known services: does this phrase still derive them, and are they the ones that are registered on chain.

use std::path::Path;
use std::time::Duration;

use alloy::primitives::{Address, Bytes};
use alloy::rpc::client::RpcClient;
use alloy::sol_types::SolCall as _;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use wavs_service::ProcessName;
use wavs_service::check::Finding;
use wavs_types::{EvmAddress, ServiceManager};

use super::chains::Endpoints;
use crate::chain::IWavsServiceManager;
use crate::keys::Keyring;
use crate::ledger::pins::{self, Pin};
use crate::ledger::services::{self, ServiceRow};

/// How long a running node may hold the ledger up.
const BUSY: Duration = Duration::from_secs(5);
/// Longest wait for one manager.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at every service in the ledger. A node that has none yet has nothing to look at.
pub(super) async fn look(data_dir: &Path, keyring: Option<&Keyring>, endpoints: &Endpoints) -> Vec<Finding> {
    let path = ProcessName::Aggregator.state_dir(data_dir).join("ledger.db");
    if !path.exists() {
        return Vec::new();
    }
    let known = match read(&path) {
        Ok(known) => known,
        Err(error) => {
            let detail = format!("{} cannot be read: {error}", path.display());
            return vec![Finding::warning("services", detail)];
        }
    };
    let looks = known
        .iter()
        .map(|(service, pin)| one(service, pin.as_ref(), keyring, endpoints));
    futures::future::join_all(looks).await
}

fn read(path: &Path) -> rusqlite::Result<Vec<(ServiceRow, Option<Pin>)>> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.busy_timeout(BUSY)?;
    let with_pin = |service: ServiceRow| {
        let pin = pins::of_service(&conn, &service.service_id)?;
        Ok((service, pin))
    };
    services::all(&conn)?.into_iter().map(with_pin).collect()
}

async fn one(service: &ServiceRow, pin: Option<&Pin>, keyring: Option<&Keyring>, endpoints: &Endpoints) -> Finding {
    let subject = format!("service {}", service.service_id);
    let Some(pin) = pin else {
        return Finding::warning(subject, "has no signing key yet");
    };
    let Some(keyring) = keyring else {
        return Finding::failed(
            subject,
            format!("its key {} cannot be derived without the phrase", pin.address),
        );
    };
    match keyring.signer(pin.hd_index).map(|signer| signer.address()) {
        Ok(derived) if derived == pin.address => {}
        Ok(derived) => {
            let detail = format!(
                "its key is {}, but signing_mnemonic derives {derived} at index {}: restore the phrase it was added with",
                pin.address, pin.hd_index
            );
            return Finding::failed(subject, detail);
        }
        Err(error) => return Finding::failed(subject, error.to_string()),
    }
    registered(subject, &service.manager, pin.address, endpoints).await
}

async fn registered(subject: String, manager: &ServiceManager, key: EvmAddress, endpoints: &Endpoints) -> Finding {
    let ServiceManager::Evm { chain, address } = manager else {
        return Finding::good(subject, format!("key {key}"));
    };
    let Some(client) = endpoints.of(chain) else {
        return Finding::warning(
            subject,
            format!("key {key}; {chain} has no endpoint to ask for its registration"),
        );
    };
    let asked = tokio::time::timeout(PATIENCE, operator_of(client, *address, key)).await;
    match asked {
        Ok(Some(operator)) if !operator.is_zero() => {
            Finding::good(subject, format!("key {key} is registered for operator {operator}"))
        }
        Ok(Some(_)) => {
            let detail = format!("key {key} is not registered with {address} on {chain}: its signatures do not count");
            Finding::warning(subject, detail)
        }
        // Managers without this getter exist; a quorum is judged by `validate` all the same.
        Ok(None) | Err(_) => Finding::warning(
            subject,
            format!("key {key}; {address} on {chain} does not tell whether it is registered"),
        ),
    }
}

/// The operator that a key signs for, by the manager.
async fn operator_of(client: &RpcClient, manager: EvmAddress, key: EvmAddress) -> Option<Address> {
    let call = IWavsServiceManager::getLatestOperatorForSigningKeyCall { signingKey: key };
    let call = json!([{"to": manager, "data": Bytes::from(call.abi_encode())}, "latest"]);
    let answer: Bytes = client.request("eth_call", call).await.ok()?;
    IWavsServiceManager::getLatestOperatorForSigningKeyCall::abi_decode_returns(&answer).ok()
}
