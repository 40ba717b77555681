//! What only the holder of the keys can tell before the node starts: whether the credentials make keys, whether each endpoint serves
//! its chain, whether the clock agrees with the chains, what the posting account has, and whether the keys of known services are the
//! ones that are registered. Nothing is written; the ledger is read beside a running node.

mod chains;
mod services;

use wavs_service::Handover;
use wavs_service::check::Finding;
use wavs_service::config::AggregatorConfig;
use wavs_types::EvmAddress;

use crate::chain::PostingSigner as _;
use crate::keys::{Credential, Keyring, PostingKey};

/// Looks at everything.
pub async fn run(handover: Handover<AggregatorConfig>) -> Vec<Finding> {
    let Handover {
        data_dir, mut config, ..
    } = handover;
    let mut findings = Vec::new();
    let keyring = signing_key(&mut config, &mut findings);
    let account = posting_account(&mut config, &mut findings);
    let mut endpoints = chains::Endpoints::default();
    findings.extend(endpoints.look(&config.chains, account).await);
    findings.extend(services::look(&data_dir, keyring.as_ref(), &endpoints).await);
    findings
}

fn signing_key(config: &mut AggregatorConfig, findings: &mut Vec<Finding>) -> Option<Keyring> {
    const SUBJECT: &str = "signing key";
    let Some(mnemonic) = config.signing_mnemonic.take() else {
        let missing = "no signing_mnemonic is configured: no service can be added. Set it, or aggregate_only = true";
        findings.push(if config.aggregate_only {
            Finding::good(SUBJECT, "none: this node only aggregates")
        } else {
            Finding::warning(SUBJECT, missing)
        });
        return None;
    };
    match Credential::parse(mnemonic.expose_secret()).and_then(Keyring::new) {
        Ok(keyring) => {
            findings.push(Finding::good(SUBJECT, "the phrase is valid"));
            Some(keyring)
        }
        Err(error) => {
            findings.push(Finding::failed(SUBJECT, format!("signing_mnemonic: {error}")));
            None
        }
    }
}

fn posting_account(config: &mut AggregatorConfig, findings: &mut Vec<Finding>) -> Option<EvmAddress> {
    const SUBJECT: &str = "posting account";
    let Some(credential) = config.evm_credential.take() else {
        let missing = "no aggregator_evm_credential is configured: this node never posts, others have to";
        findings.push(Finding::warning(SUBJECT, missing));
        return None;
    };
    let key = Credential::parse(credential.expose_secret())
        .and_then(|credential| PostingKey::new(&credential, config.hd_index));
    match key {
        Ok(key) => {
            findings.push(Finding::good(SUBJECT, key.address().to_string()));
            Some(key.address())
        }
        Err(error) => {
            findings.push(Finding::failed(SUBJECT, format!("aggregator_evm_credential: {error}")));
            None
        }
    }
}
