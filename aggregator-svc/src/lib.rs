//! aggregator-svc: the service registry, the ledger, the signing and posting keys, and the way of a trigger to its chain.
//!
//! Data flows through [`pipeline`]: triggers are taken over from trigger-svc, run by engine-svc, signed here with keys that
//! exist in no other process ([`keys`]), gathered with those of other operators ([`peers`]), judged and posted by [`chain`].
//! Everything that must not be forgotten is in the [`ledger`]. [`registry`] decides which services take part; [`service`] and
//! [`records`] answer the supervisor. This process runs no guest code, fetches no documents, and calls only trigger-svc,
//! engine-svc, p2p-svc and chains. [`check`] is its part of `wavs check`.

use std::path::Path;
use std::sync::Arc;

use wavs_ipc::contract::lifecycle::{Lifecycle, LifecycleClient};
use wavs_ipc::contract::records::{Records as RecordsContract, RecordsClient};
use wavs_ipc::contract::registry::{Registry as RegistryContract, RegistryClient};
use wavs_ipc::{Identity, Role, Router, handler};
use wavs_service::config::AggregatorConfig;
use wavs_service::sandbox::Profile;
use wavs_service::{Boot, Fatal, ProcessName, Secret};

pub mod chain;
pub mod check;
pub mod clock;
pub mod keys;
pub mod ledger;
pub mod metrics;
pub mod node;
pub mod peers;
pub mod pipeline;
pub mod records;
pub mod registry;
pub mod service;
pub mod settings;
pub mod variables;
mod wallets;

use chain::PostingSigner;
use keys::{Credential, CredentialError, Keyring, PostingKey};
use node::{Node, Setup};
use settings::Settings;
use variables::Variables;

/// The part of the process that its readiness shows.
const SIGNING_KEY: &str = "signing-key";

/// What aggregator-svc may do: reach chains and the processes that it calls, and keep its own state.
#[must_use]
pub fn profile(_: &AggregatorConfig, data_dir: &Path) -> Profile {
    Profile::internet()
        .unix_sockets()
        .writes(&ProcessName::Aggregator.state_dir(data_dir))
}

/// Runs the process until `boot.shutdown` is cancelled.
///
/// # Errors
/// When a credential cannot be used or the ledger cannot be opened.
pub async fn run(mut boot: Boot<AggregatorConfig>) -> anyhow::Result<()> {
    let config = &mut boot.config;
    if config.submission_networking_disabled {
        tracing::warn!("disable_submission_networking is set: this node posts nothing");
        config.evm_credential = None;
    }
    let status = boot.lifecycle.status.clone();
    if config.signing_mnemonic.is_some() || config.aggregate_only {
        status.recover(SIGNING_KEY);
    } else {
        let reason = "no signing_mnemonic is configured, so nothing can be signed; set it, or aggregate_only = true";
        status.degrade(SIGNING_KEY, reason);
    }
    let setup = Setup {
        ledger: ProcessName::Aggregator.state_dir(&boot.data_dir).join("ledger.db"),
        engine: ProcessName::Engine.rpc_socket(&boot.data_dir),
        trigger: ProcessName::Trigger.rpc_socket(&boot.data_dir),
        p2p: config.p2p_enabled.then(|| ProcessName::P2p.rpc_socket(&boot.data_dir)),
        settings: Settings::from(&*config),
        variables: Variables::new(std::mem::take(&mut config.component_env)),
        keyring: keyring(config.signing_mnemonic.take())?,
        posting: posting(config.evm_credential.take(), config.hd_index)?,
        metrics: boot.lifecycle.metrics.clone(),
        status,
    };
    let node = Node::start(setup, boot.shutdown.clone()).await?;
    let router = Router::new(Identity::new(Role::Aggregator))
        .serve::<LifecycleClient, _, _>(handler!(Lifecycle, boot.lifecycle.clone()))
        .serve::<RegistryClient, _, _>(handler!(RegistryContract, node.service.clone()))
        .serve::<RecordsClient, _, _>(handler!(RecordsContract, node.records.clone()));
    boot.notify.ready();
    router.run(boot.ctl, boot.shutdown.cancelled_owned()).await;
    node.stop().await;
    Ok(())
}

fn keyring(mnemonic: Option<Secret>) -> Result<Option<Arc<Keyring>>, Fatal> {
    let Some(mnemonic) = mnemonic else { return Ok(None) };
    let keyring = Credential::parse(mnemonic.expose_secret())
        .and_then(Keyring::new)
        .map_err(|error| refuse("signing_mnemonic", &error))?;
    Ok(Some(Arc::new(keyring)))
}

fn posting(credential: Option<Secret>, hd_index: u32) -> Result<Option<Arc<dyn PostingSigner>>, Fatal> {
    let Some(credential) = credential else { return Ok(None) };
    let key = Credential::parse(credential.expose_secret())
        .and_then(|credential| PostingKey::new(&credential, hd_index))
        .map_err(|error| refuse("aggregator_evm_credential", &error))?;
    Ok(Some(Arc::new(key)))
}

fn refuse(key: &str, error: &CredentialError) -> Fatal {
    Fatal::config(format!("{key}: {error}"))
}
