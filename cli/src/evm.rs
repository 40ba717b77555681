//! The user's own business on EVM chains: pointing a manager contract to a document, and looking whether contracts exist.

use std::time::Duration;

use alloy::network::EthereumWallet;
use alloy::primitives::{Address, B256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use alloy::sol_types::SolCall;
use wavs_types::{ChainConfig, ChainKey, EvmChainConfig, redacted_url};

use crate::config::{Config, Credential};
use crate::failure::{Exit, Failure};

/// Time for connecting to an endpoint, and for each question to it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Time until the transaction must be in a block.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(120);
/// Index of the user's key below `m/44'/60'/0'/0` when the credential is a phrase.
const HD_INDEX: u32 = 0;

mod abi {
    #![allow(missing_docs, reason = "the macro generates items without documentation")]

    alloy::sol! {
        function setServiceURI(string uri);
    }
}

/// Why a chain could not be used. Endpoints are shown without keys.
#[derive(Debug, thiserror::Error)]
pub enum EvmError {
    /// The chain is no EVM chain.
    #[error("chain {0} is not an EVM chain; its contracts cannot be reached by this version")]
    Family(ChainKey),
    /// Nothing to talk to.
    #[error("chain {0} has neither http_endpoint nor ws_endpoints in the configuration of this tool; add one")]
    NoEndpoint(ChainKey),
    /// The endpoint is of another chain.
    #[error("the endpoint {endpoint} of {chain} is of chain {found}, expected {expected}; correct the configuration")]
    ChainId {
        /// The chain.
        chain: ChainKey,
        /// The endpoint.
        endpoint: String,
        /// What it should report.
        expected: String,
        /// What it reports.
        found: u64,
    },
    /// A question to the chain failed.
    #[error("{chain}, {endpoint}: {what} failed: {cause}")]
    Rpc {
        /// The chain.
        chain: ChainKey,
        /// The endpoint.
        endpoint: String,
        /// What was asked.
        what: &'static str,
        /// What went wrong.
        cause: String,
    },
    /// The credential is neither a phrase nor a key.
    #[error("evm_credential is neither a BIP-39 English phrase nor 0x and 64 hex digits")]
    Credential,
    /// The transaction is in a block but had no effect.
    #[error("transaction {hash} on {chain} was reverted by {contract}; does the credential own the contract?")]
    Reverted {
        /// The transaction.
        hash: B256,
        /// The chain.
        chain: ChainKey,
        /// The contract.
        contract: Address,
    },
}

impl From<EvmError> for Failure {
    fn from(error: EvmError) -> Self {
        let (exit, code) = match &error {
            EvmError::Family(_) | EvmError::NoEndpoint(_) | EvmError::ChainId { .. } => {
                (Exit::Usage, "chain-config-invalid")
            }
            EvmError::Credential => (Exit::Usage, "credential"),
            EvmError::Rpc { .. } => (Exit::Failed, "chain-rpc"),
            EvmError::Reverted { .. } => (Exit::Failed, "reverted"),
        };
        Self::new(exit, code, error.to_string())
    }
}

/// A connection to one chain.
pub struct EvmChain {
    key: ChainKey,
    endpoint: String,
    provider: DynProvider,
}

impl EvmChain {
    /// Connects for reading.
    ///
    /// # Errors
    /// When the chain has no endpoint here, or it does not answer or is of another chain.
    pub async fn connect(key: &ChainKey, chain: &ChainConfig) -> Result<Self, EvmError> {
        Self::open(key, chain, None).await
    }

    /// Connects with the user's key.
    ///
    /// # Errors
    /// As [`EvmChain::connect`], and when the credential cannot be used.
    pub async fn connect_with_key(key: &ChainKey, config: &Config) -> Result<Self, Failure> {
        let chain = config.chain(key)?;
        let credential = config.evm_credential.as_ref().ok_or_else(|| {
            let detail = "the transaction needs your key: set evm_credential (WAVS_CLI_EVM_CREDENTIAL, --evm-credential file:PATH)";
            Failure::new(Exit::Usage, "credential", detail)
        })?;
        Ok(Self::open(key, chain, Some(signer(credential)?)).await?)
    }

    async fn open(key: &ChainKey, chain: &ChainConfig, signer: Option<PrivateKeySigner>) -> Result<Self, EvmError> {
        let config = chain.as_evm().ok_or_else(|| EvmError::Family(key.clone()))?;
        let url = endpoint(config).ok_or_else(|| EvmError::NoEndpoint(key.clone()))?;
        let endpoint = redacted_url(url);
        let rpc = |what, cause: String| EvmError::Rpc {
            chain: key.clone(),
            endpoint: endpoint.clone(),
            what,
            cause,
        };
        let connected = tokio::time::timeout(REQUEST_TIMEOUT, async {
            match signer {
                Some(signer) => {
                    let builder = ProviderBuilder::new().wallet(EthereumWallet::from(signer));
                    builder.connect(url).await.map(Provider::erased)
                }
                None => ProviderBuilder::new().connect(url).await.map(Provider::erased),
            }
        });
        let provider = connected.await.map_err(|_| rpc("connecting", late()))?;
        // The errors of the transport may repeat the URL with its keys.
        let provider = provider.map_err(|error| rpc("connecting", error.to_string().replace(url, &endpoint)))?;
        let connected = Self {
            key: key.clone(),
            endpoint,
            provider,
        };
        let found = connected
            .ask("eth_chainId", url, connected.provider.get_chain_id())
            .await?;
        if found.to_string() != config.chain_id {
            let (endpoint, expected) = (connected.endpoint, config.chain_id.clone());
            return Err(EvmError::ChainId {
                chain: connected.key,
                endpoint,
                expected,
                found,
            });
        }
        Ok(connected)
    }

    /// Whether there is a contract at `address`.
    ///
    /// # Errors
    /// When the endpoint does not answer.
    pub async fn has_code(&self, address: Address) -> Result<bool, EvmError> {
        let code = self
            .ask("eth_getCode", "", self.provider.get_code_at(address).into_future())
            .await?;
        Ok(!code.is_empty())
    }

    /// The number of the newest block.
    ///
    /// # Errors
    /// When the endpoint does not answer.
    pub async fn head(&self) -> Result<u64, EvmError> {
        self.ask("eth_blockNumber", "", self.provider.get_block_number().into_future())
            .await
    }

    /// Points a manager contract to a document and waits for one confirmation.
    ///
    /// # Errors
    /// When the transaction cannot be sent, is in no block in time, or is reverted.
    pub async fn set_service_uri(&self, manager: Address, uri: &str) -> Result<B256, EvmError> {
        let call = abi::setServiceURICall { uri: uri.to_owned() };
        let request = TransactionRequest::default()
            .to(manager)
            .input(call.abi_encode().into());
        let sent = self
            .provider
            .send_transaction(request)
            .await
            .map_err(|error| self.rpc("setServiceURI", "", &error))?;
        let hash = *sent.tx_hash();
        tracing::info!("transaction {hash} sent to {}", self.key);
        let receipt = sent.with_timeout(Some(RECEIPT_TIMEOUT)).get_receipt().await;
        let receipt = receipt.map_err(|error| self.rpc("waiting for the receipt", "", &error))?;
        if receipt.status() {
            return Ok(hash);
        }
        Err(EvmError::Reverted {
            hash,
            chain: self.key.clone(),
            contract: manager,
        })
    }

    async fn ask<T, E: std::fmt::Display>(
        &self,
        what: &'static str,
        url: &str,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, EvmError> {
        match tokio::time::timeout(REQUEST_TIMEOUT, question).await {
            Ok(answer) => answer.map_err(|error| self.rpc(what, url, &error)),
            Err(_) => Err(self.rpc(what, url, &late())),
        }
    }

    fn rpc(&self, what: &'static str, url: &str, cause: &impl std::fmt::Display) -> EvmError {
        let mut cause = cause.to_string();
        if !url.is_empty() {
            cause = cause.replace(url, &self.endpoint);
        }
        EvmError::Rpc {
            chain: self.key.clone(),
            endpoint: self.endpoint.clone(),
            what,
            cause,
        }
    }
}

fn late() -> String {
    format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())
}

/// HTTP is preferred: a few calls do not need a subscription.
fn endpoint(config: &EvmChainConfig) -> Option<&str> {
    config
        .http_endpoint
        .as_deref()
        .or_else(|| config.ws_endpoints.first().map(String::as_str))
}

fn signer(credential: &Credential) -> Result<PrivateKeySigner, Failure> {
    let secret = credential.read()?;
    let text = secret.expose().trim();
    let signer = if text.starts_with("0x") {
        text.parse().ok()
    } else {
        MnemonicBuilder::<English>::default()
            .phrase(text)
            .index(HD_INDEX)
            .ok()
            .and_then(|builder| builder.build().ok())
    };
    Ok(signer.ok_or(EvmError::Credential)?)
}
