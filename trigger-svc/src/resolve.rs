//! Service documents: the URI from the manager, the bytes from the URI.

use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol;
use alloy::sol_types::SolCall;
use wavs_fetch::{FetchError, FetchLimits, Fetcher};
use wavs_ipc::contract::trigger_feed::{ResolveService, ResolvedService};
use wavs_ipc::{ErrorCode, WireError};
use wavs_types::{ChainConfig, EvmAddress, EvmChainConfig, ServiceManager};

use crate::chain_rpc::refusal::Refusal;
use crate::chain_rpc::{ChainError, ChainRpc};

/// Largest service document.
const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;
/// Time for reading the URI from the chain, over all endpoints.
const CHAIN_LIMIT: Duration = Duration::from_secs(10);

sol! {
    function getServiceURI() external view returns (string memory);
}

/// Reads service documents.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    fetcher: Fetcher,
    limits: FetchLimits,
    allow_file: bool,
}

impl Resolver {
    /// A resolver whose downloads stall for at most `timeout` and take no longer than that in all.
    #[must_use]
    pub(crate) fn new(fetcher: Fetcher, timeout: Duration, allow_file: bool) -> Self {
        let limits = FetchLimits {
            max_bytes: MAX_DOCUMENT_BYTES,
            stall: timeout,
            total: timeout,
        };
        Self {
            fetcher,
            limits,
            allow_file,
        }
    }

    /// Reads the URI that the manager names, unless the request gives one, and fetches the document.
    ///
    /// # Errors
    /// `Chain` when no endpoint answers or the manager has no URI; `Fetch` when the download fails; both name the cause.
    pub(crate) async fn resolve(&self, request: ResolveService) -> Result<ResolvedService, WireError> {
        let uri = match request.uri {
            Some(uri) => uri,
            None => service_uri(&request.manager, &request.chain.decode()?).await?,
        };
        let document = self.document(&uri).await?;
        Ok(ResolvedService { uri, document })
    }

    async fn document(&self, uri: &str) -> Result<Vec<u8>, WireError> {
        if let Some(path) = uri.strip_prefix("file://") {
            return self.file(uri, path).await;
        }
        self.fetcher
            .fetch(uri, self.limits)
            .await
            .map_err(|cause| fetch_error(&cause))
    }

    async fn file(&self, uri: &str, path: &str) -> Result<Vec<u8>, WireError> {
        let refused =
            |cause: String| WireError::never(ErrorCode::Fetch, format!("Failed to fetch service: {uri}: {cause}"));
        if !self.allow_file {
            return Err(refused(
                "files are not read; use http, https or ipfs, or set fetch.allow_file = true".to_owned(),
            ));
        }
        let size = tokio::fs::metadata(path)
            .await
            .map_err(|cause| refused(cause.to_string()))?
            .len();
        if size > MAX_DOCUMENT_BYTES {
            return Err(refused(format!("larger than the limit of {MAX_DOCUMENT_BYTES} bytes")));
        }
        tokio::fs::read(path).await.map_err(|cause| refused(cause.to_string()))
    }
}

fn fetch_error(cause: &FetchError) -> WireError {
    let detail = format!("Failed to fetch service: {cause}");
    if cause.is_transient() {
        WireError::backoff(ErrorCode::Fetch, detail)
    } else {
        WireError::never(ErrorCode::Fetch, detail)
    }
}

/// Asks the manager contract, over one endpoint after the other.
async fn service_uri(manager: &ServiceManager, chain: &ChainConfig) -> Result<String, WireError> {
    match (manager, chain) {
        (ServiceManager::Evm { chain: key, address }, ChainConfig::Evm(config)) => {
            let reading = evm_service_uri(*address, config);
            let uri = tokio::time::timeout(CHAIN_LIMIT, reading)
                .await
                .map_err(|_| {
                    chain_error(format!(
                        "{key}: no endpoint told the service URI of {address} within {CHAIN_LIMIT:?}"
                    ))
                })?
                .map_err(|cause| {
                    chain_error(format!(
                        "cannot read the service URI of manager {address} on {key}: {cause}"
                    ))
                })?;
            if uri.is_empty() {
                let detail = format!("manager {address} on {key} names no service URI; set one with setServiceURI");
                return Err(WireError::never(ErrorCode::Chain, detail));
            }
            Ok(uri)
        }
        (ServiceManager::Cosmos { chain: key, .. }, ChainConfig::Cosmos(_)) => Err(WireError::never(
            ErrorCode::Chain,
            format!("{key}: this version does not read service managers on Cosmos chains; use an EVM manager"),
        )),
        _ => Err(WireError::never(
            ErrorCode::ChainNotConfigured,
            format!(
                "the manager and the configuration of chain {} are of different families",
                manager.chain()
            ),
        )),
    }
}

fn chain_error(detail: String) -> WireError {
    WireError::backoff(ErrorCode::Chain, detail)
}

async fn evm_service_uri(manager: EvmAddress, config: &EvmChainConfig) -> Result<String, ChainError> {
    let mut last = None;
    for rpc in connections(config).await {
        let answer = match rpc {
            Ok(rpc) => call_service_uri(&rpc, manager).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(uri) => return Ok(uri),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| ChainError::Rpc {
        endpoint: "the chain".to_owned(),
        what: "connect",
        cause: "no endpoint is configured".to_owned(),
        refusal: None,
    }))
}

/// Opens one endpoint after the other, lazily: HTTP first, because it needs no handshake of its own.
async fn connections(config: &EvmChainConfig) -> Vec<Result<ChainRpc, ChainError>> {
    let mut opened = Vec::new();
    if let Some(url) = &config.http_endpoint {
        opened.push(ChainRpc::connect_http(url, config).await);
        if opened.iter().any(Result::is_ok) {
            return opened;
        }
    }
    for url in &config.ws_endpoints {
        opened.push(ChainRpc::connect_ws(url, config).await);
        if opened.last().is_some_and(Result::is_ok) {
            break;
        }
    }
    opened
}

async fn call_service_uri(rpc: &ChainRpc, manager: EvmAddress) -> Result<String, ChainError> {
    let call = TransactionRequest::default()
        .with_to(manager)
        .with_input(getServiceURICall {}.abi_encode());
    let answer = rpc.ask("getServiceURI", rpc.provider().call(call)).await?;
    getServiceURICall::abi_decode_returns(&answer).map_err(|cause| ChainError::Rpc {
        endpoint: rpc.endpoint().to_owned(),
        what: "getServiceURI",
        cause: format!("{manager} does not answer like a service manager: {cause}"),
        refusal: Some(Refusal::Final),
    })
}
